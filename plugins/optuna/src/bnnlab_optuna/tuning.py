"""What `[tune]` says, checked. Imports neither optuna nor torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Annotated, Any, Literal

from bnnlab.engine.result import ABOUT, MEASURES
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.markers import AtLeast, Below
from bnnlab.registry.options import check_values
from bnnlab.registry.signatures import options_of
from bnnlab.settings.run import RunConfig
from bnnlab_studies.record import leaves
from bnnlab_studies.sweep_file import seeds_of

Sampler = Literal["tpe", "random", "grid", "qmc", "gp"]
Pruner = Literal["median", "hyperband", "successive-halving", "wilcoxon", "none"]
Direction = Literal["maximize", "minimize"]

WITHIN = frozenset({"average_accuracy", "learning_accuracy", "recent_accuracy"})
"""Measures that in a stream of one task are the validation accuracy, which each epoch has."""
MORE_IS_BETTER = WITHIN | {"accuracy", "ood_auroc", "plasticity", "retention"}
MORE_IS_BETTER |= {"backward_transfer", "forward_transfer"}
LESS_IS_BETTER = frozenset({"brier", "ece", "forgetting", "nll"})
ONE_NUMBER = WITHIN | {"forgetting", "backward_transfer", "forward_transfer", "plasticity"}
"""Of the core's measures, those without entries."""
NEEDS = {"plasticity": "fresh", "fresh_accuracy": "fresh", "diagnosis": "diagnose"}
"""The settings that measures need, if no probe is named."""
MOST = 16
"""Measures that a message names."""
LEAST_SEEDS = 5
"""Of Wilcoxon's pruner: below it, no p-value can be small enough before the last seed."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table `[tune]`, but for the space.

    Attributes:
        trials: Trials of the study in all, whichever process makes them.
        seeds: Seeds that each trial is run with, or how many, from 0. none: that of the run file.
        measure: What is tuned: a measure of a run's result, such as average_accuracy or
            uncertainty.ece.
        direction: Whether more or less of it is better. none: what is known of the measure.
        aggregate: How the values of the seeds become one.
        sampler: What proposes the trials.
        pruner: What ends trials that look bad.
        storage: Where the study is kept: sqlite (study.db in its folder), or the address of a
            database as SQLAlchemy writes it, for several machines.
    """

    trials: Annotated[int, AtLeast(1), Below(10**6)] = 50
    seeds: int | list[int] | None = None
    measure: str = "average_accuracy"
    direction: Direction | None = None
    aggregate: Literal["mean", "median", "min", "max"] = "mean"
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    storage: str = "sqlite"


@dataclass(frozen=True, kw_only=True)
class Tuning(Table):
    """What `[tune]` comes to: its seeds and its direction are found."""

    seeds: Sequence[int]  # type: ignore[assignment]
    direction: Direction

    @property
    def within(self) -> bool:
        """Whether runs report while they go on, so that they can be stopped."""
        return self.pruner != "none" and len(self.seeds) == 1 and self.measure in WITHIN

    @property
    def seeds_shown(self) -> str:
        """The seeds in words."""
        return f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"

    def value(self, values: list[float]) -> float:
        """Return the value of a trial, of those of its seeds."""
        aggregates: dict[str, Callable[[list[float]], float]]
        aggregates = {"mean": fmean, "median": median, "min": min, "max": max}
        return float(aggregates[self.aggregate](values))


def read_tuning(table: Any, config: RunConfig, source: str) -> Tuning:
    """Return what `[tune]` comes to.

    Args:
        table: The table as it was read.
        config: What the run file says.
        source: The file, for messages.

    Raises:
        UsageError: With everything that is wrong with it.
    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{source}: there is no table [tune]. It says what is tuned.")
    given = {key: value for key, value in table.items() if key != "space"}
    values, faults = check_values(
        options_of(Table),
        given,
        "tune.",
        what="key",
        others=["space"],
        sources=dict.fromkeys(given, source),
    )
    if faults:
        raise UsageError(" ".join(faults))
    _expect_measure(values["measure"], config)
    said = values["seeds"]
    values["seeds"] = (config.seed,) if said is None else seeds_of(said, "tune.seeds")
    values["direction"] = values["direction"] or _direction(values["measure"])
    if values["pruner"] == "wilcoxon" and len(values["seeds"]) < LEAST_SEEDS:
        raise UsageError(
            f"tune.pruner: wilcoxon compares trials seed by seed, and needs at least {LEAST_SEEDS} "
            "seeds: set tune.seeds, or take median."
        )
    return Tuning(**values)


def _direction(measure: str) -> Direction:
    """Return which direction is better, by what the core knows of its measures."""
    names = {*measure.split(".")}
    if names & LESS_IS_BETTER:
        return "minimize"
    if names & MORE_IS_BETTER:
        return "maximize"
    raise UsageError(
        f"tune.direction: is more or less of {measure} better? Write maximize or minimize."
    )


def _expect_measure(name: str, config: RunConfig) -> None:
    """Raise UsageError if a measure is known not to be one number, before any run."""
    head, dot, _ = name.partition(".")
    setting = NEEDS.get(head)
    if head in ABOUT:
        raise UsageError(f"tune.measure: {name} says what a run was. Write what it measured.")
    if head not in MEASURES and not config.probes:  # those of a probe are known from its first run
        raise no_measure(name, MEASURES)
    if head in MEASURES and (head in ONE_NUMBER) == bool(dot):
        hint = f"{head} is one" if dot else "name one in it, as accuracy.-1.0 or uncertainty.ece"
        raise UsageError(f"tune.measure: {name} is not a number: {hint}.")
    if setting and not getattr(config, setting) and not config.probes:
        raise UsageError(f"tune.measure: {head} is measured only with {setting} = true.")


def no_measure(name: str, found: Mapping[str, Any]) -> UsageError:
    """Return the error for a measure that is not a number in what a run found."""
    head = name.partition(".")[0]
    numbers = [it for it, value in leaves(found, lists=True) if type(value) in (int, float)]
    inner = [it for it in numbers if it.startswith(f"{head}.")]
    if head in found and not inner:
        return UsageError(f"tune.measure: the runs did not measure {name}.")
    known = inner or [*found]
    some = ", ".join(known[:MOST]) + ", ..." * (len(known) > MOST)
    hint = "" if "." in name[len(head) + 1 :] else did_you_mean(name, known)
    return UsageError(f"tune.measure: runs do not have {name}.{hint or f' They have: {some}.'}")
