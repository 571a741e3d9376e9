"""Cells compared with the first of them, by pairs of runs with the same seed; and protocols."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnnlab.engine import continual
from bnnlab.engine.differences import in_words
from bnnlab.errors import UsageError
from bnnlab.registry.given import OBJECT
from bnnlab_studies.cells import by_seed, few, tasks_of, where
from bnnlab_studies.record import Record, expect_measure, leaves
from bnnlab_studies.statistics import FEW, Comparison, compare, corrected

Cells = Mapping[str, Sequence[Record]]

OF_SEVERAL = {name for name, it in continual.measures([[1.0]], [1.0]).items() if it is None}
"""Measures that a run of one task cannot have."""
_ELSEWHERE = (
    "To compare with another cell, name folders of cells, and its folder first: bnn compare "
    "STUDY/CELL STUDY/OTHER"
)


def compare_cells(cells: Cells, measure: str) -> list[Comparison]:
    """Compare every other cell with the first; one that has no pair with it has no figures.

    Raises:
        UsageError: If there is one cell only, or none has a pair with the first; and as
            in `by_seed`.
    """
    (first, runs), *others = cells.items()
    if not others:
        raise UsageError(f"there is one cell only, {first}: nothing to compare it with")
    reference, without = by_seed(runs, measure)
    found = []
    for other, runs in others:
        values, missing = by_seed(runs, measure)
        left_out = [
            *without,
            *missing,
            *_alone(first, reference, other, values),
            *_alone(other, values, first, reference),
        ]
        if reference.keys() & values:
            found.append(compare((first, other), reference, values, left_out))
            continue
        why = _why_none({first: reference, other: values})
        found.append(Comparison(first, other, note=why, left_out=tuple(left_out)))
    if not any(each.seeds for each in found):
        notes = few([*dict.fromkeys(each.note for each in found)])
        reasons = few([*dict.fromkeys(reason for each in found for reason in each.left_out)])
        what = f"{first} has no pair with another cell: {notes} ({reasons})"
        raise UsageError(what if reference else f"{what}. {_ELSEWHERE}")
    return corrected(found)


def _why_none(cells: Mapping[str, Mapping[int, float]]) -> str:
    """Return why cells with these values by seed have no pair."""
    lacking = [cell for cell, values in cells.items() if not values]
    return f"no run of {' and of '.join(lacking)} has a value" if lacking else "no seed in common"


def _alone(
    cell: str, its: Mapping[int, float], other: str, values: Mapping[int, float]
) -> list[str]:
    return [f"{cell}, seed {s}: no partner in {other}" for s in sorted(its.keys() - values.keys())]


def weakness(found: Iterable[Comparison]) -> str:
    """Return what is to be said of comparisons with few pairs; else nothing."""
    fewest = min((len(each.seeds) for each in found if each.seeds), default=FEW)
    if fewest >= FEW:
        return ""
    return f"pairs: {fewest}. Below {FEW}, intervals are wide and tests are weak"


def remarks(found: Sequence[Comparison]) -> list[str]:
    """Return which figures are missing and why, the seeds of the pairs, and runs in no pair."""
    notes = [f"{each.other}: {each.note}" for each in found if each.note]
    of_seeds: dict[tuple[int, ...], list[str]] = {}
    for each in found:
        if each.seeds:
            of_seeds.setdefault(each.seeds, []).append(each.other)
    for seeds, cells in of_seeds.items():
        whose = "" if len(of_seeds) == 1 else f" of {', '.join(cells)}"
        notes.append(f"pairs{whose}: seeds {', '.join(map(str, seeds))}")
    reasons = dict.fromkeys(reason for each in found for reason in each.left_out)
    return [*notes, *(f"left out: {reason}" for reason in reasons)]


def expect_measured(measure: str, records: Sequence[Record]) -> None:
    """Refuse a setting, and a measure that no run has, or no complete run has a value of.

    Raises:
        UsageError: With the nearest name, or with what was measured.
    """
    expect_measure(measure, records)
    complete = [run for run in records if run.is_complete]
    if not complete or any(run.get(measure) is not None for run in complete):
        return
    needs_several = measure in OF_SEVERAL and tasks_of(complete) == 1
    one = "needs several tasks, and these runs have one"
    why = one if needs_several else "was measured in no complete run"
    told = (name for run in complete for name, it in run.measures.items() if it is not None)
    raise UsageError(f"{measure} {why}. Measured: {', '.join(dict.fromkeys(told))}")


def expect_no_copies(records: Iterable[Record]) -> None:
    """Refuse two complete runs that are one: they have one `run_id`, which earlier runs lack.

    Raises:
        UsageError: With both.
    """
    found: dict[str, Record] = {}
    for run in records:
        mark = run.result.get("run_id") if run.is_complete else None
        if mark and found.setdefault(str(mark), run) is not run:
            both = f"{where(found[str(mark)])} and {where(run)}"
            raise UsageError(
                f"{both} are copies of one run (run_id {mark}). Take one of them away."
            )


def expect_one_protocol(cells: Cells) -> None:
    """Refuse cells whose complete runs have different protocols.

    Raises:
        UsageError: With a cell of each protocol.
    """
    found: dict[str, tuple[str, Record]] = {}
    for cell, runs in cells.items():
        for protocol, run in protocols(runs).items():
            found.setdefault(protocol, (cell, run))
    if len(found) > 1:
        named = ", ".join(f"{cell}: {protocol}" for protocol, (cell, _) in found.items())
        (_, first), (_, other), *_ = found.values()
        raise UsageError(
            f"the protocols differ ({named}): these runs did not learn the same, or were not "
            f"scored alike ({few(differences_said(first, other))}). To compare them all the same, "
            "and see where the protocols differ: --across-protocols"
        )


def protocols(records: Iterable[Record]) -> dict[str, Record]:
    """Return the first complete run of each protocol, by the protocol's hash."""
    found: dict[str, Record] = {}
    for run in records:
        if run.is_complete:
            found.setdefault(run["protocol"], run)
    return found


def note(records: Iterable[Record]) -> str:
    """Return what keeps runs that are shown together apart: versions, protocols; else nothing."""
    runs = [*records]
    found = protocols(runs)
    several = (
        f"These runs have {len(found)} protocols: what they measured may be compared only where "
        "`bnn runs --columns protocol` is equal."
    )
    return "\n".join(filter(None, (versions(runs), several if len(found) > 1 else "")))


def versions(records: Iterable[Record]) -> str:
    """Return a sentence, if complete runs were computed by several versions of a plugin."""
    found: dict[str, dict[str, None]] = {}
    for run in records:
        for part in run.result["components"].values() if run.is_complete else ():
            if (name := part.get("distribution")) and name != OBJECT:  # a digest is no version
                found.setdefault(name, {})[part.get("version", "?")] = None
    several = [f"{name} {' and '.join(its)}" for name, its in found.items() if len(its) > 1]
    return f"Several versions computed these runs: {', '.join(several)}." if several else ""


def differences_said(first: Record, other: Record) -> list[str]:
    """Return in words where the protocols of two runs differ."""
    one, two = (run.result["protocol_description"] for run in (first, other))
    return in_words(one, two)


def differences(first: Record, other: Record) -> list[dict[str, Any]]:
    """Return the name and both values of what differs in two protocol descriptions.

    None stands for what is not there.
    """
    one, two = (
        dict(leaves(run.result["protocol_description"], lists=True)) for run in (first, other)
    )
    return [
        {"name": name, "first": one.get(name), "other": two.get(name)}
        for name in dict.fromkeys([*one, *two])
        if one.get(name) != two.get(name)
    ]
