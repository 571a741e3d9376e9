"""Data of a user's own become a stream of tasks."""

import hashlib
from collections.abc import Sequence
from copy import copy
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from bnnlab.conversion.dividing import by_classes, class_groups, divided
from bnnlab.conversion.items import as_tensor
from bnnlab.conversion.normalising import TOGETHER, Normalise, statistics
from bnnlab.conversion.reading import Data, advice, as_inputs, read
from bnnlab.errors import UsageError, kind_of
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES, NUMBERED, ClassPerPosition, RealNumbers
from bnnlab.interfaces.stream import Task, TaskStream


class TensorStream(TaskStream):
    """Tasks whose examples are tensors in memory; `stream_from` makes it."""

    def __init__(self, tasks: Sequence[Task], protocol: dict[str, Any], **attributes: Any) -> None:
        self._tasks, self._protocol = tasks, protocol
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: int) -> Task:
        return self._tasks[index]

    def protocol(self) -> dict[str, Any]:
        """Return digests of the parts of each task, and how they become inputs."""
        return self._protocol

    def inputs(self, values: Any) -> Tensor:
        """Return what the model is given for inputs `(N, ...)` of the same kind as the stream's.

        They are converted and normalised as the stream's are: `result.model(stream.inputs(x))`.

        Raises:
            UsageError: If they are of another kind or shape.
        """
        part, name = self[0].train, "inputs()"
        assert isinstance(part.pixels, Tensor)
        pixels = as_inputs(name, as_tensor(f"{name}: the inputs", values), self.tokens)
        if pixels.shape[1:] != self.input_shape or pixels.dtype != part.pixels.dtype:
            raise UsageError(
                f"{name}: the inputs are {_kind(pixels)}, those of the stream {_kind(part.pixels)}."
            )
        rows = torch.arange(len(pixels), device=part.rows.device)
        return replace(part, pixels=pixels.to(rows.device), labels=rows, rows=rows).batch(rows)[0]

    def to(self, device: torch.device | str) -> "TensorStream":
        """Return the stream with its data on a device."""
        moved: dict[int, Tensor] = {}  # tasks share tensors

        def place(value: Any) -> Any:
            if isinstance(value, Tensor):
                return moved.setdefault(id(value), value.to(device))
            if isinstance(value, Task | Examples):
                its = {each.name: place(getattr(value, each.name)) for each in fields(value)}
                return replace(value, **its)
            return value

        stream = copy(self)
        stream._tasks = [place(task) for task in self._tasks]
        return stream


def stream_from(
    train: Any,
    *,
    test: Any,
    tasks: int | Sequence[Sequence[int]] | None = None,
    task_ids: bool = False,
    validation: float = 0.0,
    normalise: Normalise = "train",
    objective: Objective | None = None,
    classes: int | None = None,
    class_names: Sequence[str] = (),
    tokens: int | None = None,
    seed: int = 0,
) -> TensorStream:
    """Make a stream of tasks from data of one's own, which are copied.

    A data set is a tuple `(inputs, targets)` of tensors or NumPy arrays, a `TensorDataset` of two
    tensors, or any torch `Dataset` of pairs, which is read once.

    Inputs are real numbers or bytes `(N, ...)`. Images are `(N, C, H, W)`; bytes `(N, H, W)` become
    images of one channel. Other whole numbers are token ids, for which `tokens` is needed. By the
    targets, a class per input is learned (whole numbers `(N,)`), a class per position (whole
    numbers `(N, ...)`), or real numbers (`(N, D)`).

    Args:
        train: A data set, or a list with one per task.
        test: The same; one for all tasks, or a list; or a share of the training data, above 0 and
            below 1, that is held out. Of classes, each gives its share. Data sets of a list with
            the same targets give the same rows.
        tasks: How many tasks the classes are divided into, in order and evenly; or the classes of
            each task. None: one task, or those of the list.
        task_ids: Whether the task is known at test; predictions are then among its classes. Those
            of a data set of a list are its training targets'.
        validation: Share of the training data left that is held out for validation.
        normalise: `train`: by mean and standard deviation of the training data of all tasks, per
            channel of images `(C, H, W)`, else per number of the last dimension. `none`: not. Or
            the two, each one number or one per channel.
        objective: What the targets are, if it is not as above.
        classes: How many classes there are; by default one more than the largest training target,
            or as many as have names.
        class_names: A name per class.
        tokens: How many token ids there are, if the inputs are token ids.
        seed: Decides which examples are held out.

    Raises:
        UsageError: With what is wrong with the data, where, and what to give.

    Example:
        >>> x, y = torch.randn(100, 3), torch.randint(0, 4, (100,))
        >>> stream = stream_from((x, y), test=0.2, tasks=2)
        >>> [task.name for task in stream]
        ['classes 0-1', 'classes 2-3']
    """
    _check_arguments(objective, task_ids, class_names, seed, classes=classes, tokens=tokens)
    trained, tested = _read("train", train, tokens), list[Data]()
    shares = {"validation": _share("validation", validation)}
    if isinstance(test, Real):
        shares = {"test": _share("test", test), **shares}
    else:
        tested = _read("test", test, tokens)
    every = [*trained, *tested]
    kind = objective or _objective_of(trained[0])
    outputs = _outputs(kind, trained, classes, class_names)
    _check(every, kind, outputs)
    pieces = divided(trained, tested, shares, kind, seed)
    if tasks is not None:
        whole = _only(pieces)
        pieces = [*by_classes(whole, class_groups(tasks, outputs), outputs, class_names)]
    learned = [task.train for task in pieces]
    scale: dict[str, Any] = {} if tokens else statistics(normalise, learned)
    described = [{name: _digest(it) for name, it in task.parts.items()} for task in pieces]
    protocol: dict[str, Any] = {"scenario": "given", "tasks": described}
    if not tokens and normalise != "train":
        protocol["normalise"] = {key: it.flatten().tolist() for key, it in scale.items()}
    if any(data.changes for data in every):
        protocol["changes_when_read_again"] = True
    if outputs != _outputs(kind, trained):
        protocol["classes"] = outputs
    if tokens and tokens != 1 + max(int(data.inputs.max()) for data in trained):
        protocol["tokens"] = tokens
    made = []
    for task, said in zip(pieces, described, strict=True):
        parts: dict[str, Any] = {name: replace(it, **scale) for name, it in task.parts.items()}
        mask = _mask(task, outputs, said) if task_ids else None
        made.append(replace(task, **parts, classes=mask))
    return TensorStream(
        made,
        protocol,
        input_shape=tuple(trained[0].inputs.shape[1:]),
        tokens=tokens,
        classes=outputs,
        gives_task_ids=task_ids,
        class_names=tuple(class_names),
    )


def _read(name: str, given: Any, tokens: int | None) -> list[Data]:
    if given is None and name == "test":
        raise UsageError(f"{name}: give test data, or a share of train to hold out: test=0.2.")
    if isinstance(given, list) and given:
        return [read(f"{name}[{place}]", each, tokens) for place, each in enumerate(given)]
    return [read(name, given, tokens)]


def _share(name: str, value: Any) -> float:
    if not isinstance(value, Real) or not 0 <= float(value) < 1 or (name == "test" and not value):
        raise UsageError(f"{name}: {value!r} is no share. Give a number above 0 and below 1.")
    return float(value)


def _check_arguments(
    objective: Any, task_ids: Any, class_names: Any, seed: Any, **counts: Any
) -> None:
    """Check the kinds of what is said about the data."""
    if objective is not None and not isinstance(objective, Objective):
        raise UsageError(f"objective: give one, as bnnlab.Classes(), no {objective!r:.60}.")
    if not isinstance(task_ids, bool):
        raise UsageError(f"task_ids: {task_ids!r:.60} is neither True nor False.")
    if not isinstance(seed, Integral):
        raise UsageError(f"seed: {seed!r:.60} is no whole number.")
    is_list = isinstance(class_names, Sequence) and not isinstance(class_names, str)
    if not is_list or not all(isinstance(each, str) for each in class_names):
        raise UsageError('class_names: give a list of texts, one per class: ["cat", "dog"].')
    for name, count in counts.items():
        if count is not None and (not isinstance(count, Integral) or count < 1):
            raise UsageError(f"{name}: {count!r:.60} is no number of {name}. Give one from 1.")


def _objective_of(data: Data) -> Objective:
    """Return what targets are, by their dtype and shape."""
    if data.targets.is_floating_point():
        return RealNumbers()
    return CLASSES if data.targets.ndim == 1 else ClassPerPosition()


def _outputs(
    objective: Objective,
    trained: Sequence[Data],
    classes: int | None = None,
    names: Sequence[str] = (),
) -> int:
    """Return the last dimension of the outputs: classes, or real numbers."""
    if (targets := trained[0].targets).is_floating_point():
        if classes or names:
            said = f"classes: the targets are {objective.name}, and have none."
            raise UsageError(said + advice(targets))
        return targets.shape[-1]
    if classes and names and classes != len(names):
        raise UsageError(f"classes: {classes}, and {len(names)} have names. Leave one out.")
    largest = max(int(data.targets.max()) for data in trained)
    if largest < 0:
        raise UsageError(f"train: no target is a class. Number them from 0: {NUMBERED}.")
    return int(classes or len(names) or 1 + largest)


def _check(every: Sequence[Data], objective: Objective, outputs: int) -> None:
    """Check that all data sets go together, and their targets with the objective."""
    first = every[0]
    for data in every:
        for what in ("inputs", "targets"):
            one, other = _kind(getattr(first, what)), _kind(getattr(data, what))
            if one != other:
                raise UsageError(
                    f"{data.name}: the {what} are {other}, and those of {first.name} {one}. All "
                    "must be alike but for their number."
                )
        try:
            objective.check(data.targets, outputs)
        except ValueError as error:
            beyond = not data.targets.is_floating_point() and int(data.targets.max()) >= outputs
            more = " If there are more classes, say how many: classes=K." if beyond else ""
            raise UsageError(f"{data.name}: the targets {error}.{more}") from error


def _kind(values: Tensor) -> str:
    return kind_of(values, "N", *values.shape[1:])


def _only(tasks: Sequence[Task]) -> Task:
    """Return the only task, whose classes are to be divided."""
    if len(tasks) > 1 or not tasks[0].objective.is_of_classes:
        many = "a list of data sets says the tasks itself"
        what = many if len(tasks) > 1 else f"the targets are {tasks[0].objective.name}"
        how = "" if len(tasks) > 1 else advice(tasks[0].train.labels)
        raise UsageError(f"tasks: only classes of one data set can be divided, and {what}.{how}")
    return tasks[0]


def _mask(task: Task, classes: int, said: dict[str, Any]) -> Tensor | None:
    """Return a task's classes: those it has, else those that it learns; None if it has no classes.

    What the training targets do not show of them is added to what is said of the task.

    Raises:
        UsageError: If another part has a class that is not among them.
    """
    learned = torch.zeros(classes, dtype=torch.bool)
    for name, part in task.parts.items():
        found = task.objective.classes_in(part.labels[part.rows])
        if found is None:
            return None
        if name == "train":
            learned[found] = True
            mask = learned if task.classes is None else task.classes
        elif not bool(mask[found].all()):
            raise UsageError(
                f"{name}: {task.name!r} has examples of class {int(found[~mask[found]][0])}, and "
                "learns none. Where the task is known, its classes are those that it learns: give "
                "each task its own data, as test=[...]."
            )
    if not torch.equal(mask, learned):
        said["classes"] = mask.nonzero()[:, 0].tolist()
    return mask


def _digest(part: Examples) -> str:
    """Return a digest of the content of a part."""
    sha = hashlib.sha256()
    values: Any
    for values in (part.pixels, part.labels):
        sha.update(f"{values.dtype} {len(part)} {tuple(values.shape[1:])}".encode())
        for rows in torch.split(part.rows, TOGETHER):
            sha.update(values[rows].reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]
