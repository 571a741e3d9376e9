"""The command `reproduce`."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import print_out, print_table, report_error, report_note
from bnnlab.errors import RunError, UsageError, command
from bnnlab.registry.host import PluginHost
from bnnlab_claims.card import FULL, QUICK, BudgetName, Claim, verdict
from bnnlab_claims.finding import find_card
from bnnlab_claims.measuring import measured, write_card
from bnnlab_claims.showing import expected_of, measured_of, published_of
from bnnlab_claims.study import budget_of, config_of, plan_of
from bnnlab_studies.commands.options import EngineName, Jobs, read_seeds, spoken
from bnnlab_studies.commands.sweep import done, shown
from bnnlab_studies.engine import make_engine
from bnnlab_studies.plan import Plan
from bnnlab_studies.study import Study
from bnnlab_studies.sweep_file import seeds_of

Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        help="In place of those of the budget: how many from 0, or a list. A study that is there "
        "keeps its own.",
        metavar="N|LIST",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", help="Folder of runs: the study is in its claims/. Default: runs.", metavar="DIR"
    ),
]


def reproduce(
    name: Annotated[str, typer.Argument(help="The claim, as PLUGIN/KEY (`bnn claims`).")],
    budget: Annotated[
        BudgetName | None,
        typer.Option("--budget", help="Minutes, or the published protocol. Default: quick."),
    ] = None,
    seeds: Seeds = None,
    out: Out = None,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost", help="Train a short piece, and print what all would take. Default: of full."
        ),
    ] = False,
    engine: EngineName = None,
    jobs: Jobs = None,
) -> None:
    """Measure a published figure again: a study of its recipe, and its card.

    The same command goes on with the study. It is one as of `bnn sweep`, in
    OUT/claims/PLUGIN-KEY-BUDGET: `bnn show`, `bnn compare` and `bnn report` read
    it. Its card.toml has the values. On Ctrl-C its runs save and stop.

    Exit code 1: a run failed, or the mean of the quick budget is not as expected.

    Examples:
      bnn reproduce mesu/online-200
      bnn reproduce mesu/online-200 --cost
      bnn reproduce mesu/online-200 --budget full --seeds 0
    """
    if cost:
        if seeds or out or engine or jobs:
            raise UsageError("--cost writes nothing: leave out --seeds, --out, --engine and --jobs")
        _print_cost(name, budget or FULL)
        return
    which = budget or QUICK
    with redirect_stdout(sys.stderr):  # what a plugin prints is no result
        host = PluginHost()
        claim = find_card(host, name).claim
        every = () if seeds is None else seeds_of(read_seeds(seeds))
        said = spoken(jobs, None, engine=engine).get("engine")
        plan = plan_of(host, claim, which, Path(out) if out else None, every, said)
        made = make_engine(host, plan.engine)
    _announce(plan, claim, which)
    again = command("reproduce", name, "--budget", which, *(["--out", out] if out else []))
    study, faults = shown(host, plan, made, again)
    for what, fault in faults.items():
        report_error(f"{what}: {fault}")
    if faults:
        report_note(f"to continue: {again}")
    is_expected = _conclude(study, plan.folder, claim, which)
    if faults or not is_expected:
        raise typer.Exit(1)


def _announce(plan: Plan, claim: Claim, which: BudgetName) -> None:
    """Print what is left to do; of the full protocol, what it takes."""
    (runs,) = done(plan)
    left, hours = len(plan.seeds) - len(runs), budget_of(claim, which).hours
    print_out(f"{claim.name}, {which}: {left} of {len(plan.seeds)} runs left")
    if which == FULL and left:
        unknown = f"not known; to measure it: {command('reproduce', claim.name, '--cost')}"
        known = f"about {hours:g} hours per run on one core" if hours else unknown
        print_out(f"cost: {known}" + (f", {left * hours:.3g} in all" if hours else ""))


def _conclude(study: Study, folder: Path, claim: Claim, which: BudgetName) -> bool:
    """Print what was measured, write its card; return whether it is as expected."""
    if not any(run.is_complete for run in study):
        print_out("no run is complete")
        return False
    try:
        found = measured(study, claim, which)
    except UsageError as error:  # the runs are there
        raise RunError(str(error)) from error
    rows = [("published", published_of(claim)), ("ours", measured_of(found))]
    if which == FULL:
        rows.append(("verdict", verdict(claim, found)))
    else:
        rows.append(("expected", expected_of(budget_of(claim, which), found)))
    print_table((), rows)
    print_out(f"written to {write_card(folder, claim, which, found)}", soft_wrap=True)
    return budget_of(claim, which).takes(found.mean) is not False


def _print_cost(name: str, which: BudgetName) -> None:
    from bnnlab_claims.cost import cost_of

    with redirect_stdout(sys.stderr):
        host = PluginHost()
        claim = find_card(host, name).claim
        found = cost_of(host, config_of(host, claim, which))
    work, piece, seeds = found.work, found.piece, len(budget_of(claim, which).seeds)
    what = f"{work.examples:,} examples, in {work.test_sets:,} parts of tasks"
    rows = [
        ("training", f"{work.steps:,} steps", _times(piece.per_step, found.training)),
        ("evaluation", what, _times(piece.per_example, found.evaluation)),
    ]
    print_out(f"{name}, {which}, one seed on one core")
    print_table((), rows)
    print_out(
        f"Timed: {piece.steps:,} steps of the first task, and {piece.examples:,} examples of its "
        "test part; the rest is extrapolated. Not counted: what rule, optimizer and probes do "
        f"between tasks, and checkpoints, one after each of {work.epochs:,} epochs."
    )
    several = f", {seeds * found.hours:.2g} for {seeds} seeds" if seeds > 1 else ""
    print_out(f"about {found.hours:.2g} hours per seed{several}")


def _times(seconds: float, hours: float) -> str:
    return f"of {1e3 * seconds:.3g} ms: {hours:.2g} hours"
