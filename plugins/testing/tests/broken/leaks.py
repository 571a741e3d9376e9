"""Streams: what their inputs tell of labels and of test data."""

from dataclasses import replace

import torch
from torch import Tensor

from bnnlab.interfaces.stream import Task
from bnnlab_testing import toy
from broken import found_by, right
from broken.streams import Fine

LABELS = "test_no_input_holds_the_label"
SCALED = "test_test_data_are_not_normalised_by"


class OfNumbers(Fine):
    """A table of four normal numbers for each example, with its labels."""

    input_shape = (4,)

    def change(self, task: Task) -> Task:
        draws, rows = torch.Generator().manual_seed(task.index), task.train.rows
        x = 2 + 3 * torch.randn(60, 4, generator=draws)
        scaled, mean, std = self.scale(x.to(rows.device), rows)
        parts = [
            replace(part, pixels=scaled, mean=mean, std=std) for part in (task.train, task.test)
        ]
        return replace(task, train=parts[0], test=parts[1])

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the data, and what each column is normalised by; `rows` are learned from."""
        return x, x[rows].mean(0), x[rows].std(0)


right(SCALED, LABELS)(OfNumbers)


@found_by(SCALED, "those of data that include the test part")
class MeasuresAllRows(OfNumbers):
    """Normalises by the mean and deviation of all rows."""

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return x, x.mean(0), x.std(0)


@found_by(SCALED, "those of data that include the test part")
class ScalesBeforeItSplits(OfNumbers):
    """Normalises the table, and divides it then."""

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return (x - x.mean(0)) / x.std(0, correction=0), None, None


@found_by(SCALED, "those of the test part are its own")
class MeasuresEachPart(OfNumbers):
    """Normalises the test part by what is measured there."""

    def change(self, task: Task) -> Task:
        task = super().change(task)
        x = task.test.pixels[task.test.rows]
        return replace(task, test=replace(task.test, mean=x.mean(0), std=x.std(0)))


@right(SCALED)
class MeasuresEachRow(OfNumbers):
    """Normalises each row by itself, which tells nothing of others."""

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        centred = x - x.mean(1, keepdim=True)
        return centred / centred.std(1, keepdim=True, correction=0), None, None


@right(SCALED)
class Parity(OfNumbers):
    """Has -1 and +1 in equal numbers in each column, by nature."""

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        numbers = torch.arange(60, device=x.device)
        signs = [1.0 - 2.0 * (numbers // step % 2) for step in (1, 2, 5, 10)]
        return torch.stack(signs, 1), None, None


@found_by(LABELS, "hold the label: number 2 of each has one value for a class")
class KeepsTheTarget(OfNumbers):
    """Leaves the label among the columns."""

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        x[:, 2] = self.task.train.labels.to(x)
        return super().scale(x, rows)


@found_by(LABELS, "hold the label: number 0, 1, 2 of each")
class KeepsIndicators(OfNumbers):
    """Leaves a column for each class, as a table with a categorical target has them."""

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        x[:, :3] = torch.eye(toy.CLASSES, device=x.device)[self.task.train.labels]
        return super().scale(x, rows)


@right(LABELS)
class TellsOneClass(OfNumbers):
    """Has a column that tells one class from the two others, which are still to be told apart."""

    def scale(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        x[:, 2] = (self.task.train.labels == 0).to(x)
        return super().scale(x, rows)
