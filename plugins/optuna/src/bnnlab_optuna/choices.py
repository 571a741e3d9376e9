"""Samplers and pruners of Optuna by name, and how a trial draws a dimension."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from bnnlab.errors import UsageError
from bnnlab_optuna.space import Dimension, Space, Values
from bnnlab_optuna.tuning import Pruner, Sampler


class _Grid(optuna.samplers.GridSampler):  # type: ignore[misc, unused-ignore]
    """Optuna's sampler of a grid, for `ask` and `tell`: it stops no loop of Optuna's."""

    def after_trial(self, *_: Any) -> None:
        """Do nothing: the number of trials ends a study."""


def make_sampler(name: Sampler, space: Space, seed: int, trial: int) -> optuna.samplers.BaseSampler:
    """Return a sampler for one trial.

    A sampler of Optuna keeps nothing but the state of its random numbers; all else it reads from
    the study. So trial n is drawn in the same way whether or not the study was interrupted, and no
    two processes draw the same numbers.

    Args:
        name: The sampler.
        space: What is searched.
        seed: Of the study.
        trial: The trial's number.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "grid":
            return _Grid(grid(space), seed=seed % 2**32)
        if name == "qmc":  # a sequence, which all processes share
            return optuna.samplers.QMCSampler(
                scramble=True, seed=seed % 2**32, warn_independent_sampling=False
            )
        own = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
        if name == "random":
            return optuna.samplers.RandomSampler(seed=own)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=own)
        return optuna.samplers.TPESampler(seed=own)


def make_pruner(name: Pruner) -> optuna.pruners.BasePruner:
    """Return a pruner."""
    made = {
        "median": optuna.pruners.MedianPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "successive-halving": optuna.pruners.SuccessiveHalvingPruner,
        "wilcoxon": optuna.pruners.WilcoxonPruner,
        "none": optuna.pruners.NopPruner,
    }[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return made()


def grid(space: Space) -> dict[str, Sequence[Any]]:
    """Return all values of each dimension.

    Raises:
        UsageError: If a grid cannot be made of the space.
    """
    found: dict[str, Sequence[Any]] = {}
    for each in space.dimensions:
        if each.only is not None:
            raise UsageError(
                f"tune.sampler: a grid has no option of one component alone, such as {each.name}; "
                "take another sampler, or cells of `bnn sweep`."
            )
        points = [*each.what.labels()] if isinstance(each.what, Values) else each.what.points()
        if points is None:
            raise UsageError(
                f"tune.sampler: a grid needs all values of {each.name}: set "
                f'tune.space."{each.name}" to a list, or give its range a step.'
            )
        found[each.name] = points
    return found


def suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    """Return a trial's value of a dimension, which is drawn if the trial has none yet."""
    name, what = dimension.name, dimension.what
    if isinstance(what, Values):
        return value_of(dimension, trial.suggest_categorical(name, [*what.labels()]))
    if what.whole:
        low, high, step = int(what.low), int(what.high), int(what.step or 1)
        return trial.suggest_int(name, low, high, log=what.log, step=step)
    return trial.suggest_float(name, what.low, what.high, log=what.log, step=what.step)


def value_of(dimension: Dimension, kept: Any) -> Any:
    """Return the value of a dimension that the study keeps as this parameter."""
    return dimension.what.labels()[kept] if isinstance(dimension.what, Values) else kept
