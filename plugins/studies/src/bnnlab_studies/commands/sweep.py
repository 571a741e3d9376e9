"""The command `sweep`."""

import logging
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from bnnlab.cli.choosing import Assignments
from bnnlab.cli.console import Json, print_json, print_out, stoppable
from bnnlab.registry.host import PluginHost
from bnnlab_studies.cells import group, listed
from bnnlab_studies.commands.options import EngineName, Jobs, Name, Out, Trackers, spoken
from bnnlab_studies.commands.summaries import print_study
from bnnlab_studies.commands.watching import Watch
from bnnlab_studies.engine import Engine, make_engine
from bnnlab_studies.job import Job, finished, others
from bnnlab_studies.plan import Plan, command_of, make_plan
from bnnlab_studies.record import Record
from bnnlab_studies.study import TABLE, Study
from bnnlab_studies.study_folder import agreed
from bnnlab_studies.sweep import TableError
from bnnlab_studies.sweep import sweep as carry_out
from bnnlab_studies.tables import print_rows

log = logging.getLogger("bnnlab.studies")


def sweep(
    file: Annotated[Path, typer.Argument(help="Sweep file (TOML), or a study's folder.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, run nothing.")
    ] = False,
    engine: EngineName = None,
    jobs: Jobs = None,
    track: Trackers = None,
    set: Assignments = None,
    out: Out = None,
    name: Name = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Json = False,
) -> None:
    r"""Run every cell of a study with every seed; go on where it stopped.

    A sweep file is a run file with a table \[sweep]: seeds, and what varies
    (grid, zip, cells). More cells or seeds in the file extend the study.
    The same command goes on with it: it runs what is not complete, and failed
    runs again.
    On Ctrl-C, SIGTERM, SIGHUP or SIGQUIT its runs save and stop; twice: at once.
    `bnn info engine` lists the engines.

    Exit code 1: a run failed or is not complete.

    Examples:
      bnn sweep rates.toml --dry-run
      bnn sweep rates.toml --jobs 4 --set epochs=2
      bnn sweep runs/rates
    """
    with redirect_stdout(sys.stderr):  # what a plugin prints is no result
        host = PluginHost()
        said = spoken(jobs, track, set=set, out=out, name=name, engine=engine)
        plan = agreed(host, make_plan(host, file, said))
        made = make_engine(host, plan.engine)
    _warn_of_others(plan.jobs(made.threads))
    if dry_run or not json:
        _print_plan(plan, made, json)
    if dry_run:
        return
    again = command_of(plan.folder)
    study, faults = shown(host, plan, made, again, quiet)
    print_study(study, faults, json, again)


def shown(
    host: PluginHost, plan: Plan, engine: Engine, again: str, quiet: bool = False
) -> tuple[Study, dict[str, str]]:
    """Carry out what is left of a study, with its progress on standard error.

    Args:
        host: The plugins.
        plan: Of the study.
        engine: What carries the runs out.
        again: The command that goes on with it, which a signal prints.
        quiet: Whether to show no progress.

    Returns:
        The study; the faults of runs and of the table, by their names.
    """
    watch = Watch(sum(len(plan.seeds) - len(runs) for runs in done(plan)), quiet)
    try:
        with redirect_stdout(sys.stderr), stoppable(lambda: again), watch.progress:
            return carry_out(host, plan, engine, watch.ended), watch.faults
    except TableError as error:
        return error.study, {**watch.faults, TABLE: str(error)}


def _warn_of_others(jobs: Iterable[Job]) -> None:
    """Say which runs cannot begin, because runs with other settings are in their folders."""
    if found := [job.name for job in jobs if others(job)]:
        log.warning(
            "%s cannot begin, as runs with other settings are in their folders: %s. Move these "
            "away, or give the sweep another --name",
            _count(len(found), "run"),
            listed(found),
        )


def _print_plan(plan: Plan, engine: Engine, json: bool) -> None:
    there = done(plan)
    if json:
        about = [
            {"name": cell.name, "folder": cell.folder, "done": len(runs), "settings": cell.settings}
            for cell, runs in zip(plan.cells, there, strict=True)
        ]
        where = {"folder": str(plan.folder), "engine": plan.engine.name}
        print_json({**where, "seeds": [*plan.seeds], "cells": about})
        return
    cells, seeds = len(plan.cells), len(plan.seeds)
    seconds = [run.get("seconds", 0.0) for runs in there for run in runs]
    left = cells * seeds - len(seconds)
    what = f"{_count(cells, 'cell')} x {_count(seeds, 'seed')} = {_count(cells * seeds, 'run')}"
    print_out(f"study {plan.folder}", soft_wrap=True)
    print_out(f"{what}, {len(seconds)} done")
    each = f"{engine.jobs} at a time, {_count(engine.threads, 'thread')} each"
    print_out(f"engine {plan.engine.component.name}: {each}")
    if seconds and left:
        rest = timedelta(seconds=round(fmean(seconds) * left / min(engine.jobs, left)))
        print_out(f"time left: about {rest}, if the others take as long as those that are done")
    if left and (told := dict.fromkeys(str(each) for cell in plan.cells for each in cell.later)):
        print_out(f"checked before the first run begins: {'; '.join(told)}")
    planned = [Record("", None, "planned", cell.settings, {}) for cell in plan.cells]
    names = [cell.name for cell in plan.cells]
    differing = [*group(planned)]
    counts = [f"{len(runs)} of {seeds}" for runs in there]
    if _parts(differing) == _parts(names) or not 1 < len(differing) == len(names):
        print_rows(("cell", "done"), [*zip(names, counts, strict=True)])
    else:
        rows = [*zip(names, differing, counts, strict=True)]
        print_rows(("cell", "what differs", "done"), rows)


def _parts(names: Iterable[str]) -> list[list[str]]:
    """Return what names of cells say, in whatever order they say it."""
    return [sorted(name.split(", ")) for name in names]


def done(plan: Plan) -> list[list[Record]]:
    """Return the runs of each cell that are done."""
    return [
        [
            Record.read(place)
            for seed in plan.seeds
            if finished(place := plan.place(cell, seed), {**cell.settings, "seed": seed})
        ]
        for cell in plan.cells
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
