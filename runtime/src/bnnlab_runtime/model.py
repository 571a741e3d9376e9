"""A model that predicts."""

import operator
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnnlab_runtime.backends import Backend, operations
from bnnlab_runtime.errors import BadFile
from bnnlab_runtime.file import read
from bnnlab_runtime.images import as_stored
from bnnlab_runtime.op import Op
from bnnlab_runtime.program import Program

Array = NDArray[Any]
Real = NDArray[np.float32]
Plan = list[tuple[int, Op, tuple[int, ...]]]
"""The number of the value that is made, the operation, and the values that it takes."""

TIED = 1e-6
"""Mean probabilities of several draws that are less apart are equal: rounding decides nothing."""
PIECE = 1 << 21
"""Bytes of the values of images that are computed together, so that a cache holds them."""


class Uncertainty(NamedTuple):
    """How uncertain the predictions of B images are, in bits.

    Attributes:
        total: The entropy of the mean probabilities, `(B,)`.
        aleatoric: The mean over the draws of each one's entropy, `(B,)`.
        epistemic: What the draws disagree about: total - aleatoric, `(B,)`.
    """

    total: Real
    aleatoric: Real
    epistemic: Real


def load(path: str | os.PathLike[str], backend: Backend = "numba", threads: int = 1) -> "Model":
    """Return the model of a file.

    Args:
        path: The file, which `bnn export` or `bnnlab_export.export` wrote.
        backend: `numba`, compiled code; or `numpy`, the reference, which is slower, and needs less
            memory and no numba. The predictions are the same.
        threads: How many threads share the images of a large batch.

    Raises:
        BadFile: If the file is damaged, or is no model.
        OSError: If it cannot be read.
        ValueError: If there is no such backend, or `threads` is below 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, and is {threads}")
    known = operations(backend)
    try:
        given, tensors = read(path)
        checked = Program(given, tensors, known)
    except BadFile as error:
        raise BadFile(f"{os.fspath(path)}: {error}") from None
    return Model(checked, given, threads)


class Model:
    """A model that predicts the classes of images, or real numbers for them.

    Images are an array as they are stored: `(B, C, H, W)` or `(B, F)` of the type that the file
    says, most often uint8; also `(B, H, W)` where C is 1. Images of another height and width are
    resized by bilinear interpolation, unless that would make them more than 4 times as wide or as
    tall as they are, or images are `prepared`. A task number is for models that were trained on
    several tasks and are told which one it is.

    Attributes:
        classes: The names of the classes; None if they have none.
        tasks: The tasks; empty if the model is told none.
        input_shape: (C, H, W) or (F,).
        prepared: What is done to images before the model takes them, in words; empty for nothing.
        draws: How many networks the file holds: samples of a posterior.
        steps: The steps of the program, with what each one costs.
        program: The program as the file has it, a JSON object.
    """

    def __init__(self, checked: Program, program: dict[str, Any], threads: int = 1) -> None:
        checked.prepare()
        self.program = program
        self.classes, self.tasks, self.draws = checked.classes, checked.tasks, checked.draws
        self.input_shape, self.prepared = checked.image.shape, checked.prepared
        self.steps = checked.steps
        self._checked, self._threads = checked, threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._plans = [
            [_plan(checked, draw, task) for draw in range(self.draws)]
            for task in range(max(1, len(self.tasks)))
        ]
        per_image = checked.image.bytes + sum(
            step.output.bytes + 8 * step.ops[0].gathered for step in self.steps
        )
        self._piece = max(1, PIECE // per_image)
        np.empty(8 * PIECE, np.uint8)  # freed at once: glibc then keeps what smaller arrays free

    def predict(self, images: ArrayLike, task: int | None = None) -> Array:
        """Return the class numbers int64 `(B,)`; of a regression float32 numbers `(B, D)`.

        `classes_of` says which class it is.

        Raises:
            ValueError: If images or task do not fit the model. The other methods raise it, too.
        """
        logits = self._logits(images, task)
        if self._checked.numbers:
            return logits.mean(0)
        return classes_of(logits)

    def logits(self, images: ArrayLike, task: int | None = None) -> Real:
        """Return the outputs float32 `(B, K)`; of several draws `(S, B, K)`.

        They are minus infinity for classes that are not of the task.
        """
        logits = self._logits(images, task)
        return logits[0] if self.draws == 1 else logits

    def probabilities(self, images: ArrayLike, task: int | None = None) -> Real:
        """Return the probabilities of the classes, the mean over the draws: float32 `(B, K)`."""
        return self._probabilities(images, task).mean(0)

    def uncertainty(self, images: ArrayLike, task: int | None = None) -> Uncertainty:
        """Return how uncertain the predictions are."""
        each = self._probabilities(images, task)
        total, aleatoric = _entropy(each.mean(0)), _entropy(each).mean(0)
        return Uncertainty(total, aleatoric, total - aleatoric)

    def __str__(self) -> str:
        draws = f", {self.draws} draws" if self.draws > 1 else ""
        tasks = f", {_tasks(len(self.tasks))}" if self.tasks else ""
        prepared = f", {', '.join(self.prepared)}" if self.prepared else ""
        lines = [f"  0 images {self._checked.image}{prepared}{draws}{tasks}"]
        for number, step in enumerate(self.steps, start=1):
            taken = " ".join(map(str, step.inputs))
            lines.append(
                f"{number:3} {f'{step.name} {taken}':24} {step.output!s:28} {step.bytes:>12,} bytes"
            )
        return "\n".join(lines)

    def _probabilities(self, images: ArrayLike, task: int | None) -> Real:
        """Return the probabilities of each draw, `(S, B, K)`."""
        if self._checked.numbers:
            raise ValueError("the model predicts real numbers: it has no probabilities of classes")
        return _softmax(self._logits(images, task))

    def _logits(self, images: ArrayLike, task: int | None) -> Real:
        """Return the outputs of each draw, `(S, B, K)`."""
        number = self._task(task)
        stored = as_stored(images, self._checked.image, self.prepared)
        if len(stored) == 0:
            return self._logits(np.zeros((1, *self.input_shape), stored.dtype), task)[:, :0]
        size = max(1, min(self._piece, -(-len(stored) // self._threads)))
        pieces = [stored[start : start + size] for start in range(0, len(stored), size)]
        run = map if self._pool is None else self._pool.map
        found = [*run(lambda piece: self._run(piece, number), pieces)]
        logits = found[0] if len(found) == 1 else np.concatenate(found, 1)
        if self.tasks and (classes := self.tasks[number].classes) is not None:
            masked = np.full_like(logits, -np.inf)
            masked[..., classes] = logits[..., classes]
            return masked
        return logits

    def _run(self, images: Array, task: int) -> Real:
        """Run the steps for each draw; what no draw changes is computed once."""
        values: list[Any] = [_writable(images), *[None] * len(self.steps)]
        outputs: list[Real] = []
        for plan in self._plans[task]:
            for place, op, inputs in plan:
                values[place] = _writable(op(*[values[each] for each in inputs]))
            outputs.append(values[-1])
        return np.array(outputs)

    def _task(self, task: int | None) -> int:
        """Return the number of a task, 0 if there are none."""
        if task is None and len(self.tasks) > 1:
            raise ValueError(
                f"which task? Give its number, 0 to {len(self.tasks) - 1}: task=0, --task 0"
            )
        number = 0 if task is None else operator.index(task)
        if not 0 <= number < max(1, len(self.tasks)):
            raise ValueError(f"task {task}: the model has {_tasks(len(self.tasks))}, from 0")
        return number


def _plan(checked: Program, draw: int, task: int) -> Plan:
    """Return the steps to run for a draw: after the first one, those whose values differ."""
    changed: set[int] = set()
    plan: Plan = []
    for place, step in enumerate(checked.steps, start=1):
        varies = len(step.ops) > 1
        if varies or changed.intersection(step.inputs):
            changed.add(place)
        if draw == 0 or place in changed:
            op = step.ops[checked.variant(draw, task) if varies else 0]
            plan.append((place, op, step.inputs))
    return plan


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count or 'no'} tasks"


def _writable(array: Array) -> Array:
    """Return an array as compiled code takes it: in one piece, aligned, writable."""
    return np.require(array, requirements=["C", "A", "W"])


def classes_of(logits: Array) -> NDArray[np.int64]:
    """Return the classes `(B,)` that the outputs `(S, B, K)` of S draws predict.

    Of one draw, it is that of the largest output; of several, that of the largest mean probability,
    where means that are less than `TIED` apart are equal. The lowest number of equal ones is taken.
    """
    if len(logits) == 1:
        return logits[0].argmax(-1)
    means = _softmax(logits).mean(0)
    return (means > means.max(-1, keepdims=True) - TIED).argmax(-1)


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def _entropy(probabilities: Real) -> Real:
    """Return the entropy, in bits, over the last dimension."""
    logarithms = np.log2(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -(probabilities * logarithms).sum(-1)
