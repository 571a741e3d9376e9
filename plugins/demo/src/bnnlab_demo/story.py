"""What the methods of a study show: their mean matrices, and their figures as sentences."""

from collections.abc import Sequence

from rich.table import Table

from bnnlab.cli.display import matrix_table
from bnnlab.engine.figures import SHARE
from bnnlab_studies.cells import by_seed
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Comparison
from bnnlab_studies.study import MEASURE, Study
from bnnlab_studies.tables import interval, text


def matrices(study: Study) -> list[Table]:
    """Return the accuracy matrix of each cell: its mean over the seeds."""
    tasks = range(len(study[0]["tasks"]))
    found = [[study.summary(f"accuracy.{i}.{j}") for j in tasks] for i in tasks]
    made = []
    for cell in study.cells:
        means = [[each[cell].mean for each in row] for row in found]
        made.append(matrix_table({"accuracy": means, "flips": []}))
        made[-1].title, made[-1].title_justify, made[-1].title_style = cell, "left", "bold"
    return made


def sentences(study: Study) -> list[str]:
    """Return what each other method remembers where the first one does, and if it is chance.

    All is computed from the runs, and is true whichever method is better.
    """
    newest = study.summary("accuracy.-1.-1")
    return [
        f"After {len(study[0]['tasks'])} tasks, {found.other} remembers on average "
        f"{_mean(study, found.other)} where {found.first} remembers {_mean(study, found.first)}: "
        f"{_difference(found)}. On the newest task alone it has "
        f"{SHARE.text(newest[found.other].mean)}, and {found.first} "
        f"{SHARE.text(newest[found.first].mean)}."
        for found in study.compare()
    ]


def _mean(study: Study, cell: str) -> str:
    runs: Sequence[Record] = study.cells[cell]
    values = by_seed(runs, MEASURE)[0].values()
    ends = f"{SHARE.number(min(values))} to {SHARE.number(max(values))}"
    spread = f"{ends}, {len(values)} seeds" if len(values) > 1 else "1 seed"
    return f"{SHARE.text(study.summary()[cell].mean)} ({spread})"


def _difference(found: Comparison) -> str:
    points = f"{text(MEASURE, found.difference, SHARE, sign=True)} points"
    if found.low is None or found.high is None:
        return f"{points}, and one seed does not say whether that is chance"
    is_clear = found.low > 0 or found.high < 0
    chance = "more than chance" if is_clear else "which may be chance"
    return f"{points}, {chance} (95 % interval {interval(MEASURE, found, SHARE, sign=True)})"
