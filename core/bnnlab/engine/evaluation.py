"""What a model predicts for the tasks of a stream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log

import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.guards.modes import in_mode
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.prediction import Prediction, entropy
from bnnlab.interfaces.stream import Examples, Task
from bnnlab.nn.normalization import needs_recalibration, recalibrate

EVALUATION_BATCH = 2000
HELD_EXAMPLES = 100_000
"""Examples whose predictions are held at once, so that memory does not grow with the tasks."""
RECALIBRATION_IMAGES = 5000
"""Training images from which recalibrated statistics are measured, over all tasks concerned."""
RECALIBRATION_BATCHES = 10


class Evaluator:
    """Predicts with the statistics and the task identity that the protocol allows.

    The same weight draws serve all tasks; the probabilities are averaged.

    With `task_ids`, the model is told which task it is tested on.
    """

    def __init__(self, model: Model, optimizer: Optimizer, task_ids: bool) -> None:
        self.model, self.optimizer, self.task_ids = model, optimizer, task_ids

    def accuracies(
        self, tasks: Sequence[Task], seen: Sequence[Task], part: Callable[[Task], Examples]
    ) -> list[float]:
        """Return the accuracy, a fraction, on a part of each task; arguments as in `predict`."""
        return [prediction.accuracy() for prediction in self.predict(tasks, seen, part)]

    def predict(
        self,
        tasks: Sequence[Task],
        seen: Sequence[Task],
        part: Callable[[Task], Examples],
        first: int = 0,
    ) -> Iterator[Prediction]:
        """Predict a part of each task, in turn; the model evaluates until the last is taken.

        Whenever one is taken, the model holds the deployed weights.

        Args:
            tasks: What is predicted.
            seen: The tasks learned so far, whose training images may recalibrate statistics.
            part: Which examples of a task, e.g. its test part.
            first: How many predictions to leave out; the rest is the same with and without them.

        Raises:
            RunError: If inputs to the model are not finite.
        """
        parts = [part(task) for task in tasks]
        names = {id(each): _name(task, each) for task, each in zip(tasks, parts, strict=True)}
        with in_mode(self.model, training=False):
            if self.task_ids:  # the model is told something else for each
                for task, each in zip(tasks[first:], parts[first:], strict=True):
                    yield from self._predict([each], [task], task, names)
                return
            for group in _groups(parts):
                if first >= len(group):
                    first -= len(group)
                    continue
                distinct = {id(each): each for each in group}
                predictions = self._predict([*distinct.values()], seen, None, names)
                of = dict(zip(distinct, predictions, strict=True))
                yield from (of[id(each)] for each in group[first:])
                first = 0

    @torch.no_grad()
    def _predict(
        self,
        parts: Sequence[Examples],
        seen: Sequence[Task],
        told: Task | None,
        names: Mapping[int, str],
    ) -> list[Prediction]:
        probabilities = entropies = torch.zeros(())
        draws = self.optimizer.test_draws
        targets = torch.cat([part.labels[part.rows] for part in parts])
        likelihoods: list[Tensor] = []
        for _ in self.optimizer.predictive(draws):
            if told is not None:
                self.model.select_task(told.index)
            if needs_recalibration(self.model):
                recalibrate(self.model, _calibration(seen))
            logits = torch.cat([self.model(inputs) for inputs in _batches(parts, names)])
            log_p = (logits if told is None else told.mask(logits)).log_softmax(-1)
            likelihoods.append(log_p.gather(-1, targets[:, None].to(log_p.device))[:, 0])
            p = log_p.exp()
            probabilities = probabilities + p / max(1, draws)
            entropies = entropies + entropy(p) / max(1, draws)
        sizes = [len(part) for part in parts]
        likelihood = torch.stack(likelihoods).logsumexp(0) - log(len(likelihoods))
        every = (probabilities, entropies, likelihood, targets)
        return [
            Prediction(*each) for each in zip(*(torch.split(x, sizes) for x in every), strict=True)
        ]


def _groups(parts: Sequence[Examples]) -> Iterator[list[Examples]]:
    """Part them so that each group's examples may be held; chunks that share a part count once."""
    group: list[Examples] = []
    for part in parts:
        sizes = {id(each): len(each) for each in [*group, part]}
        if group and sum(sizes.values()) > HELD_EXAMPLES:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _name(task: Task, part: Examples) -> str:
    known = (name for name in ("train", "validation", "test") if getattr(task, name) is part)
    return f"the {next(known, 'part')} part of task {task.name!r}"


def _batches(parts: Sequence[Examples], names: Mapping[int, str]) -> Iterator[Tensor]:
    """Yield the inputs of all parts in turn, in batches that cross the borders between them.

    Raises:
        RunError: If inputs are not finite: a layer may hide that from what it predicts.
    """
    pending: list[Tensor] = []
    room = EVALUATION_BATCH
    for part in parts:
        positions = torch.arange(len(part))
        while len(positions):
            taken, positions = positions[:room], positions[room:]
            inputs = part.batch(taken)[0]
            if not bool(torch.stack(torch.aminmax(inputs)).isfinite().all()):
                raise RunError(f"{names[id(part)]} gives the model inputs that are not finite")
            pending.append(inputs)
            room -= len(taken)
            if not room:
                yield torch.cat(pending)
                pending, room = [], EVALUATION_BATCH
    if pending:
        yield torch.cat(pending)


def _calibration(tasks: Sequence[Task]) -> Iterator[Tensor]:
    """Yield batches of training inputs in which all tasks are mixed evenly."""
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
