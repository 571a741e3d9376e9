"""Curves over the tasks and the epochs, with intervals over the seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnnlab.engine.continual import average_accuracy
from bnnlab_report.blocks import Block, Cell, Figure, Figures, Note, Section, Table, count, number
from bnnlab_report.contents.cells import figures
from bnnlab_report.drawing.plot import Point, Series, over_tasks
from bnnlab_report.material import Material, mean_of
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Summary
from bnnlab_studies.tables import heading

MOST = 12
"""The most cells in a figure of lines; tables have all."""

Curve = Mapping[str, Sequence[Summary]]
"""Per cell, summaries from left to right."""


@dataclass(frozen=True)
class Kind:
    """What a curve shows.

    Attributes:
        name: Of its files.
        title: What is drawn.
        about: How to read it.
        measure: How its values are written, as those of this measure.
        below, beside: Titles of the axes.
        first: Number of the first value.
    """

    name: str
    title: str
    about: str
    measure: str
    below: str
    beside: str
    first: int = 1


Value = Callable[[Record, int], Any]
"""Returns the n-th value of a run, counted from 0."""

OVER_TASKS: tuple[tuple[Kind, Value], ...] = (
    (
        Kind(
            "average",
            "Average accuracy on the tasks learned",
            "After each task: mean over all tasks learned so far.",
            "accuracy",
            "tasks learned",
            "accuracy, %",
        ),
        lambda run, n: average_accuracy(run["accuracy"][: n + 1]),
    ),
    (
        Kind(
            "retention",
            "Accuracy k tasks after learning",
            "What is left of a task while others are learned: mean over the tasks.",
            "accuracy",
            "tasks learned since",
            "accuracy, %",
            first=0,
        ),
        lambda run, n: run.get(f"retention.{n}"),
    ),
    (
        Kind(
            "learned",
            "Accuracy on a task just learned",
            "How well each new task is learned: the diagonal of the matrix.",
            "accuracy",
            "task",
            "accuracy, %",
        ),
        lambda run, n: run.get(f"accuracy.{n}.{n}"),
    ),
    (
        Kind(
            "final",
            "Accuracy on each task at the end",
            "The last row of the matrix.",
            "accuracy",
            "task",
            "accuracy, %",
        ),
        lambda run, n: run.get(f"accuracy.-1.{n}"),
    ),
)
FLIPS: tuple[Kind, Value] = (
    Kind(
        "flips",
        "Flips",
        "Share of the binary weights whose sign each task changed.",
        "flips",
        "task",
        "weights, %",
    ),
    lambda run, n: run.get(f"flips.{n}"),
)
EPOCHS = (
    Kind(
        "training",
        "Training accuracy",
        "On the training data, after each epoch; tasks one after another.",
        "accuracy",
        "epochs",
        "accuracy, %",
    ),
    Kind(
        "validation",
        "Validation accuracy",
        "On the validation part of the task that is learned, after each epoch.",
        "accuracy",
        "epochs",
        "accuracy, %",
    ),
    Kind("loss", "Training loss", "After each epoch.", "loss", "epochs", "loss"),
)
LOGGED = {"training": "train_accuracy", "validation": "validation_accuracy", "loss": "loss"}
"""The keys in metrics.jsonl."""


def section(material: Material) -> Section:
    """Return the section with curves over tasks and epochs."""
    found = [figure for each in OVER_TASKS if (figure := over(material, *each))]
    found += [figure for kind in EPOCHS if (figure := _over_epochs(material, kind))]
    if not found:
        return Section("curves", "Curves", [Note("Nothing was recorded over time.")])
    text = "Bands are 95 % intervals of the mean over the seeds, by Student's t."
    blocks: list[Block] = [Note(text), Figures(found)]
    if (cells := len(material.cells)) > MOST:
        blocks.insert(1, Note(f"The first {MOST} of {cells} cells are drawn; the tables have all."))
    return Section("curves", "Curves", blocks)


def over(material: Material, kind: Kind, value: Value) -> Figure | None:
    """Return a curve over the tasks; None if there is one task only, or nothing was measured."""
    if material.tasks < 2:
        return None
    curve = {
        cell: [
            mean_of([value(run, n) for run in runs])
            for n in range(max((len(run["tasks"]) for run in runs), default=0))
        ]
        for cell, runs in material.counted.items()
    }
    return _figure(material, kind, curve)


def _over_epochs(material: Material, kind: Kind) -> Figure | None:
    curve = {}
    for cell, runs in material.logged.items():
        rows = [
            [line.get(LOGGED[kind.name]) for line in lines if line.get("event") == "epoch"]
            for _, lines in runs
        ]
        epochs = max(map(len, rows), default=0)
        curve[cell] = [mean_of([row[n] for row in rows if n < len(row)]) for n in range(epochs)]
    return _figure(material, kind, curve)


def _figure(material: Material, kind: Kind, curve: Curve) -> Figure | None:
    if not any(its.mean is not None for each in curve.values() for its in each):
        return None
    drawn = [cell for cell in material.cells if curve.get(cell)][:MOST]
    series = [Series(c, _points(kind, c, curve[c]), material.looks[c]) for c in drawn]
    rows: list[list[Cell]] = [
        [cell, count(place), count(its.count), *figures(kind.measure, its)]
        for cell, each in curve.items()
        for place, its in enumerate(each, start=kind.first)
    ]
    name = heading(kind.measure)
    heads = ("cell", kind.below, "seeds", f"mean {name}", "std", "interval from", "to")
    table = Table(kind.name, kind.title, heads, rows)
    drawing = over_tasks(series, kind.below, kind.beside, kind.first)
    return Figure(kind.name, kind.title, kind.about, drawing, table)


def _points(kind: Kind, cell: str, values: Sequence[Summary]) -> list[Point]:
    unit = 1 if kind.measure == "loss" else 100

    def end(value: float | None) -> float | None:
        return None if value is None else unit * value

    return [
        Point(
            place,
            end(its.mean),
            end(its.low),
            end(its.high),
            f"{cell}, {kind.below} {place}: {number(kind.measure, its.mean).text}",
        )
        for place, its in enumerate(values, start=kind.first)
    ]
