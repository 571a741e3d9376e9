"""Evaluations in a training loop of one's own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from bnnlab.engine import continual
from bnnlab.engine.building import check_outputs
from bnnlab.engine.checking import check_tasks
from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.figures import Rows, heading, score_of
from bnnlab.engine.fingerprints import fingerprint, path_of
from bnnlab.engine.html import matrix_html, stacked, table
from bnnlab.engine.result import ABSENT, Measured, PerTask, told
from bnnlab.errors import RunError, UsageError
from bnnlab.guards.module_state import snapshot
from bnnlab.interfaces.faults import check_model
from bnnlab.interfaces.model import Model, goes_by_task
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.stream import Task, TaskStream


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Measured):
    """What a model scores, and the measures of all evaluations up to this one, by name.

    They are those of `Result` that come from scores: `found["forgetting"]`.

    Attributes:
        scores: Per task, now; None where it was not evaluated.
        learned: How many tasks were learned.
        tasks: Names of the tasks.
        measures: All of them by name.
        score: What a score is, such as "top-1 accuracy" or "R2".
        data: Digest of what is scored: the stream's protocol, the test parts, the objective.
    """

    scores: PerTask
    learned: int
    tasks: list[str]
    measures: dict[str, Any]
    score: str
    data: str

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value}" for name, value, _ in self._told())
        return f"{self._head}{figures and f': {figures}'}"

    def _repr_html_(self) -> str:
        found, parts = self._found, [self._head]
        if len(self.tasks) > 1:
            parts += [heading(found), matrix_html(found["accuracy"], [], score_of(found))]
        return stacked([*parts, table(self._told(), texts=(0, 2))])

    @property
    def _head(self) -> str:
        return f"{self.learned} of {len(self.tasks)} tasks learned"

    @property
    def _found(self) -> dict[str, Any]:
        return {**ABSENT, **self.measures, "score": self.score}

    def _told(self) -> Rows:
        return told(self._found) if self.learned else []


def evaluate(
    model: nn.Module,
    stream: TaskStream,
    optimizer: Optimizer | None = None,
    *,
    learned: int | None = None,
    earlier: Evaluation | None = None,
) -> Evaluation:
    """Score a model on the test parts of a stream, as a run does. The model stays as it is.

    Only statistics that are recalibrated are measured anew. All tasks are scored; where the task is
    known at test, those that were learned. Without `earlier`, the stream is checked as before a
    run, such as for copies of examples.

    Args:
        model: A `bnnlab.Model`, or any torch module that returns the outputs.
        stream: The tasks, on the model's device.
        optimizer: For predictions by the mean over draws of its posterior. None: the deployed
            weights predict.
        learned: How many tasks were learned; 0 before training. By default one more than in
            `earlier`; without it, all.
        earlier: The evaluation before this one. With one after each task, the accuracy matrix is
            complete.

    Raises:
        UsageError: If `earlier` is of other data, or of no fewer tasks learned; if model and stream
            are on different devices; if the stream is faulty, or most of a test part is learned
            from; or if the outputs do not fit the targets.
        RunError: If inputs or predictions are not finite, or the optimizer was made for another
            model.

    Example:
        >>> found = evaluate(model, stream, optimizer, learned=1)
        >>> found = evaluate(model, stream, optimizer, learned=2, earlier=found)
        >>> found["forgetting"]
    """
    tasks = [*stream]
    names, count = [task.name for task in tasks], len(tasks)
    if learned is None:
        learned = count if earlier is None else earlier.learned + 1
    _check(model, tasks, learned, earlier)
    if earlier is None:
        _check_stream(stream, tasks)
    data = _data_of(stream, tasks)
    if earlier is not None and earlier.data != data:
        raise UsageError(
            "earlier: it is an evaluation on other tasks, on other data (such as another share or "
            "seed) or of another objective. Give one on this stream."
        )
    with _selection_kept(model):
        scores = _scores(model, stream, tasks, learned, optimizer)
    matrix = [] if earlier is None else [*earlier["accuracy"]]
    untrained = [None] * count if earlier is None else earlier["untrained_accuracy"]
    if learned:
        matrix += [[None] * count for _ in range(learned - 1 - len(matrix))]
        matrix.append(scores)
    else:
        untrained = scores
    score = tasks[0].objective.score
    return Evaluation(scores, learned, names, continual.measures(matrix, untrained), score, data)


def _data_of(stream: TaskStream, tasks: Sequence[Task]) -> str:
    """Return a digest of what is scored; the seed of a stream is in the rows and targets."""
    parts = [
        (it.name, it.test.rows, it.test.labels[it.test.rows], it.test.permutation, it.classes)
        for it in tasks
    ]
    objective = tasks[0].objective
    return fingerprint([stream.protocol(), parts, path_of(objective), objective.score])


@contextmanager
def _selection_kept(model: nn.Module) -> Iterator[None]:
    """Put back the parts that go by the task, afterwards."""
    parts = [part for part in model.modules() if goes_by_task(part)]
    put_back = [snapshot(part, part.buffers()) for part in parts]
    try:
        yield
    finally:
        for each in put_back:
            each()


def _check(
    model: nn.Module, tasks: Sequence[Task], learned: int, earlier: Evaluation | None
) -> None:
    if not 0 <= learned <= len(tasks):
        raise UsageError(
            f"learned: {learned} of {len(tasks)} tasks. In a loop over tasks, say "
            "learned=task.index + 1."
        )
    if earlier is not None and earlier.learned >= learned:
        raise UsageError(
            f"earlier: {earlier.learned} tasks were learned there, and {learned} now. Give the "
            "evaluation after the task before."
        )
    here = tasks[0].test.rows.device
    there = next((parameter.device for parameter in model.parameters()), here)
    if there.type != here.type:
        raise UsageError(
            f"the model is on {there} and the stream on {here}: move one of them, such as "
            f"stream.to({there.type!r})."
        )


def _check_stream(stream: TaskStream, tasks: Sequence[Task]) -> None:
    try:
        check_tasks(stream, tasks)
    except ValueError as error:
        raise UsageError(f"the stream: {error}.") from error


def _scores(
    model: nn.Module,
    stream: TaskStream,
    tasks: Sequence[Task],
    learned: int,
    optimizer: Optimizer | None,
) -> PerTask:
    """Return the score on each task; the model is left at the last task that was learned."""
    if not isinstance(model, Model):
        model = Model([model])
    if optimizer is not None:
        check_model(optimizer, model)
        optimizer.look()
    check_outputs(model, stream, tasks[0], "the model", "the stream")
    asked = tasks[:learned] if stream.gives_task_ids else tasks
    scores: PerTask = []
    evaluator = Evaluator(model, optimizer, stream.gives_task_ids)
    for group in evaluator.predict(asked, tasks[:learned] or tasks[:1]):
        for task, prediction in group:
            if not prediction.is_finite():
                raise RunError(f"on {task.name!r} the model predicts numbers that are not finite.")
            scores.append(prediction.score())
    if stream.gives_task_ids and learned:
        model.select_task(learned - 1)
    return scores + [None] * (len(tasks) - len(scores))
