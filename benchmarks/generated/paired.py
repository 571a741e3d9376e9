"""Rows of paired differences: cells against the first one, as `bnn compare` computes them."""

from collections.abc import Iterator, Mapping, Sequence

from bnnlab_studies.comparing import compare_cells, expect_one_protocol
from bnnlab_studies.record import Record
from bnnlab_studies.tables import p_value

HEADINGS = ("cell", "pairs", "difference", "95 % interval", "p, t-test", "p, Holm", "p, Wilcoxon")


def paired(cells: Mapping[str, Sequence[Record]], measure: str) -> Iterator[list[str]]:
    """Yield a row per cell but the first. Differences are in points of a measure in %.

    Raises:
        UsageError: If the cells have several protocols, or no seed in common with the first.
    """
    expect_one_protocol(cells)
    for it in compare_cells(cells, measure):
        shown = ["-" if each is None else f"{100 * each:+.1f}" for each in (it.difference, it.low)]
        interval = "-" if it.high is None else f"{shown[1]} to {100 * it.high:+.1f}"
        tests = map(p_value, (it.p_t, it.p_holm, it.p_wilcoxon))
        yield [f"{it.other} against {it.first}", str(len(it.seeds)), shown[0], interval, *tests]
