"""The command `bnn tune`."""

import logging
import sys
from collections import Counter
from contextlib import closing, redirect_stdout, suppress
from pathlib import Path
from typing import Annotated

import typer
from optuna.trial import FrozenTrial, TrialState

from bnnlab.cli.choosing import Assignments
from bnnlab.cli.console import Json, print_json, print_out, print_table, report_note, stoppable
from bnnlab.engine.interruption import raising
from bnnlab.errors import BnnlabError, RunError
from bnnlab.registry.host import PluginHost
from bnnlab.settings.text import written
from bnnlab_optuna.outcome import TRIALS, Found, as_dict, by_seed, find, write
from bnnlab_optuna.ownership import Ownership, unwritable
from bnnlab_optuna.plan import Plan, read_plan
from bnnlab_optuna.reading import PROTOCOL
from bnnlab_optuna.storage import FAULTS, unreachable
from bnnlab_optuna.tuner import ABOUT, Tuner
from bnnlab_studies.cells import brief
from bnnlab_studies.commands.options import EngineName, Jobs, Name, Out, Trackers, spoken

log = logging.getLogger("bnnlab.optuna")

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
    track: Trackers = None,
    set: Assignments = None,
    out: Out = None,
    name: Name = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    r"""Choose settings by trials on validation data, with Optuna.

    Each trial is a training with other settings. It does not read test data.
    Searched are options that declare a range and that the file does not set,
    and \[tune.space].
    best.toml has the best settings. Measure them with other seeds, by
    `bnn run --config`.
    The same command continues a study. Several processes and machines may
    share its storage.

    Exit code 1: no trial is complete, or the study stopped before all were.

    Examples:
      bnn tune study.toml --trials 30
      bnn tune runs/study --jobs 2
    """
    with redirect_stdout(sys.stderr):  # what a plugin prints is no result
        said = spoken(jobs, track, set=set, out=out, name=name, engine=engine)
        plan = read_plan(PluginHost(), file, said, trials)
        if not quiet:
            _announce(plan)
        with closing(Tuner(plan, (lambda _: None) if quiet else _report)) as tuner:
            try:
                with stoppable(lambda: plan.again), raising():
                    tuner.run()
            except BnnlabError:
                with suppress(BnnlabError):
                    if hasattr(tuner, "ownership"):  # trials that ended stay
                        _write(plan, tuner.ownership)
                raise
            found, files, faults = _write(plan, tuner.ownership)
    if json:
        print_json(as_dict(plan, found))
    else:
        _print(plan, found)
        for path in files:
            print_out(f"written to {path}", soft_wrap=True)
    _name_failed(found)
    if faults:
        raise RunError(f"cannot write to {plan.folder}: {', '.join(faults)}", again=plan.again)
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
    if its := [name for name in PROTOCOL if any(it.name == name for it in plan.space.dimensions)]:
        report_note(f"trials differ in {' and '.join(its)}, and so in their protocol hash")
    if tuning.pruner != "none" and len(tuning.seeds) == 1 and not tuning.within:
        report_note(f"nothing is pruned: {tuning.measure} has no value before a run ends")


def _write(plan: Plan, ownership: Ownership) -> tuple[Found, list[Path], list[str]]:
    """Write what the study has found; return it, the files, and what cannot be written.

    Raises:
        RunError: If the study cannot be read, or its folder not be locked.
    """
    try:
        with ownership.asking:  # the last process to write has seen all trials
            found = find(ownership.study)
            return found, *write(plan, ownership.study, found)
    except FAULTS as error:
        raise RunError(unreachable(plan.address, error)) from None
    except OSError as error:
        raise RunError(unwritable(plan.folder, error)) from error


def _name_failed(found: Found) -> None:
    """Say which trials failed, and why the last of them did."""
    failed = [trial for trial in found.trials if trial.state is TrialState.FAIL]
    if failed:
        numbers, why = ", ".join(str(each.number) for each in failed), failed[-1].user_attrs[ABOUT]
        what = f"{len(failed)} of {len(found.trials)} trials failed: {numbers}"
        log.warning("%s (%s says why). The last of them: %s", what, TRIALS, why)


def _report(trial: FrozenTrial) -> None:
    """Say how a trial ended."""
    params = (f"{name} {written(brief(value))}" for name, value in trial.params.items())
    about = trial.user_attrs.get(ABOUT) or ", ".join(params)
    value = "" if trial.value is None else f" {trial.value:.4f}"
    report_note(f"trial {trial.number} {_state(trial)}{value}: {about}")


def _state(trial: FrozenTrial) -> str:
    return str(trial.state.name).lower().replace("fail", "failed")


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
    rows = [(name, written(brief(it)), shares.get(name, "-")) for name, it in best.params.items()]
    print_table(("setting", "best", "importance"), rows, numbers=2)
