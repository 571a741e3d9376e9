"""What a study found: best.toml, trials.csv, importances, pictures."""

import csv
import io
import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import tomli_w
from optuna.trial import FrozenTrial, TrialState

from bnnlab.errors import NOTE, first_line, install_command
from bnnlab.storage.files import write_atomically
from bnnlab_optuna.choices import value_of
from bnnlab_optuna.ownership import counted
from bnnlab_optuna.plan import Plan
from bnnlab_optuna.tuner import ABOUT, PROTOCOL, VALUES

log = logging.getLogger("bnnlab.optuna")

BEST, TRIALS = "best.toml", "trials.csv"


@dataclass(frozen=True)
class Found:
    """What a study found so far.

    Attributes:
        trials: Those that count, by number.
        best: The best complete trial; None if there is none.
        importances: Share of each dimension in what makes trials differ; empty if not known.
        unknown: Why they are not known; else empty.
        protocols: Hashes of the protocols that complete trials were scored by.
    """

    trials: Sequence[FrozenTrial]
    best: FrozenTrial | None
    importances: dict[str, float]
    unknown: str
    protocols: Sequence[str]

    def count(self, state: TrialState) -> int:
        """Return how many trials have this state."""
        return sum(trial.state is state for trial in self.trials)

    def as_dict(self, plan: Plan) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "folder": str(plan.folder),
            "measure": plan.tuning.measure,
            "direction": plan.tuning.direction,
            "evaluate_on": "validation",
            "best": None if self.best is None else _as_dict(self.best),
            "importances": self.importances,
            "trials": [_as_dict(trial) for trial in self.trials],
        }


def find(study: optuna.Study) -> Found:
    """Return what a study found so far."""
    trials = counted(study.get_trials(deepcopy=False))
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    protocols = sorted({trial.user_attrs.get(PROTOCOL, "") for trial in complete})
    importances, unknown = _importances(study)
    best = study.best_trial if complete else None
    return Found(trials, best, importances, unknown, protocols)


def write(plan: Plan, found: Found) -> list[Path]:
    """Write best.toml and trials.csv; return their paths."""
    written = [plan.folder / TRIALS]
    write_atomically(written[0], _csv(plan, found).encode())
    if found.best is not None:
        written.append(plan.folder / BEST)
        write_atomically(written[-1], _best(plan, found.best).encode())
    return written


def _best(plan: Plan, best: FrozenTrial) -> str:
    """Return a run file with the settings of the best trial, evaluated on test again."""
    settings = plan.space.settings(lambda each: value_of(each, best.params[each.name]))
    config = plan.resolve(settings, {"evaluate_on": "test"}).as_dict()
    for where in ("name", "out", "device", "checkpoint_minutes"):
        config.pop(where, None)
    seeds = plan.tuning.seeds
    fresh = ",".join(str(max(seeds) + 1 + place) for place in range(5))
    return (
        f"# Trial {best.number} of {plan.folder.name}: {plan.tuning.measure} {best.value:.6g} on "
        f"validation data, with seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}.\n"
        f"# Measure it on test data, with seeds that tuning did not use:\n"
        f"#   bnn run --config {BEST} --seeds {fresh}\n{tomli_w.dumps(config)}"
    )


def _importances(study: optuna.Study) -> tuple[dict[str, float], str]:
    """Return the importances by dimension, or why they cannot be computed."""
    try:
        with warnings.catch_warnings(action="ignore"):
            found = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError, ImportError) as error:
        return {}, first_line(error)
    if not all(map(math.isfinite, found.values())):
        return {}, "the trials do not differ enough"
    return {name: float(value) for name, value in found.items()}, ""


def _csv(plan: Plan, found: Found) -> str:
    """Return a table with a row per trial."""
    names = [each.name for each in plan.space.dimensions]
    seeds = [f"seed-{seed}" for seed in plan.tuning.seeds]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", plan.tuning.measure, *seeds, *names, "seconds", "about"])
    for trial in found.trials:
        values = trial.user_attrs.get(VALUES, [])
        seconds = "" if trial.duration is None else round(trial.duration.total_seconds(), 3)
        table.writerow(
            [
                trial.number,
                trial.state.name.lower(),
                trial.value,
                *values,
                *[""] * (len(seeds) - len(values)),
                *(trial.params.get(name, "") for name in names),
                seconds,
                trial.user_attrs.get(ABOUT, ""),
            ]
        )
    return text.getvalue()


def draw(folder: Path, study: optuna.Study, found: Found) -> list[Path]:
    """Draw the study, if matplotlib is installed and a trial is complete; return the pictures."""
    if found.best is None:
        return []
    if find_spec("matplotlib") is None:
        log.log(NOTE, "no pictures: %s", install_command("bnnlab-optuna[plot]"))
        return []
    import matplotlib
    from optuna.visualization import matplotlib as pictures

    matplotlib.use("Agg")
    from matplotlib import pyplot

    wanted = {"history": pictures.plot_optimization_history, "slice": pictures.plot_slice}
    if found.importances:
        wanted["importances"] = pictures.plot_param_importances
    if any(trial.intermediate_values for trial in found.trials):
        wanted["intermediate"] = pictures.plot_intermediate_values
    paths = []
    for name, picture in wanted.items():
        with warnings.catch_warnings(action="ignore"):
            axes = picture(study)
        figure = axes.figure if hasattr(axes, "figure") else axes.flat[0].figure
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], bbox_inches="tight")
        pyplot.close(figure)
    return paths


def _as_dict(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "values": trial.user_attrs.get(VALUES, []),
        "settings": trial.params,
        "about": trial.user_attrs.get(ABOUT, ""),
    }
