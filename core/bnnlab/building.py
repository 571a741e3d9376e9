"""Make components from choices: the one place that knows each kind's constructor."""

import os
from pathlib import Path
from typing import Any

import platformdirs
import torch

from bnnlab import seeds
from bnnlab.components import Kind
from bnnlab.config import Choice
from bnnlab.errors import BnnlabError, UsageError
from bnnlab.host import PluginHost
from bnnlab.model import Model
from bnnlab.optimizer import Optimizer
from bnnlab.rule import LearningRule
from bnnlab.stream import TaskStream

BASES: dict[Kind, type] = {
    Kind.MODEL: Model,
    Kind.RULE: LearningRule,
    Kind.OPTIMIZER: Optimizer,
    Kind.STREAM: TaskStream,
}


def data_folder(data: str | None) -> Path:
    """Return the data folder: what was said, else BNNLAB_DATA, else the platform's cache."""
    said = data or os.environ.get("BNNLAB_DATA")
    return Path(said).expanduser() if said else platformdirs.user_cache_path("bnnlab") / "data"


def find_device(name: str) -> torch.device:
    """Return the device called `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: If there is none of that name here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).partition("\n")[0]
        raise UsageError(f"device {name!r} cannot be used here: {first}") from error
    return device


def _make(host: PluginHost, choice: Choice, *args: Any, **given: Any) -> Any:
    made = host.load(choice.plugin, choice.component)
    base = BASES[choice.component.kind]
    if not (isinstance(made, type) and issubclass(made, base)):
        raise UsageError(
            f"{choice} of {choice.plugin.distribution} is no {base.__name__}: "
            f"{choice.component.target} must derive from bnnlab.{base.__name__}"
        )
    try:
        return made(*args, **given, **choice.component.preset, **choice.options)
    except BnnlabError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{choice}: {error}") from error


def make_stream(
    host: PluginHost, choice: Choice, *, data: Path, device: torch.device, seed: int
) -> TaskStream:
    """Make a stream; `data` is the data folder, `seed` the root seed."""
    stream: TaskStream = _make(
        host, choice, data=data, device=device, seed=seeds.child_seed(seed, "stream")
    )
    return stream


def make_model(
    host: PluginHost, choice: Choice, *, input_shape: tuple[int, ...], classes: int, seed: int
) -> Model:
    """Make a model with freshly drawn weights, on the CPU."""
    drawn = seeds.generator(seed, "initialisation")
    model: Model = _make(
        host, choice, input_shape=tuple(input_shape), classes=classes, generator=drawn
    )
    return model


def make_rule(host: PluginHost, choice: Choice, model: Model, *, seed: int) -> LearningRule:
    """Make a rule and attach it to the model."""
    rule: LearningRule = _make(host, choice)
    rule.attach(model, seeds.generator(seed, "feedback"))
    return rule


def make_optimizer(host: PluginHost, choice: Choice, model: Model, *, seed: int) -> Optimizer:
    """Make an optimizer for the model."""
    optimizer: Optimizer = _make(host, choice, model, generator=seeds.generator(seed, "optimizer"))
    return optimizer
