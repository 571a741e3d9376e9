"""An export is accepted if the runtime predicts what the model predicts, on the whole test part.

Where the model itself rounds, such as at a number that is the mean of its row, float32 decides by
the order in which torch adds. There a prediction may be another one, if the model in float64
predicts as the file does; or as often as the model differs from itself in float64.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.engine.evaluation import EVALUATION_BATCH
from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import RealNumbers
from bnnlab.interfaces.signs import is_sign
from bnnlab.interfaces.stream import Task
from bnnlab_export.exported import listed
from bnnlab_export.source import Source

ROUNDED = 1000
"""One prediction of so many may differ for no known reason, if real numbers are computed with."""
CLOSE = 1e-4
"""Relative and absolute difference up to which real numbers count as the same prediction."""
TIE = 1e-9
"""Size up to which a number in float64 is 0 for a sign: +1."""
EXACT = {"permute", "plane_linear", "bit_linear", "bit_conv", "or_pool", "flatten", "threshold"}
"""Steps without rounding; `plane_linear` if the normalisation rounds nothing."""
DRAWS = "its outputs change from one evaluation to the next: a layer draws in evaluation"

Outputs = dict[int, list[Tensor]]
"""By the index of a task: the model's outputs `(N, K)` on its test part at each draw."""
Predictions = dict[int, Tensor]
"""By the index of a task: classes `(N,)`, or numbers `(N, D)`."""
Predicts = Callable[[Tensor, int | None], Tensor]
"""Maps images as stored `(B, ...)`, and the number of the task, if any, to predictions."""


@dataclass(frozen=True)
class Comparison:
    """How the runtime's predictions compare with the model's.

    Attributes:
        images: How many were compared.
        differing: For how many the predictions differ.
        unexplained: For how many of these the model in float64 predicts otherwise, too.
        allowed: How many of the latter there may be.
        score: Of the file's predictions, see `score_of`.
    """

    images: int
    differing: int
    unexplained: int
    allowed: int
    score: float | None

    def expect(self, layers: Sequence[str]) -> None:
        """Refuse an export whose predictions differ.

        Args:
            layers: Those that say by `exported_as` what they are, as messages call them.

        Raises:
            RunError: If more differ than rounding explains.
        """
        if self.unexplained > self.allowed:
            ask = f"Does exported_as of {listed(layers)} say what it computes?" if layers else ""
            raise RunError(
                f"{self.unexplained:,} of {self.images:,} predictions differ from the model's, and "
                f"{self.allowed:,} may: nothing was exported. {ask or 'Please report this.'}"
            )


def outputs_of(source: Source, task: Task) -> dict[int, Tensor]:
    """Return what the model returns on test parts, with its present weights, by tasks.

    Raises:
        UsageError: If it draws: its noise would pass for rounding. The first batch says so.
    """
    found = {}
    for each in source.alike(task):
        positions = torch.split(torch.arange(len(each.test)), EVALUATION_BATCH)
        outputs = torch.cat([source.model(each.test.batch(piece)[0]) for piece in positions])
        again = source.model(each.test.batch(positions[0])[0])
        if not are_equal(outputs[: len(again)], again):
            raise UsageError(f"the model cannot be exported: {DRAWS}.")
        found[each.index] = each.mask(outputs) if source.task_ids else outputs
    return found


def are_equal(once: Tensor, again: Tensor) -> bool:
    """Return whether two results are the same to the bit, but for the sign of 0."""
    return torch.allclose(once, again, rtol=0, atol=0, equal_nan=True)


def compare(source: Source, outputs: Outputs, predicts: Predicts, *, exact: bool) -> Comparison:
    """Compare what predicts with a file with the model.

    Args:
        source: What was exported.
        outputs: Of the model.
        predicts: What predicts with the file.
        exact: Whether it rounds nowhere: then none may differ.
    """
    mine = predictions_of(source, outputs)
    others = {
        task.index: _predicted(source, predicts, task, number if source.task_ids else None)
        for number, task in enumerate(source.tasks)
        if task.index in outputs
    }
    differ = {index: _differ(its, mine[index]).nonzero()[:, 0] for index, its in others.items()}
    images, differing = (sum(map(len, each.values())) for each in (mine, differ))
    unlike = _unlike_float64(source, others, differ) if differing and not exact else None
    unexplained = differing if unlike is None else unlike
    allowed = 0 if exact else -(-images // ROUNDED)
    if unlike is not None and allowed < unlike:
        everything = {index: torch.arange(len(its)) for index, its in mine.items()}
        allowed += 2 * (_unlike_float64(source, mine, everything) or 0)
    return Comparison(images, differing, unexplained, allowed, score_of(source, others))


def predictions_of(source: Source, outputs: Outputs) -> Predictions:
    """Return what a model predicts by its outputs, by the rule of the runtime."""
    objective = source.tasks[0].objective
    return {index: predictions(torch.stack(its), objective) for index, its in outputs.items()}


def score_of(source: Source, predictions: Predictions) -> float | None:
    """Return the score of predictions on the test parts, the mean over the tasks.

    Without data, there is none.
    """
    if not source.has_data:
        return None
    tasks = {task.index: task for task in source.tasks}
    scores = []
    for index, its in predictions.items():
        part, objective = tasks[index].test, tasks[index].objective
        targets = part.labels[part.rows]
        if isinstance(objective, RealNumbers):
            scores.append(objective.predict(iter([its]), targets, 1).score())
        else:
            scores.append(float((its == targets).sum()) / len(its))
    return sum(scores) / len(scores)


def predictions(outputs: Tensor, objective: Objective) -> Tensor:
    """Return classes `(N,)`, or numbers `(N, D)`, for outputs `(S, N, K)` of S draws."""
    from bnnlab_runtime.model import classes_of

    if isinstance(objective, RealNumbers):
        return outputs.mean(0)
    return torch.from_numpy(classes_of(outputs.numpy()))


def _predicted(source: Source, predicts: Predicts, task: Task, number: int | None) -> Tensor:
    """Return the file's predictions on a test part."""
    pieces = torch.split(torch.arange(len(task.test)), EVALUATION_BATCH)
    return torch.cat([predicts(source.images(task, each), number) for each in pieces])


def _differ(one: Tensor, other: Tensor) -> Tensor:
    """Return which predictions differ, bool `(N,)`."""
    if one.ndim == 1:
        return one != other
    return ~torch.isclose(one.double(), other.double(), CLOSE, CLOSE).all(-1)


def _unlike_float64(
    source: Source, predicted: Predictions, rows: Mapping[int, Tensor]
) -> int | None:
    """Return how many predictions at these rows of the tasks the model in float64 does not make.

    None if a layer of it fails in float64.
    """
    outputs: Outputs = {}
    with torch.no_grad(), source.evaluating():
        for task in source.variants():
            model = in_float64(source.model)
            for each in source.alike(task):
                pieces = torch.split(rows[each.index], EVALUATION_BATCH // 4)
                inputs = (source.pixels(task).inputs(each.test.raw(its)[0]) for its in pieces)
                try:
                    logits = torch.cat([model(piece) for piece in inputs])
                except Exception:  # a layer of anybody may know float32 alone
                    return None
                masked = each.mask(logits) if source.task_ids else logits
                outputs.setdefault(each.index, []).append(masked)
    found = predictions_of(source, outputs)
    return sum(
        int(_differ(its, predicted[index][rows[index]]).sum()) for index, its in found.items()
    )


def in_float64(model: nn.Module) -> nn.Module:
    """Return a copy of a model that rounds far less, and takes what is left of it for 0."""
    made = deepcopy(model).double()
    for part in made.modules():
        if is_sign(part):
            part.register_forward_pre_hook(_up)
    return made


def _up(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Move numbers up by what may be rounding. Where nothing was rounded, 0 keeps its sign."""
    x = inputs[0]
    return (torch.where(x == 0, x, x + TIE), *inputs[1:])


def is_exact(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a program computes with whole numbers up to its last step, the logits."""
    return {step["op"] for step in steps[:-1]} <= EXACT and steps[-1]["op"] == "affine"
