"""The first lines: what was compared, what was found, and what to be careful of."""

from collections import Counter
from collections.abc import Iterable

from bnnlab_report.blocks import Note, number, plain
from bnnlab_report.material import Material
from bnnlab_studies.cells import few
from bnnlab_studies.comparing import weakness
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Comparison
from bnnlab_studies.tables import interval, unit, unit_of_difference

NAMED = 3
"""The most differences in the first sentence."""


def compared(material: Material) -> str:
    """Return what was compared, as the title."""
    cells = [*material.cells]
    run = material.study[0]
    if len(material.study) == 1:
        return f"{run.title}, seed {run.get('seed', 'unknown')}"
    if len(cells) == 1:
        return f"{cells[0]}: {run.title}"
    if len(cells) > NAMED + 1:
        places = [place.resolve().name for place in material.places]
        what = "trials" if material.best else "cells"
        return f"{len(cells)} {what} of {few(places, ', ')}"
    streams = {run.components["stream"] for run in material.study} - {""}
    on = f" on {streams.pop()}" if len(streams) == 1 else ""
    return f"{', '.join(cells[:-1])} and {cells[-1]}{on}"


def extent(material: Material) -> str:
    """Return how many cells, runs and seeds there are."""
    seeds = {run.get("seed") for run in material.study}
    amounts = {"cell": len(material.cells), "run": len(material.study), "seed": len(seeds)}
    counted = [f"{amount} {name}{'' if amount == 1 else 's'}" for name, amount in amounts.items()]
    return ", ".join(counted)


def found(material: Material) -> str:
    """Return what was found, in one sentence with its figure and spread."""
    measure = material.measure
    means = [cell for cell in material.cells if material.summary(cell, measure).mean is not None]
    if not means:
        return f"There is no figure yet: {_states(material.study)}."
    first = next(iter(material.cells))
    pairs = [each for each in material.comparisons[0] if each.seeds]
    level = _level(material, first)
    if len(material.cells) == 1:
        return f"{level[0].upper()}{level[1:]}."
    if material.best:
        best = f"Best of {len(means)} trials: {material.best}, "
        best += _level(material, material.best)
        size = (
            f". The first one, {first}, has {level}: {_size(material, pairs[0])}" if pairs else ""
        )
        return f"{best}{size}."
    if first not in means or not pairs:
        return f"{few([f'{cell}: {_level(material, cell)}' for cell in means])}."
    pairs.sort(key=lambda each: -abs(each.difference or 0))
    differences = [_difference(material, each) for each in pairs[:NAMED]]
    more = f", and {len(pairs) - NAMED} cells that differ less" if len(pairs) > NAMED else ""
    return f"Against {first}, {level}: {', '.join(differences)}{more}."


def _level(material: Material, cell: str) -> str:
    measure, its = material.measure, material.summary(cell, material.measure)
    score = material.score
    level = f"{material.title} {number(measure, its.mean, score).text}{unit(measure, score)}"
    if its.std is None:
        return f"{level} (one seed)"
    std = number(measure, its.std, score, digits=2).text
    return f"{level} (mean of {its.count} seeds, standard deviation {std})"


def _difference(material: Material, its: Comparison) -> str:
    ends = interval(material.measure, its, material.score, sign=True)
    told = [] if its.low is None else [f"95 % interval {ends}"]
    told.append(f"{len(its.seeds)} {'pair' if len(its.seeds) == 1 else 'pairs'}")
    p, name = (its.p_t, "p") if its.p_holm is None else (its.p_holm, "p (Holm)")
    if p is not None:
        told.append(f"{name} {plain(p).text}")
    return f"{its.other} {_size(material, its)} ({', '.join(told)})"


def _size(material: Material, its: Comparison) -> str:
    measure, score = material.measure, material.score
    size = number(measure, its.difference, score, sign=True).text
    return size + unit_of_difference(measure, score)


def _states(runs: Iterable[Record]) -> str:
    states = Counter(run.status for run in runs).items()
    return ", ".join(f"{count} {status}" for status, count in states)


def cautions(material: Material) -> list[Note]:
    """Return what a reader must know before the first figure."""
    notes = []
    lost = [run for run in material.study if not run.is_complete]
    if lost:
        amount = f"{len(lost)} of {len(material.study)} runs"
        notes.append(f"{amount} count in no mean ({_states(lost)}): see the section on runs.")
    if len({*material.protocols.values()} - {""}) > 1:
        notes.append(
            "The protocols differ: these cells did not learn the same, or were not scored alike. "
            "Compare figures only where the protocol is equal."
        )
    if material.best:
        notes.append(
            f"{material.best} was chosen by these values: its lead is likely smaller on other "
            "data, and no p-value here holds. Measure it on test data, with other seeds: "
            "`best.toml` says how."
        )
    elif any(run.get("evaluate_on") == "validation" for run in material.study):
        notes.append(
            "Validation parts were scored. Settings may have been chosen by these figures, so do "
            "not report them as results."
        )
    if weak := weakness(material.comparisons[0]):
        notes.append(f"{weak[0].upper()}{weak[1:]}.")
    return [Note(text, is_warning=True) for text in notes]
