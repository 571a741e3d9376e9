"""What the settings of a run ask of each other and of its components, beside their own bounds."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from bnnlab.registry.components import Kind
from bnnlab.settings.run import RUN_OPTIONS, Choice, RunConfig, Schedule

ONLY_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "label_smoothing": ("loss", ("cross-entropy",)),
    "schedule_gamma": ("schedule", ("step", "multistep", "exponential")),
    "schedule_every": ("schedule", ("step",)),
    "schedule_at": ("schedule", ("multistep",)),
    "warmup": ("schedule", tuple(it for it in get_args(Schedule) if it != "one-cycle")),
    "forward": ("evaluate", ("all",)),
}
"""The settings that belong to some values of another one alone: its name, and these values."""
BEARING = frozenset({*ONLY_WITH, "loss", "schedule", "accumulate", "epochs", "steps", "evaluate"})
"""The settings whose values decide on the others, or on the components."""
_DEFAULTS = {option.name: option.default for option in RUN_OPTIONS}
_LENGTH = ("stream", "epochs", "steps", "batch_size")
_RATES = (*(it for it in _DEFAULTS if it.startswith("schedule")), "warmup", "task_decay")


def misplaced(name: str, other: str, value: Any) -> str:
    """Return what is wrong with a setting that does not belong to this value of the other one."""
    return f"{name} is for {other} = {' or '.join(ONLY_WITH[name][1])}, and {other} is {value}."


def faults(config: RunConfig) -> tuple[str, ...]:
    """Return what is wrong between the settings of a run, a sentence each."""
    found = [
        misplaced(name, other, value)
        for name, (other, values) in ONLY_WITH.items()
        if (value := getattr(config, other)) not in values
        if getattr(config, name) != _DEFAULTS[name]
    ]
    if config.schedule == "multistep" and not config.schedule_at:
        found.append("schedule = multistep: say when, such as schedule_at = [30, 60].")
    if isinstance(config.epochs, Sequence) and config.steps:
        found.append("epochs and steps are both given: leave one out.")
    try:
        evaluated(config.evaluate)
    except ValueError as error:
        found.append(str(error))
    return tuple(found)


def evaluated(text: str) -> tuple[str, int]:
    """Return the word and the number of `evaluate`: `last` and 5 of `last:5`, else 0.

    Raises:
        ValueError: If it is something else.
    """
    found = re.fullmatch(r"(all|final)|(every|last):([1-9]\d{0,8})", text)
    if found is None:
        raise ValueError(
            f"evaluate: {text!r} is none of all, every:K, last:N, final; K and N from 1, as last:5."
        )
    return found[1] or found[2], int(found[3] or 0)


def unfit(config: RunConfig, choices: Mapping[Kind, Choice]) -> Iterator[str]:
    """Yield a line for each setting that a component cannot do."""
    rule = choices[Kind.RULE]
    provided, _ = rule.capabilities()
    smooth = f"label_smoothing = {config.label_smoothing:g}" if config.label_smoothing else ""
    other = f"loss = {config.loss}" if config.loss != _DEFAULTS["loss"] else smooth
    if other and not provided & {"any-loss", "class-losses"}:
        yield f"{rule} provides neither 'any-loss' nor 'class-losses', as {other} needs"
    if config.accumulate > 1 and "whole-batch" in provided:
        yield f"{rule} provides 'whole-batch', which accumulate = {config.accumulate} refuses"


@dataclass(frozen=True)
class Later:
    """What is known of a run only once its stream, model and optimizer are made.

    Attributes:
        what: What is checked then, after the name of the setting that asks for it.
        of: The settings that decide on it.
    """

    what: str
    of: tuple[str, ...]

    def __str__(self) -> str:
        return self.what


def deciding(settings: Mapping[str, Any], checks: Iterable[Later]) -> str:
    """Return the settings that decide on these checks, as text: runs with equal ones are alike."""
    names = {name for each in checks for name in each.of}
    return json.dumps({name: settings[name] for name in sorted(names)}, default=str)


def later(config: RunConfig) -> Iterator[Later]:
    """Yield what is checked only when a run begins."""
    if isinstance(config.epochs, Sequence):
        yield Later("epochs: a number for each task", ("epochs", "stream"))
    held = {
        "patience": config.patience is not None,
        "keep": config.keep == "best",
        "evaluate_on": config.evaluate_on == "validation",
    }
    for name in (name for name, is_so in held.items() if is_so):
        yield Later(f"{name}: a validation part of each task", (name, "stream"))
    if config.accumulate > 1:
        parts = ("accumulate", "rule", "model", "stream")
        yield Later("accumulate: no part that looks at a batch as a whole", parts)
    for name in ("loss", "label_smoothing"):
        if getattr(config, name) != _DEFAULTS[name]:
            yield Later(f"{name}: a class for each input", (name, "stream"))
    if any(getattr(config, name) != _DEFAULTS[name] for name in _RATES):
        told = "learning rates: time for the schedule, and none beyond its bounds"
        grows = config.task_decay > 1 or config.schedule_gamma > 1
        yield Later(told, (*_RATES, *_LENGTH, *(["optimizer"] if grows else [])))
