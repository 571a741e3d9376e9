"""Samplers and pruners of Optuna by name."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import pruners, samplers
from optuna.exceptions import ExperimentalWarning

from bnnlab.errors import UsageError
from bnnlab_optuna.space import Space
from bnnlab_optuna.tuning import Pruner, Sampler


class _Grid(samplers.GridSampler):  # type: ignore[misc, unused-ignore]
    """Optuna's sampler of a grid, for `ask` and `tell`: it stops no loop of Optuna's."""

    def after_trial(self, *_: Any) -> None:
        """Do nothing: the number of trials ends a study."""


def make_sampler(name: Sampler, space: Space, seed: int, trial: int) -> samplers.BaseSampler:
    """Return the sampler of one trial, by its number, in the study of a seed.

    A sampler of Optuna keeps nothing but the state of its random numbers; all else it reads from
    the study. So trial n is drawn in the same way whether or not the study was interrupted, and no
    two processes draw the same numbers.
    """
    shared, own = seed % 2**32, int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        if name == "grid":
            return _Grid(grid(space), shared)
        if name == "qmc":  # a sequence, which all processes share
            return samplers.QMCSampler(scramble=True, seed=shared, warn_independent_sampling=False)
        if name == "random":
            return samplers.RandomSampler(own)
        if name == "gp":
            return samplers.GPSampler(seed=own)
        return samplers.TPESampler(seed=own)


def make_pruner(name: Pruner) -> pruners.BasePruner:
    """Return a pruner."""
    made: dict[str, type[pruners.BasePruner]] = {
        "median": pruners.MedianPruner,
        "hyperband": pruners.HyperbandPruner,
        "successive-halving": pruners.SuccessiveHalvingPruner,
        "wilcoxon": pruners.WilcoxonPruner,
        "none": pruners.NopPruner,
    }
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return made[name]()


def grid(space: Space) -> dict[str, Sequence[Any]]:
    """Return all values of each dimension.

    Raises:
        UsageError: If a grid cannot be made of the space.
    """
    for each in space.dimensions:
        if each.only or each.when:
            raise UsageError(
                "tune.sampler: a grid has nothing that belongs to some choices alone, and "
                f"{each.name} does; take another sampler, or cells of `bnn sweep`."
            )
        if not each.what.points():
            raise UsageError(
                f"tune.sampler: a grid needs all values of {each.name}: set "
                f'tune.space."{each.name}" to a list, or give its range a step.'
            )
    return {each.name: each.what.points() for each in space.dimensions}
