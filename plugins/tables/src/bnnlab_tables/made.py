"""Data that are made by a formula: the same in every run, whatever its seed."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np

from bnnlab.interfaces.objectives import RealNumbers
from bnnlab.markers import AtLeast
from bnnlab_tables.table import Rows, Table

END = 6.0
"""Inputs of the curve are between 0 and this."""
GAP = (1.5, 3.0)
"""Where the curve has no training points, with `gap`."""


class TwoMoons(Table):
    """Two half circles in the plane, one class each.

    With n angles t evenly from 0 to pi per class: (cos t, sin t), and (1 - cos t, 1/2 - sin t),
    with normal noise on both numbers. It is the formula of scikit-learn's `make_moons`; Meng et al.
    2020 learn 200 points with noise 0.1.

    Args:
        data: Not used.
        train: Number of training points. Half of them are of each class.
        test: Number of test points.
        noise: Standard deviation of the noise.
        given: Options of `Table`.
    """

    name = "two-moons"
    class_names = ("upper", "lower")

    def __init__(
        self,
        *,
        data: Path,  # noqa: ARG002
        train: Annotated[int, AtLeast(4)] = 200,
        test: Annotated[int, AtLeast(4)] = 1000,
        noise: Annotated[float, AtLeast(0)] = 0.1,
        **given: Any,
    ) -> None:
        options = {"noise": float(noise)}
        super().__init__(moons(train, noise, 0), moons(test, noise, 1), options, **given)


def moons(count: int, noise: float, seed: int) -> Rows:
    """Return points (count, 2) and their classes; see `TwoMoons`."""
    upper = np.linspace(0, np.pi, count // 2)
    lower = np.linspace(0, np.pi, count - count // 2)
    points = np.concatenate(
        [
            np.stack([np.cos(upper), np.sin(upper)], 1),
            np.stack([1 - np.cos(lower), 0.5 - np.sin(lower)], 1),
        ]
    )
    random = np.random.RandomState(seed)
    classes = np.repeat(np.arange(2, dtype=np.int64), [len(upper), len(lower)])
    return points + noise * random.normal(size=points.shape), classes


class Curve(Table):
    """One number from one number: points of a curve with normal noise.

    y = 1.1 sin(2.1 x) + 0.4 sin(5.3 x + 1) - 0.1 x + noise, x uniform between 0 and 6. The 200
    points of Snelson & Ghahramani 2005, which Meng et al. 2020 learn, have no licence; these are as
    many, on the same interval, and others.

    Args:
        data: Not used.
        train: Number of training points.
        test: Number of test points, over the whole interval.
        noise: Standard deviation of the noise.
        gap: Whether training points between 1.5 and 3 are left out: what is predicted there is
            uncertain (Foong et al. 2019, arXiv:1906.11537).
        given: Options of `Table`.
    """

    name = "snelson-like"
    objective = RealNumbers()

    def __init__(
        self,
        *,
        data: Path,  # noqa: ARG002
        train: Annotated[int, AtLeast(10)] = 200,
        test: Annotated[int, AtLeast(10)] = 200,
        noise: Annotated[float, AtLeast(0)] = 0.25,
        gap: bool = False,
        **given: Any,
    ) -> None:
        x, y = points(train, noise, 0)
        if gap:
            low, high = GAP
            beside = (x[:, 0] <= low) | (x[:, 0] >= high)
            x, y = x[beside], y[beside]
        options = {"noise": float(noise), "gap": gap}
        super().__init__((x, y), points(test, noise, 1), options, **given)


def curve(x: np.ndarray) -> np.ndarray:
    """Return the curve without noise; see `Curve`."""
    return 1.1 * np.sin(2.1 * x) + 0.4 * np.sin(5.3 * x + 1) - 0.1 * x


def points(count: int, noise: float, seed: int) -> Rows:
    """Return inputs and targets, (count, 1) each; see `Curve`."""
    random = np.random.RandomState(seed)
    x = END * random.uniform(size=(count, 1))
    return x, curve(x) + noise * random.normal(size=(count, 1))
