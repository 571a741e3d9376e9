"""Every figure against scipy by hand, and against its formula."""

from itertools import permutations
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from bnnlab_studies.statistics import compare, corrected, holm, summarise

DRAWS = np.random.default_rng(0)


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_a_summary_is_student_s_interval_of_the_mean(count):
    values = DRAWS.normal(0.8, 0.02, count).tolist()
    found = summarise(values)
    mean = sum(values) / count
    std = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    low, high = stats.t.interval(0.95, count - 1, loc=mean, scale=std / sqrt(count))
    assert (found.count, found.mean, found.std) == pytest.approx((count, mean, std), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_of_too_few_values_there_is_no_interval():
    assert vars(summarise([])) == {
        "count": 0,
        "mean": None,
        "std": None,
        "low": None,
        "high": None,
        "missing": (),
    }
    one = summarise([0.5], ["seed 1: failed"])
    assert (one.count, one.mean, one.std, one.low, one.high) == (1, 0.5, None, None, None)
    assert one.missing == ("seed 1: failed",)
    equal = summarise([0.5, 0.5, 0.5])
    assert (equal.std, equal.low, equal.high) == (0, 0.5, 0.5)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_a_comparison_is_scipy_s_over_the_seeds_in_common(count):
    first = {seed: float(DRAWS.normal(0.8, 0.02)) for seed in range(count + 1)}
    other = {seed: float(DRAWS.normal(0.82, 0.02)) for seed in reversed(range(1, count + 3))}
    seeds = list(range(1, count + 1))
    x, y = [first[seed] for seed in seeds], [other[seed] for seed in seeds]
    test = stats.ttest_rel(y, x)
    low, high = test.confidence_interval(0.95)
    found = compare(("a", "b"), first, other)
    assert (found.first, found.other, list(found.seeds)) == ("a", "b", seeds)
    assert (found.first_mean, found.other_mean) == pytest.approx((np.mean(x), np.mean(y)))
    assert found.difference == pytest.approx(np.mean(y) - np.mean(x))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p_t == pytest.approx(test.pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(y, x).pvalue)
    assert found.p_least == 2 / 2**count
    differences = np.subtract(y, x)
    assert found.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.effect == pytest.approx(test.statistic / sqrt(count))


def test_turned_round_the_difference_changes_its_sign_alone():
    x = {seed: float(DRAWS.normal()) for seed in range(8)}
    y = {seed: float(DRAWS.normal()) for seed in range(8)}
    there, back = compare(("x", "y"), x, y), compare(("y", "x"), y, x)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-(back.high or 0), -(back.low or 0)))
    assert (there.p_t, there.p_wilcoxon) == pytest.approx((back.p_t, back.p_wilcoxon))


@pytest.mark.parametrize(
    ("shifts", "words"),
    [
        ([0.0, 0.0, 0.0], "no pair differs"),
        ([0.1, 0.1, 0.1], "all pairs differ by the same"),
        ([0.1], "one pair"),
    ],
)
def test_where_a_test_is_not_defined_the_reason_is_said(shifts, words):
    first = {0: 0.7, 1: 0.75, 2: 0.81}
    other = {seed: first[seed] + shift for seed, shift in enumerate(shifts)}
    found = compare(("a", "b"), first, other)
    assert found.note.startswith(words)
    assert (found.p_t, found.effect) == (None, None)
    assert found.difference == pytest.approx(shifts[0])
    if len(shifts) > 1:
        assert (found.low, found.high) == pytest.approx((shifts[0], shifts[0]))
    assert (found.p_wilcoxon is None) == (words != "all pairs differ by the same")


def test_ties_and_zeros_are_seen_through_the_rounding_of_floats():
    counts = [570, 581, 591, 602, 612, 655, 663]
    steps = [7, 7, 7, 7, 7, -7, 0]  # in images of 720
    first = {seed: count / 720 for seed, count in enumerate(counts)}
    other = {seed: (c + s) / 720 for seed, (c, s) in enumerate(zip(counts, steps, strict=True))}
    other[6] += 1e-16
    assert len({other[seed] - first[seed] for seed in range(6)}) > 2
    found = compare(("a", "b"), first, other)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(steps).pvalue)
    assert found.p_least == 2 / 2**6, "a pair that does not differ has no rank"


def test_without_a_seed_in_common_nothing_is_compared():
    with pytest.raises(ValueError, match="no seed in common"):
        compare(("a", "b"), {0: 1.0}, {1: 1.0})


@pytest.mark.parametrize(
    "values", [[0.01, 0.04, 0.03, 0.005], [0.2, 0.2, 0.9], [0.5], [0.0, 1.0], [0.02, 0.021, 0.03]]
)
def test_holm_s_correction_follows_its_definition_in_every_order(values):
    ordered = sorted(values)
    count = len(ordered)
    steps = [min(1.0, (count - i) * p) for i, p in enumerate(ordered)]
    by_value = {p: max(steps[: i + 1]) for i, p in enumerate(ordered)}
    for order in permutations(values):
        assert holm(order) == [by_value[p] for p in order]
    # rejecting where the corrected value is below alpha is Holm's procedure itself
    for alpha in (0.01, 0.05, 0.1):
        rejected = 0
        while rejected < count and ordered[rejected] <= alpha / (count - rejected):
            rejected += 1
        assert sum(p <= alpha for p in holm(ordered)) == rejected


def test_only_comparisons_made_together_are_corrected():
    x = {seed: float(DRAWS.normal()) for seed in range(6)}
    y = {seed: float(DRAWS.normal(1)) for seed in range(6)}
    alone = compare(("x", "y"), x, y)
    assert corrected([alone])[0].p_holm is None
    same = compare(("x", "z"), x, x)
    first, undefined, last = corrected([alone, same, compare(("y", "x"), y, x)])
    assert undefined.p_holm is None, "it was not tested"
    assert alone.p_t is not None
    assert first.p_holm == last.p_holm == min(1.0, 2 * alone.p_t)
