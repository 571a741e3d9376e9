"""Means with their intervals, and paired comparisons. scipy is imported where it computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean, stdev

LEVEL = 0.95
"""Of all intervals."""
FEW = 5
"""With fewer pairs than this, no test can say much."""


@dataclass(frozen=True)
class Summary:
    """The mean of a measure over the runs of a cell.

    Attributes:
        count: How many values there are.
        mean: None without a value.
        std: Standard deviation of a sample (divided by count - 1); None with fewer than two values.
        low, high: 95 % interval of the mean, by Student's t; None with fewer than two values.
        missing: Runs of the cell without a value, each with the reason.
    """

    count: int
    mean: float | None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Two cells, compared by their runs of the same seed.

    Attributes:
        first, other: Names of the cells.
        seeds: Of the pairs. Without a pair, all figures are None.
        first_mean, other_mean: Means over the pairs.
        difference: Mean of other minus first.
        low, high: 95 % interval of the difference, by Student's t; None with fewer than two pairs.
        p_t: Two-sided p-value of the paired t-test; None where it is not defined (`note`).
        p_wilcoxon: The same of Wilcoxon's signed-rank test.
        p_least: The least that `p_wilcoxon` can be: 2 / 2**n with n pairs that differ.
        p_holm: `p_t` corrected by Holm's method for all comparisons that were made together; None
            if there is one comparison only.
        effect: Cohen's d_z: the mean of the differences over their standard deviation.
        note: Why a value is missing; empty if none is.
        left_out: Runs that are in no pair, each with the reason.
    """

    first: str
    other: str
    seeds: tuple[int, ...] = ()
    first_mean: float | None = None
    other_mean: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_t: float | None = None
    p_wilcoxon: float | None = None
    p_least: float | None = None
    p_holm: float | None = None
    effect: float | None = None
    note: str = ""
    left_out: tuple[str, ...] = ()


def summarise(values: Sequence[float], missing: Sequence[str] = ()) -> Summary:
    """Return mean, standard deviation and interval of values."""
    from scipy import stats

    count = len(values)
    if count < 2:
        return Summary(count, values[0] if values else None, missing=tuple(missing))
    mean, std = fmean(values), stdev(values)
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * std / count**0.5
    return Summary(count, mean, std, mean - half, mean + half, tuple(missing))


def compare(
    names: tuple[str, str],
    first: Mapping[int, float],
    other: Mapping[int, float],
    left_out: Sequence[str] = (),
) -> Comparison:
    """Compare two cells by their values per seed; seeds that only one of them has do not count.

    Raises:
        ValueError: If they have no seed in common.
    """
    from scipy import stats

    seeds = tuple(sorted(first.keys() & other.keys()))
    if not seeds:
        raise ValueError("no seed in common")
    before, after = [first[seed] for seed in seeds], [other[seed] for seed in seeds]
    exact = [b - a for a, b in zip(before, after, strict=True)]
    found, difference = summarise(exact), fmean(exact)
    means = fmean(before), fmean(after), difference
    made = partial(
        Comparison, *names, seeds, *means, found.low, found.high, left_out=tuple(left_out)
    )
    if found.std is None:
        return made(note="one pair: no interval and no test")
    differences = _rounded(before, after)
    if not any(differences):
        return made(note="no pair differs: no test is defined")
    ranks = partial(
        made,
        p_wilcoxon=float(stats.wilcoxon(differences).pvalue),
        p_least=2 / 2 ** sum(map(bool, differences)),
    )
    if len({*differences}) == 1:
        return ranks(note="all pairs differ by the same: t-test and effect size are not defined")
    p_t = float(stats.ttest_rel(after, before).pvalue)
    return ranks(p_t=p_t, effect=difference / found.std)


def _rounded(before: Sequence[float], after: Sequence[float]) -> list[float]:
    """Return the differences without what the rounding of floats adds, which would hide ties."""
    unit = max(map(abs, (*before, *after))) * 1e-12
    return [unit and round((b - a) / unit) * unit for a, b in zip(before, after, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method, in the order given.

    The i-th smallest of m is multiplied by m - i + 1; none is below a smaller one's, or above 1.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal
    of Statistics 6, 1979.
    """
    corrected, least = [0.0] * len(values), 0.0
    order = sorted(range(len(values)), key=values.__getitem__)
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = least
    return corrected


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons that were made together with `p_holm`, if there are several."""
    if len(comparisons) < 2:
        return [*comparisons]
    values = iter(holm([each.p_t for each in comparisons if each.p_t is not None]))
    return [
        each if each.p_t is None else replace(each, p_holm=next(values)) for each in comparisons
    ]
