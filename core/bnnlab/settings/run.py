"""The settings of a run: the one table of them, and a run's whole configuration. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.discovery import Plugin

RUN_OPTIONS = (
    Option("epochs", int, 5, "Passes over each task's training data.", minimum=1, below=2**31),
    Option("batch_size", int, 100, "Examples per training step.", minimum=1, below=2**31),
    Option("seed", int, 0, "Root seed of all random numbers.", minimum=0, below=2**63),
    Option("device", str, "auto", "Where the run computes: auto, cpu, cuda, cuda:1 or mps."),
    Option(
        "uncertainty",
        bool,
        False,
        "Measure calibration and out-of-distribution detection. "
        "Runs that evaluate by weight draws always do.",
    ),
    Option(
        "fresh",
        bool,
        False,
        "Measure plasticity: also train a fresh model on each task alone. Doubles the time.",
    ),
    Option(
        "diagnose",
        bool,
        False,
        "After every epoch, compare the rule's gradient with the exact one, per segment.",
    ),
    Option(
        "precision",
        Literal["float32", "bfloat16"],
        "float32",
        "Of matrix products in training. Weights and gradients are always float32.",
    ),
    Option(
        "compile",
        bool,
        False,
        "Compile each segment with torch.compile. The first step then takes up to minutes.",
    ),
    Option(
        "checkpoint_minutes",
        float,
        10.0,
        "Minutes between checkpoints within an epoch or an evaluation. 0: after every step.",
        minimum=0,
    ),
    Option(
        "data", str | None, None, "Folder of the data sets. none: $BNNLAB_DATA or the cache folder."
    ),
    Option("out", str | None, "runs", "Folder to make the run's folder in. none: write no files."),
    Option("name", str | None, None, "Name of the run's folder. none: made of the components'."),
)

KINDS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.RULE: "Learning rule: gives the gradients.",
        Kind.OPTIMIZER: "Optimizer: turns gradients into weights.",
        Kind.MODEL: "Model: the network.",
        Kind.STREAM: "Stream: the tasks to learn, one after another.",
    }
)
"""The settings that choose a component, with their help."""


@dataclass(frozen=True)
class Choice:
    """A component that was chosen, with all its options."""

    plugin: Plugin
    component: Component
    options: dict[str, Any]

    def __str__(self) -> str:
        return str(self.component)


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run."""

    choices: dict[Kind, Choice]
    epochs: int
    batch_size: int
    seed: int
    device: str
    uncertainty: bool
    fresh: bool
    diagnose: bool
    precision: str
    compile: bool
    checkpoint_minutes: float
    data: str | None
    out: str | None
    name: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as run.toml holds it: enough to repeat the run."""
        own = {option.name: getattr(self, option.name) for option in RUN_OPTIONS}
        tables = {
            str(kind): {
                "name": f"{choice.plugin.distribution}/{choice.component.name}",
                **choice.options,
            }
            for kind, choice in self.choices.items()
        }
        return {key: _toml(value) for key, value in {**own, **tables}.items()}


def _toml(value: Any) -> Any:
    """Return a value with `none` for None, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _toml(inner) for key, inner in value.items()}
    return "none" if value is None else value
