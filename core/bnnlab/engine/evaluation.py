"""What a model predicts for the tasks of a stream."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.guards.modes import in_mode
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.prediction import Predicted
from bnnlab.interfaces.stream import Task
from bnnlab.nn.normalization import needs_recalibration, recalibrate

EVALUATION_BATCH = 2000
HELD_EXAMPLES = 100_000
"""Examples whose predictions are held at once, so that memory does not grow with the tasks."""
HELD_NUMBERS = 1 << 26
"""Numbers of inputs that are kept for the further draws of a posterior, 256 MiB as float32."""
RECALIBRATION_IMAGES = 5000
"""Training images from which recalibrated statistics are measured, over all tasks concerned."""
RECALIBRATION_BATCHES = 10


class Evaluator:
    """Predicts with the statistics and the task identity that the protocol allows.

    The same weight draws serve all tasks; the probabilities are averaged.

    Without an optimizer, the weights in the model predict. With `task_ids`, the model is told which
    task it is tested on.
    """

    def __init__(self, model: Model, optimizer: Optimizer | None, task_ids: bool) -> None:
        self.model, self.optimizer, self.task_ids = model, optimizer, task_ids

    def predict(
        self, tasks: Sequence[Task], seen: Sequence[Task]
    ) -> Iterator[list[tuple[Task, Predicted]]]:
        """Predict the test parts of tasks, group by group; each group could be asked for alone.

        The model evaluates until the last group is taken, and holds the deployed weights whenever
        one is.

        Args:
            tasks: What is predicted.
            seen: The tasks learned so far, whose training images may recalibrate statistics.

        Yields:
            The tasks of a group, each with its prediction. Shared test parts share a prediction.

        Raises:
            RunError: If inputs to the model are not finite.
        """
        with in_mode(self.model, training=False):
            for group in _groups(tasks, alone=self.task_ids):
                distinct = [*{id(task.test): task for task in group}.values()]
                predictions = self._predict(distinct, group if self.task_ids else seen)
                found = {id(t.test): each for t, each in zip(distinct, predictions, strict=True)}
                yield [(task, found[id(task.test)]) for task in group]

    @torch.no_grad()
    def _predict(self, tasks: Sequence[Task], seen: Sequence[Task]) -> list[Predicted]:
        objective = tasks[0].objective
        draws = 0 if self.optimizer is None else self.optimizer.test_draws
        targets = [task.test.labels[task.test.rows] for task in tasks]
        outputs = self._outputs(tasks, seen, draws)
        found = objective.predict(outputs, torch.cat(targets), max(1, draws))
        return found.split([objective.rows(each) for each in targets])

    def _outputs(self, tasks: Sequence[Task], seen: Sequence[Task], draws: int) -> Iterator[Tensor]:
        """Yield the outputs for all test inputs at each weight draw."""
        inputs = _Inputs(tasks, HELD_NUMBERS if draws > 1 else 0)
        for _ in self.optimizer.predictive(draws) if self.optimizer else [None]:
            if self.task_ids:
                self.model.select_task(tasks[0].index)
            if needs_recalibration(self.model):
                recalibrate(self.model, calibration(seen))
            outputs = torch.cat([self.model(batch) for batch in inputs])
            yield tasks[0].mask(outputs) if self.task_ids else outputs


def _groups(tasks: Sequence[Task], *, alone: bool) -> Iterator[list[Task]]:
    """Divide tasks into groups; memory can hold what is predicted for a group's test examples.

    A test part that tasks share counts once. If `alone`, each group has one task.
    """
    group: list[Task] = []
    for task in tasks:
        sizes = {
            id(each.test): each.test.labels[:1].numel() * len(each.test) for each in [*group, task]
        }
        if group and (alone or sum(sizes.values()) > HELD_EXAMPLES):
            yield group
            group = []
        group.append(task)
    if group:
        yield group


Pieces = list[tuple[Task, Tensor]]
"""What a batch is made of: tasks, each with positions in its test part."""


class _Inputs:
    """The test inputs of tasks, in batches; what is kept of them is prepared once.

    Args:
        tasks: Each batch goes on with the next task where one ends.
        most: How many numbers are kept, the first ones.

    Raises:
        RunError: From an iteration, if inputs are not finite: a layer may hide that from what it
            predicts.
    """

    def __init__(self, tasks: Sequence[Task], most: int) -> None:
        self._batches, self._room = _divided(tasks), most
        self._kept: list[Tensor] = []

    def __iter__(self) -> Iterator[Tensor]:
        yield from self._kept
        for number, pieces in enumerate(self._batches[len(self._kept) :], len(self._kept)):
            read = [_inputs_of(*piece) for piece in pieces]
            batch = read[0] if len(read) == 1 else torch.cat(read)
            writes = _writes(batch)
            yield batch
            is_next = number == len(self._kept) and batch.numel() <= self._room
            if is_next and _writes(batch) == writes != -1:  # else the model may have written there
                self._kept.append(batch)
                self._room -= batch.numel()


def _writes(batch: Tensor) -> int:
    """Return how often it was written to; -1 where torch does not count, in its inference mode."""
    return -1 if batch.is_inference() else batch._version


def _divided(tasks: Sequence[Task]) -> list[Pieces]:
    """Divide the test parts into batches that cross the borders between them."""
    batches: list[Pieces] = []
    room = 0
    for task in tasks:
        positions = torch.arange(len(task.test))
        while len(positions):
            if not room:
                batches.append([])
                room = EVALUATION_BATCH
            taken, positions = positions[:room], positions[room:]
            batches[-1].append((task, taken))
            room -= len(taken)
    return batches


def _inputs_of(task: Task, positions: Tensor) -> Tensor:
    inputs = task.test.batch(positions)[0]
    if not bool(torch.stack(torch.aminmax(inputs)).isfinite().all()):
        raise RunError(
            f"the {task.scored_on} part of task {task.name!r} gives the model inputs that are not "
            "finite"
        )
    return inputs


def calibration(tasks: Sequence[Task]) -> Iterator[Tensor]:
    """Yield batches of training inputs in which all tasks are mixed evenly, however these lie."""
    share = max(1, RECALIBRATION_IMAGES // max(1, len(tasks)))
    spread = [torch.linspace(0, len(t.train) - 1, min(share, len(t.train))).long() for t in tasks]
    count = min(RECALIBRATION_BATCHES, *(len(positions) for positions in spread))
    for start in range(count):
        yield torch.cat(
            [
                task.train.batch(positions[start::count])[0]
                for task, positions in zip(tasks, spread, strict=True)
            ]
        )
