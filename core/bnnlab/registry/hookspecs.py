"""The hooks of plugin API v1. Hooks discover and observe; interfaces compute.

No hook is called inside a training step. All are optional. Implement any subset of the arguments.
An observing hook gets copies, and the `run_id`, which a resumed run keeps. Changes of the process
state (torch's defaults, flags, global hooks and modes) are put back; replaced functions and
classes of torch are not found. If a hook raises, the log warns once, the observer is off for the
rest of the run, and the run goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from bnnlab.registry.components import Command, Component, Section

PROJECT = "bnnlab"
API_VERSION = "v1"
ENTRY_POINT_GROUP = f"{PROJECT}.{API_VERSION}"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# ---------------------------------------------------------------------------- discovery


@hookspec
def bnnlab_components() -> Sequence[Component]:  # type: ignore[empty-body]
    """Return the components that this plugin offers. Called once, right after loading."""


@hookspec
def bnnlab_commands() -> Sequence[Command]:  # type: ignore[empty-body]
    """Return the commands that this plugin adds to `bnn`. Called once, right after loading."""


# ---------------------------------------------------------------------------- description


@hookspec
def bnnlab_model_described(model: Any) -> Section | None:
    """Return what to say of a model that `bnn info` has built; None for nothing.

    `model` is a copy, without data and not trained.
    """


# ---------------------------------------------------------------------------- observation


@hookspec
def bnnlab_run_started(
    config: Mapping[str, Any],
    folder: Path | None,
    resumed: bool,
    protocol: Mapping[str, Any],
    run_id: str,
) -> None:
    """A run begins, or is `resumed` from its checkpoint, to which metrics.jsonl was cut back.

    `config` is the configuration of the run; `folder` is None if the run writes no files;
    `protocol` is what the protocol hash covers.
    """


@hookspec
def bnnlab_metrics_logged(metrics: Mapping[str, Any], run_id: str) -> None:
    """The line `metrics` was added to metrics.jsonl, e.g. after an epoch or an evaluation."""


@hookspec
def bnnlab_task_ended(task: int, accuracy: Sequence[float | None], run_id: str) -> None:
    """Task `task` (from 0) was learned; `accuracy` is its row of the matrix, as fractions.

    None: not measured, which may be the whole row.
    """


@hookspec
def bnnlab_saved(file: Path, run_id: str) -> None:
    """The run wrote `file`: a checkpoint or result.json. Called between steps, never in one."""


@hookspec
def bnnlab_run_ended(result: Mapping[str, Any], run_id: str) -> None:
    """The run is over; `result` is the content of result.json, with its `status`."""
