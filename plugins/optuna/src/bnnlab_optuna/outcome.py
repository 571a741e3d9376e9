"""What a study found: best.toml, trials.csv, importances, pictures."""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
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
        unknown: Why they are not known; else empty.
    """

    trials: Sequence[FrozenTrial]
    best: FrozenTrial | None
    importances: dict[str, float]
    unknown: str


def find(study: optuna.Study) -> Found:
    """Return what a study found so far."""
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return Found(trials, study.best_trial if complete else None, *_importances(study))


def rows(plan: Plan, found: Found) -> list[dict[str, Any]]:
    """Return a row per trial: its state, values, settings, and why it is not complete."""
    return [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            plan.tuning.measure: trial.value,
            **dict.fromkeys(f"seed-{seed}" for seed in plan.tuning.seeds),
            **{f"seed-{seed}": value for seed, value in by_seed(plan, trial)},
            **{each.name: trial.params.get(each.name) for each in plan.space.dimensions},
            "seconds": trial.duration and round(trial.duration.total_seconds(), 3),
            "about": trial.user_attrs.get(ABOUT, ""),
        }
        for trial in found.trials
    ]


def by_seed(plan: Plan, trial: FrozenTrial) -> Iterator[tuple[int, float]]:
    """Yield the seeds that a trial was run with, and their values."""
    return zip(plan.tuning.seeds, trial.user_attrs.get(VALUES, []), strict=False)


def as_dict(plan: Plan, found: Found) -> dict[str, Any]:
    """Return it as JSON."""
    made = rows(plan, found)
    return {
        "folder": str(plan.folder),
        "measure": plan.tuning.measure,
        "direction": plan.tuning.direction,
        "evaluate_on": "validation",
        "best": made[found.best.number] if found.best else None,
        "importances": found.importances,
        "trials": made,
    }


def write(plan: Plan, found: Found) -> list[Path]:
    """Write best.toml and trials.csv; return their paths."""
    texts = {TRIALS: csv_text(rows(plan, found))}
    if found.best is not None:
        texts[BEST] = _best(plan, found.best)
    for name, text in texts.items():
        write_atomically(plan.folder / name, text.encode())
    return [plan.folder / name for name in texts]


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
