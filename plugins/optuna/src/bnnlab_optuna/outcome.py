"""What a study found: best.toml, trials.csv, importances, pictures."""

import io
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import tomli_w
from optuna.importance import get_param_importances
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
        importances: Share of each setting that varied in what makes the complete trials differ;
            empty if not known.
    """

    trials: Sequence[FrozenTrial]
    best: FrozenTrial | None
    importances: dict[str, float]


def find(study: optuna.Study) -> Found:
    """Return what a study found so far."""
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state is TrialState.COMPLETE for trial in trials):
        return Found(trials, None, {})
    return Found(trials, study.best_trial, _importances(study))


def _importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of each setting; what did not vary in the complete trials has none."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    shared = optuna.search_space.intersection_search_space(trials)
    varied = [name for name in shared if len({trial.params[name] for trial in trials}) > 1]
    found, why = dict[str, float](), "the trials do not differ enough"
    try:
        with warnings.catch_warnings(action="ignore"):
            found = get_param_importances(study, params=varied, normalize=False)
    except (ValueError, RuntimeError, ImportError) as error:
        why = first_line(error)
    total = float(sum(found.values()))  # 0 if their values are alike
    if not (math.isfinite(total) and total > 0):
        log.log(NOTE, "no importances: %s", why)
        return {}
    return {name: float(it) / total for name, it in found.items()}


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


def write(plan: Plan, study: optuna.Study, found: Found) -> tuple[list[Path], list[str]]:
    """Write best.toml, trials.csv and pictures.

    Returns:
        The files, and what could not be written, with the reason.
    """
    contents: dict[str, Callable[[], bytes]]
    contents = {TRIALS: lambda: csv_text(as_dict(plan, found)["trials"]).encode()}
    if (best := found.best) is not None:
        contents |= {BEST: lambda: _best(plan, best).encode(), **_pictures(study, found)}
    files, faults = list[Path](), list[str]()
    for name, content in contents.items():
        try:
            write_atomically(plan.folder / name, content())
            files.append(plan.folder / name)
        except OSError as error:
            faults.append(f"{name} ({error.strerror or first_line(error)})")
    return files, faults


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


def _pictures(study: optuna.Study, found: Found) -> dict[str, Callable[[], bytes]]:
    """Return what draws each picture of a study, if matplotlib is installed."""
    if find_spec("matplotlib") is None:
        log.log(NOTE, "no pictures: %s", install_command("bnnlab-optuna[plot]"))
        return {}
    from optuna.visualization import matplotlib as pictures

    wanted: dict[str, Callable[[optuna.Study], Any]]
    wanted = {"history": pictures.plot_optimization_history, "slice": pictures.plot_slice}
    if found.importances:
        varied = [*found.importances]
        wanted["importances"] = partial(pictures.plot_param_importances, params=varied)
    if any(trial.intermediate_values for trial in found.trials):
        wanted["intermediate"] = pictures.plot_intermediate_values
    return {f"{name}.png": partial(_drawn, plot, study) for name, plot in wanted.items()}


def _drawn(plot: Callable[[optuna.Study], Any], study: optuna.Study) -> bytes:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    content = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        plot(study)
    pyplot.savefig(content, format="png", bbox_inches="tight")
    pyplot.close()
    return content.getvalue()
