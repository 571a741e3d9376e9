"""What a study found: best.toml, trials.csv, importances, pictures."""

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import tomli_w
from optuna.trial import FrozenTrial, TrialState

from bnnlab.errors import NOTE, first_line, install_command
from bnnlab.storage.files import write_atomically
from bnnlab_optuna.plan import Plan
from bnnlab_optuna.tuner import ABOUT, VALUES
from bnnlab_studies.tables import csv_text

log = logging.getLogger("bnnlab.optuna")

BEST, TRIALS = "best.toml", "trials.csv"


@dataclass(frozen=True)
class Found:
    """What a study found so far.

    Attributes:
        trials: All of them, by number.
        best: The best complete trial; None if there is none.
        importances: Share of each dimension in what makes trials differ; empty if not known.
    """

    trials: Sequence[FrozenTrial]
    best: FrozenTrial | None
    importances: dict[str, float]


def find(study: optuna.Study) -> Found:
    """Return what a study found so far."""
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state is TrialState.COMPLETE for trial in trials):
        return Found(trials, None, {})
    importances, why = {}, "the trials do not differ enough"
    try:
        with warnings.catch_warnings(action="ignore"):
            importances = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError, ImportError) as error:
        why = first_line(error)
    if not importances or not all(map(math.isfinite, importances.values())):
        log.log(NOTE, "no importances: %s", why)
        importances = {}
    return Found(trials, study.best_trial, {name: float(it) for name, it in importances.items()})


def by_seed(plan: Plan, trial: FrozenTrial) -> dict[int, float | None]:
    """Return the values of a trial's seeds; None for those that were not run."""
    values = trial.user_attrs.get(VALUES, [])
    return dict.fromkeys(plan.tuning.seeds) | dict(zip(plan.tuning.seeds, values, strict=False))


def as_dict(plan: Plan, found: Found) -> dict[str, Any]:
    """Return it as JSON: with a row per trial of its state, values, settings and fault."""
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            plan.tuning.measure: trial.value,
            **{f"seed-{seed}": value for seed, value in by_seed(plan, trial).items()},
            **{each.name: trial.params.get(each.name) for each in plan.space.dimensions},
            "seconds": trial.duration and round(trial.duration.total_seconds(), 3),
            "about": trial.user_attrs.get(ABOUT, ""),
        }
        for trial in found.trials
    ]
    return {
        "folder": str(plan.folder),
        "measure": plan.tuning.measure,
        "direction": plan.tuning.direction,
        "evaluate_on": "validation",
        "best": rows[found.best.number] if found.best else None,
        "importances": found.importances,
        "trials": rows,
    }


def write(plan: Plan, found: Found) -> list[Path]:
    """Write best.toml and trials.csv; return their paths."""
    texts = {TRIALS: csv_text(as_dict(plan, found)["trials"])}
    if found.best is not None:
        texts[BEST] = _best(plan, found.best)
    for name, text in texts.items():
        write_atomically(plan.folder / name, text.encode())
    return [plan.folder / name for name in texts]


def _best(plan: Plan, best: FrozenTrial) -> str:
    """Return a run file with the settings of the best trial, evaluated on test again."""
    config = plan.resolve(plan.space.settings(best), {"evaluate_on": "test"}).as_dict()
    for where in ("name", "out", "device", "checkpoint_minutes"):
        config.pop(where)
    fresh = ",".join(str(max(plan.tuning.seeds) + place) for place in range(1, 6))
    return (
        f"# Trial {best.number} of {plan.folder.name}: {plan.tuning.measure} {best.value:.6g} on "
        f"validation data, with {plan.tuning.seeds_shown}.\n"
        f"# Measure it on test data, with seeds that tuning did not use:\n"
        f"#   bnn run --config {BEST} --seeds {fresh}\n{tomli_w.dumps(config)}"
    )


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

    wanted: dict[str, Callable[[optuna.Study], Any]]
    wanted = {"history": pictures.plot_optimization_history, "slice": pictures.plot_slice}
    if found.importances:
        wanted["importances"] = pictures.plot_param_importances
    if any(trial.intermediate_values for trial in found.trials):
        wanted["intermediate"] = pictures.plot_intermediate_values
    for name, picture in wanted.items():
        with warnings.catch_warnings(action="ignore"):
            picture(study)
        pyplot.savefig(folder / f"{name}.png", bbox_inches="tight")
        pyplot.close()
    return [folder / f"{name}.png" for name in wanted]
