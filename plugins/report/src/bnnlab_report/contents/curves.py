"""Curves over the tasks and the epochs."""

from collections.abc import Callable

from bnnlab.engine.continual import average_accuracy
from bnnlab.engine.figures import SHARE
from bnnlab_report.blocks import Block, Figures, Note, Section
from bnnlab_report.contents.curve import CELLS, Curve
from bnnlab_report.material import Lines, Material
from bnnlab_studies.record import Record

Values = Callable[[Record, Lines], list[float | None]]


def _recorded(name: str) -> Values:
    """Return what reads a measure that is a list."""
    return lambda run, _: run.get(name) or []


def _each_epoch(key: str) -> Values:
    """Return what reads a number of the lines about epochs."""

    def values(_: Record, lines: Lines) -> list[float | None]:
        found = [line.get(key) for line in lines if line.get("event") == "epoch"]
        return found if any(value is not None for value in found) else []

    return values


def _averages(run: Record, _: Lines) -> list[float | None]:
    matrix = run["accuracy"]
    return [average_accuracy(matrix[:learned]) for learned in range(1, len(matrix) + 1)]


OVER_TIME = (
    Curve(
        "average",
        "Average accuracy on the tasks learned",
        "After each task: mean over all tasks learned so far.",
        _averages,
        below="tasks learned",
    ),
    Curve(
        "retention",
        "Accuracy k tasks after learning",
        "What is left of a task while others are learned: mean over the tasks.",
        _recorded("retention"),
        below="tasks learned since",
        first=0,
    ),
    Curve(
        "learned",
        "Accuracy on a task just learned",
        "How well each new task is learned: the diagonal of the matrix.",
        lambda run, _: [row[task] for task, row in enumerate(run["accuracy"])],
    ),
    Curve(
        "final",
        "Final accuracy on each task",
        "After the last task: the last row of the matrix.",
        lambda run, _: run["accuracy"][-1],
    ),
    Curve(
        "classes",
        "Accuracy on each class",
        "Over all tasks, after the last one.",
        _recorded("class_accuracy"),
        below="class",
        first=0,
        score=SHARE,
    ),
    Curve(
        "training",
        "Training accuracy",
        "On the training data, after each epoch; tasks one after another.",
        _each_epoch("train_accuracy"),
        below="epochs",
        score=SHARE,
    ),
    Curve(
        "validation",
        "Validation accuracy",
        "On the validation part of the task that is learned, after each epoch.",
        _each_epoch("validation_accuracy"),
        below="epochs",
    ),
    Curve(
        "loss", "Training loss", "After each epoch.", _each_epoch("loss"), "epochs", "loss", "loss"
    ),
)
FLIPS = Curve(
    "flips",
    "Flips",
    "Share of the binary weights whose sign each task changed.",
    _recorded("flips"),
    beside="weights, %",
    measure="flips",
)


def section(material: Material) -> Section:
    """Return the section with curves over tasks and epochs."""
    found = [figure for curve in OVER_TIME if (figure := curve.figure(material))]
    if not found:
        return Section("curves", "Curves", [Note("Nothing was recorded over time.")])
    text = (
        "Bands are 95 % intervals of the mean over the seeds, by Student's t, cut where no value "
        "can be."
    )
    blocks: list[Block] = [Note(text), Figures(found)]
    if (cells := len(material.cells)) > CELLS:
        text = f"The first {CELLS} of {cells} cells are drawn; the tables have all."
        blocks.insert(1, Note(text))
    return Section("curves", "Curves", blocks)
