"""What `run` takes, for type checkers and editors."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from torch import nn

from bnnlab.interfaces.probe import Probe
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import TaskStream
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import EvaluateOn, Loss, Schedule

Config = str | Path | Mapping[str, Any] | None
Choosable = str | Mapping[str, Any] | None
Makes = Callable[..., Any]
"""A class or function, which is called as a component's class is."""
Several = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None
Probes = Several | Probe | Makes | Sequence[str | Mapping[str, Any] | Probe | Makes]


class Said(TypedDict, total=False):
    """What a run and its repetitions are told alike, for type checkers and editors."""

    recipe: str | None
    short: bool | None
    rule: Choosable | LearningRule | Makes
    optimizer: Choosable | Makes
    model: Choosable | nn.Module | Makes
    stream: Choosable | TaskStream | Makes
    probe: Probes
    probes: Probes
    track: Several
    epochs: int | list[int] | None
    steps: int | None
    batch_size: int | None
    loss: Loss | None
    label_smoothing: float | None
    accumulate: int | None
    clip_value: float | None
    schedule: Schedule | None
    schedule_by: Literal["epoch", "step"] | None
    schedule_over: Literal["task", "run"] | None
    schedule_gamma: float | None
    schedule_every: int | None
    schedule_at: list[int] | None
    warmup: int | None
    task_decay: float | None
    patience: int | None
    keep: Literal["last", "best"] | None
    seed: int | None
    evaluate_on: EvaluateOn | None
    evaluate: str | None
    forward: bool | None
    device: str | None
    threads: int | None
    uncertainty: bool | None
    fresh: bool | None
    diagnose: bool | None
    precision: Literal["float32", "bfloat16"] | None
    compile: bool | None
    kernels: Literal["torch", "compiled"] | None
    checkpoint_minutes: float | None
    data: str | Path | None
    out: str | Path | None
    name: str | None
    set: Mapping[str, Any] | None
    host: PluginHost | None
    resume: str | Path | None
    allow_changed_versions: bool | None
