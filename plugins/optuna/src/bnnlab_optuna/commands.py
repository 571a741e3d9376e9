"""The command `bnn tune`."""

import shlex
import sys
from collections import Counter
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from optuna.trial import FrozenTrial

from bnnlab.cli.choosing import Assignments
from bnnlab.cli.console import Json, print_json, print_out, print_table, report_note, stoppable
from bnnlab.registry.host import PluginHost
from bnnlab.settings.text import written
from bnnlab_optuna.outcome import Found, as_dict, by_seed, draw, find, write
from bnnlab_optuna.ownership import Ownership
from bnnlab_optuna.plan import Plan, read_plan
from bnnlab_optuna.tuner import ABOUT, Tuner
from bnnlab_studies.asking import EngineError
from bnnlab_studies.commands.options import EngineName, Jobs, Name, Out, spoken
from bnnlab_studies.stopping import raising

File = Annotated[
    Path,
    typer.Argument(help="A run file with a table \\[tune], or a study's folder.", metavar="FILE"),
]
Trials = Annotated[
    int | None,
    typer.Option("--trials", help="Trials of the study in all. Default: tune.trials, or 50."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]


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
    with redirect_stdout(sys.stderr):  # what a plugin prints is no result
        said = spoken(jobs, set=set, out=out, name=name, engine=engine)
        plan = read_plan(PluginHost(), file, said, trials)
        if not quiet:
            _announce(plan)
        again = f"bnn tune {shlex.quote(str(plan.folder))}"
        with closing(Tuner(plan, (lambda _: None) if quiet else _report)) as tuner:
            try:
                with stoppable(lambda: again), raising():
                    tuner.run()
            except EngineError:
                if hasattr(tuner, "ownership"):  # trials that ended stay
                    _write(plan, tuner.ownership)
                raise
            found, files = _write(plan, tuner.ownership)
    if json:
        print_json(as_dict(plan, found))
    else:
        _print(plan, found)
        for path in files:
            print_out(f"written to {path}", soft_wrap=True)
    if found.best is None:
        raise typer.Exit(1)


def _announce(plan: Plan) -> None:
    """Say what is going to be done."""
    tuning = plan.tuning
    report_note(
        f"study {plan.folder}: {tuning.trials} trials in all, {tuning.seeds_shown}, sampler "
        f"{tuning.sampler}, pruner {tuning.pruner}"
    )
    report_note(
        f"{tuning.direction} {tuning.measure} on validation data (evaluate_on = validation); the "
        "test part is not read"
    )
    for each in plan.space.dimensions:
        report_note(f"  {each.name}: {each.what}")
    if tuning.pruner != "none" and len(tuning.seeds) == 1 and not tuning.within:
        report_note(f"nothing is pruned: {tuning.measure} has no value before a run ends")


def _write(plan: Plan, ownership: Ownership) -> tuple[Found, list[Path]]:
    """Write what the study has found; return it, and the files."""
    with ownership.asking:  # the last process to write has seen all trials
        found = find(ownership.study)
        files = write(plan, found)
    return found, [*files, *draw(plan.folder, ownership.study, found)]


def _report(trial: FrozenTrial) -> None:
    """Say how a trial ended."""
    params = (f"{name} {_shown(value)}" for name, value in trial.params.items())
    about = trial.user_attrs.get(ABOUT) or ", ".join(params)
    value = "" if trial.value is None else f" {trial.value:.4f}"
    report_note(f"trial {trial.number} {_state(trial)}{value}: {about}")


def _state(trial: FrozenTrial) -> str:
    return str(trial.state.name).lower().replace("fail", "failed")


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else written(value)


def _print(plan: Plan, found: Found) -> None:
    counts = Counter(map(_state, found.trials)).items()
    counted = ", ".join(f"{count} {state}" for state, count in counts)
    print_out(f"{len(found.trials)} trials: {counted}")
    if found.best is None:
        print_out("no trial is complete: there is no best one")
        return
    best = found.best
    print_out(f"best: trial {best.number}, validation {plan.tuning.measure} {best.value:.4f}")
    if len(plan.tuning.seeds) > 1:
        values = by_seed(plan, best).items()
        print_out(", ".join(f"seed {seed}: {value:.4f}" for seed, value in values))
    shares = {name: f"{100 * share:.0f} %" for name, share in found.importances.items()}
    rows = [(name, _shown(it), shares.get(name, "")) for name, it in best.params.items()]
    print_table(("setting", "best", "importance"), rows, numbers=2)
