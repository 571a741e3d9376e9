"""The command `bnn tune`."""

import shlex
import sys
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnnlab.cli.choosing import Assignments, layer
from bnnlab.cli.console import Json, print_json, print_out, print_table, report_note, stoppable
from bnnlab.settings.text import joined

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from bnnlab_optuna.outcome import Found
    from bnnlab_optuna.plan import Plan

File = Annotated[
    Path,
    typer.Argument(help="A run file with a table \\[tune], or a study's folder.", metavar="FILE"),
]
Trials = Annotated[
    int | None,
    typer.Option("--trials", help="Trials of the study in all. Default: tune.trials, or 50."),
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="What runs the trials, see `bnn info engine`.", metavar="NAME"),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", help="Trials at a time; the engine's option jobs.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]


Out = Annotated[
    str | None, typer.Option("--out", help="Folder to make the study's folder in. Default: runs.")
]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the study's folder. Default: the file's name.")
]


def tune(
    file: File,
    trials: Trials = None,
    engine: EngineName = None,
    jobs: Jobs = None,
    set: Assignments = None,
    out: Out = None,
    name: Name = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    r"""Choose settings by trials on validation data, with Optuna.

    Each trial is a training with other settings. The test part of the stream is not read.

    Searched are options that declare a range and that the file does not set, and \[tune.space].

    best.toml has the best settings. Measure them with `bnn run --config`, with other seeds.

    The same command continues a study. Several processes and machines may share its storage.

    Examples:
      bnn tune study.toml --trials 30

      bnn tune runs/study --jobs 2
    """
    from bnnlab.registry.host import PluginHost
    from bnnlab_optuna.plan import read_plan

    chosen = {"engine": {} if jobs is None else {"jobs": jobs}}
    spoken = joined([layer({"set": set, "out": out, "name": name, "engine": engine}), chosen])
    with redirect_stdout(sys.stderr):  # what a plugin prints is no result
        plan = read_plan(PluginHost(), file, spoken, trials)
        found, written = _carry_out(plan, quiet)
    if json:
        print_json(found.as_dict(plan))
        return
    _print(plan, found)
    for path in written:
        print_out(f"written to {path}", soft_wrap=True)
    if found.best is None:
        raise typer.Exit(1)


def _carry_out(plan: "Plan", quiet: bool) -> tuple["Found", list[Path]]:
    from bnnlab_optuna.outcome import draw, find, write
    from bnnlab_optuna.tuner import Tuner
    from bnnlab_studies.stopping import raising

    if not quiet:
        _announce(plan)
    tuner = Tuner(plan, (lambda _: None) if quiet else _report)
    with closing(tuner):
        again = f"bnn tune {shlex.quote(str(plan.folder))}"
        with stoppable(lambda: again), raising():
            tuner.run()
        with tuner.ownership.asking:  # the last process to write has seen all trials
            found = find(tuner.study)
            written = write(plan, found)
        return found, written + draw(plan.folder, tuner.study, found)


def _announce(plan: "Plan") -> None:
    """Say what is going to be done."""
    tuning = plan.tuning
    seeds = ", ".join(map(str, tuning.seeds))
    report_note(
        f"study {plan.folder}: {tuning.trials} trials in all, seed{'s' * (len(tuning.seeds) > 1)} "
        f"{seeds}, sampler {tuning.sampler}, pruner {tuning.pruner}"
    )
    report_note(
        f"{tuning.direction} {tuning.measure} on validation data (evaluate_on = validation); the "
        "test part is not read"
    )
    for each in plan.space.dimensions:
        report_note(f"  {each.name}: {each.what}")
    if tuning.pruner != "none" and len(tuning.seeds) == 1 and not plan.within:
        report_note(f"nothing is pruned: {tuning.measure} has no value before a run ends")


def _report(trial: "FrozenTrial") -> None:
    """Say how a trial ended."""
    from bnnlab_optuna.tuner import ABOUT

    state = trial.state.name.lower().replace("fail", "failed")
    about = trial.user_attrs.get(ABOUT) or ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.params.items()
    )
    value = "" if trial.value is None else f" {trial.value:.4f}"
    report_note(f"trial {trial.number} {state}{value}: {about}")


def _print(plan: "Plan", found: "Found") -> None:
    from optuna.trial import TrialState

    from bnnlab_optuna.tuner import VALUES

    states = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
        "running": TrialState.RUNNING,
    }
    counts = [
        f"{found.count(state)} {word}" for word, state in states.items() if found.count(state)
    ]
    print_out(f"{len(found.trials)} trials: {', '.join(counts)}")
    if found.best is None:
        print_out("no trial is complete: there is no best one")
        return
    best, measure = found.best, plan.tuning.measure
    print_out(f"best: trial {best.number}, validation {measure} {best.value:.4f}")
    values = best.user_attrs.get(VALUES, [])
    if len(values) > 1:
        each = (
            f"seed {seed}: {value:.4f}"
            for seed, value in zip(plan.tuning.seeds, values, strict=True)
        )
        print_out(", ".join(each))
    rows = [
        (name, f"{value:.6g}" if isinstance(value, float) else str(value))
        + ((f"{100 * found.importances[name]:.0f} %",) if name in found.importances else ("",))
        for name, value in best.params.items()
    ]
    print_table(("setting", "best", "importance"), rows, numbers=2)
    if found.unknown:
        print_out(f"no importances: {found.unknown}")
    if len(found.protocols) > 1:
        print_out(
            f"the trials have {len(found.protocols)} protocols: what they learn from differs, or "
            "how long, or how they are scored"
        )
