"""The table of diabetes that comes with scikit-learn."""

from pathlib import Path
from typing import Any

from bnnlab.interfaces.objectives import RealNumbers
from bnnlab.seeds import permutation
from bnnlab_tables.table import Table

TRAINING = 342
"""Training rows; the other 100 are for test. No split is published."""


class Diabetes(Table):
    """How far a disease has come after a year, from ten measurements of 442 patients.

    Args:
        data: Not used: the table comes with scikit-learn.
        given: Options of `Table`.
    """

    name = "diabetes"
    objective = RealNumbers()

    def __init__(self, *, data: Path, **given: Any) -> None:  # noqa: ARG002
        from sklearn.datasets import load_diabetes

        x, y = load_diabetes(return_X_y=True, scaled=False)
        order = permutation(len(y), 0, "split").numpy()
        x, y = x[order], y[order, None]
        super().__init__((x[:TRAINING], y[:TRAINING]), (x[TRAINING:], y[TRAINING:]), {}, **given)
