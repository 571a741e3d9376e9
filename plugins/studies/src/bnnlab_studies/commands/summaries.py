"""What `bnn run --seeds` and `bnn sweep` print at their end: the means of each cell."""

from collections.abc import Mapping, Sequence

import typer

from bnnlab.cli.console import print_json, print_out, report_error, report_note
from bnnlab_studies.cells import by_seed
from bnnlab_studies.comparing import note
from bnnlab_studies.statistics import Summary
from bnnlab_studies.study import Study
from bnnlab_studies.tables import cut_note, interval, print_rows, text


def print_study(study: Study, faults: Mapping[str, str], json: bool, again: str) -> None:
    """Print the cells' means; and the faults of runs and of the table, by their names.

    Raises:
        typer.Exit: With code 1, if there are faults; `again`, which goes on, is printed.
    """
    try:
        if json:
            print_json({**study.as_dict(), "faults": faults})
        elif len(study):
            print_summaries(study)
            if study.folder:
                print_out(f"written to {study.folder}", soft_wrap=True)
    finally:  # a full disk may be what standard output is on
        for name, fault in faults.items():
            report_error(f"{name}: {fault}")
        if faults:
            report_note(f"to continue: {again}")
    if faults:
        raise typer.Exit(1)


def print_summaries(study: Study) -> None:
    """Print mean, standard deviation, interval and every value, per cell and measure."""
    alone = next(iter(study.cells)) if len(study.cells) == 1 else None
    found = {name: study.summary(name) for name in study.told}
    if not found:
        print_out("no run is complete")
    elif alone:
        print_out(alone, soft_wrap=True)
        _print("measure", study, [(study.heading(name), name, alone) for name in found], found)
    else:
        for name in found:
            print_out(study.heading(name))
            _print("cell", study, [(cell, name, cell) for cell in study.cells], found)
    _print_notes(study, [(name, each) for name, its in found.items() for each in its.values()])


def _print(
    first: str,
    study: Study,
    lines: Sequence[tuple[str, str, str]],
    found: Mapping[str, Mapping[str, Summary]],
) -> None:
    """Print a table; each line has a head, and is about a measure of a cell."""
    seeds = sorted({run["seed"] for run in study if isinstance(run.get("seed"), int)})
    heads = (first, f"seeds {'  '.join(map(str, seeds))}", "n", "mean", "std", "95 % interval")
    rows = [
        (head, _values(name, study, cell, seeds), *_figures(name, study, found[name][cell]))
        for head, name, cell in lines
    ]
    print_rows(heads, rows, numbers=4)
    print_out()


def _values(name: str, study: Study, cell: str, seeds: Sequence[int]) -> str:
    values, _ = by_seed(study.cells[cell], name)
    return "  ".join(text(name, values.get(seed), study.score) for seed in seeds)


def _figures(name: str, study: Study, found: Summary) -> tuple[str, ...]:
    mean, std = text(name, found.mean, study.score), text(name, found.std, study.score, digits=2)
    return str(found.count), mean, std, interval(name, found, study.score, units=study.units)


def _print_notes(study: Study, found: Sequence[tuple[str, Summary]]) -> None:
    if max((each.count for _, each in found), default=0) == 1:
        print_out("one seed: there is no interval")
    if cut := cut_note(found, study.score, study.units):
        print_out(cut)
    for reason in dict.fromkeys(reason for _, each in found for reason in each.missing):
        print_out(f"not counted: {reason}", soft_wrap=True)
    if told := note(study):
        print_out(told)
