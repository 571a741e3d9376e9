"""Claims, what was measured of them, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Any

from bnnlab_studies.statistics import Summary, summarise


class BudgetName(StrEnum):
    """Of the two ways to measure a claim."""

    QUICK = "quick"
    FULL = "full"


QUICK, FULL = BudgetName


class Verdict(StrEnum):
    """What the values of the full protocol say of a claim."""

    MATCHED = "matched"
    EXCEEDED = "exceeded"
    SHORT = "short"
    OTHER_DATA = "other data"
    NO_FIGURE = "no figure"
    NOT_YET_RUN = "not yet run"


@dataclass(frozen=True)
class Budget:
    """How a claim is measured.

    Attributes:
        seeds: One run each.
        settings: Over those of the recipe.
        short: Whether they are over those of its short form.
        hours: Of `full`: per seed, on one core; None if it was not measured.
        expect: Of `quick`: what the mean over the seeds is between, in %; None if nobody said.
    """

    seeds: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    short: bool = False
    hours: float | None = None
    expect: tuple[float, float] | None = None

    def takes(self, mean: float) -> bool | None:
        """Return whether a mean is as expected, in %; None if nothing is expected."""
        return None if self.expect is None else self.expect[0] <= mean <= self.expect[1]


@dataclass(frozen=True)
class Claim:
    """A published figure that a method should reach. Figures are in %, higher is better.

    Attributes:
        name: `PLUGIN/KEY`.
        of: The methods whose claim it is, as `KIND:NAME`.
        says: One sentence: what is measured, on what.
        source: The paper.
        place: The figure or table in it.
        recipe: Name of the recipe with the published settings.
        measure: Path of the measure in a result; a list counts as its mean.
        published: The figure; None if the paper has none of this.
        spread: What it may differ by: its standard deviation, or its rounding.
        published_seeds: Runs that it is the mean of; None if that is not said.
        other_data: Why ours are measured on other data; empty if they are not.
        why: Of a verdict `short`, what was tried; of `not yet run`, what stops it.
        budgets: How it is measured, by `full` and `quick`.
    """

    name: str
    of: tuple[str, ...] = ()
    says: str = ""
    source: str = ""
    place: str = ""
    recipe: str = ""
    measure: str = ""
    published: float | None = None
    spread: float = 0.0
    published_seeds: int | None = None
    other_data: str = ""
    why: str = ""
    budgets: Mapping[BudgetName, Budget] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What was measured of a claim with one budget: an entry of measured.toml.

    Attributes:
        values: In %, in the order of the seeds.
        seeds: Of the values.
        protocol: The protocol hash of the runs.
        minutes: Per seed, the mean.
        environment: What computed it: `commit`, `bnnlab`, `torch`, `python`, `processor`, as far
            as the runs say it.
        date: When the last run began, as `2026-12-01`; empty if no run says it.
    """

    values: tuple[float, ...]
    seeds: tuple[int, ...]
    protocol: str
    minutes: float
    environment: Mapping[str, str] = field(default_factory=dict)
    date: str = ""

    @property
    def summary(self) -> Summary:
        """The mean, and its 95 % interval by Student's t, which one seed does not have."""
        return summarise(self.values)

    @property
    def mean(self) -> float:
        """The mean, in %."""
        return fmean(self.values)

    def as_toml(self) -> dict[str, Any]:
        """Return its table in measured.toml."""
        return {
            "values": [*self.values],
            "seeds": [*self.seeds],
            "protocol": self.protocol,
            **self.environment,
            "minutes": self.minutes,
            **({"date": self.date} if self.date else {}),
        }


@dataclass(frozen=True)
class Card:
    """A claim with what was measured of it.

    Attributes:
        claim: What is claimed; only its name, if the card has a fault.
        measured: By the name of the budget.
        fault: Why the card cannot be used, or None.
    """

    claim: Claim
    measured: Mapping[str, Measured] = field(default_factory=dict)
    fault: str | None = None

    @property
    def verdict(self) -> Verdict:
        """What the values of the full protocol say."""
        return verdict(self.claim, self.measured.get(FULL))


def verdict(claim: Claim, full: Measured | None) -> Verdict:
    """Return what the values of the full protocol say of a claim.

    With the published p and its spread b: `short` if the mean is below p - b, `exceeded` if the
    interval of the mean begins above p + b, else `matched`. One value is its own interval. Both
    ends are compared to nine digits after the point, so that no rounding of floats decides.
    """
    if full is None or not full.values:
        return Verdict.NOT_YET_RUN
    if claim.other_data:
        return Verdict.OTHER_DATA
    if claim.published is None:
        return Verdict.NO_FIGURE
    low = full.summary.low
    if round(full.mean - (claim.published - claim.spread), 9) < 0:
        return Verdict.SHORT
    if round((full.mean if low is None else low) - (claim.published + claim.spread), 9) > 0:
        return Verdict.EXCEEDED
    return Verdict.MATCHED
