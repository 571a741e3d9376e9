"""A model as a graph of standard operators, which other programs read."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from bnnlab.errors import BnnlabError, UsageError, did_you_mean, first_line, install_command
from bnnlab.interfaces.objective import Objective
from bnnlab_export.acceptance import (
    Outputs,
    Predicts,
    outputs_of,
    predictions,
    predictions_of,
    score_of,
)
from bnnlab_export.exported import Contents, Layer
from bnnlab_export.source import Source


@dataclass(frozen=True, eq=False)
class Made:
    """A file that is not written yet.

    Attributes:
        content: Its bytes.
        load: Opens the written file, and returns what predicts with it.
        source: What it is compared with.
        outputs: Of the model, on the test parts of the source.
        score: What a run would report of the model, see `score_of`.
        steps: How many steps, or nodes, there are of each kind.
        draws: Networks in it.
        exact: Whether it rounds nowhere.
        layers: The layers with weights, if they are known.
    """

    content: bytes
    load: Callable[[Path], Predicts]
    source: Source
    outputs: Outputs
    score: float | None
    steps: Mapping[str, int]
    draws: int = 1
    exact: bool = False
    layers: Sequence[Layer] = ()

    def contents(self) -> Contents:
        """Return what the file has."""
        state = self.source.model.state_dict().values()
        return Contents(
            bytes=len(self.content),
            bytes_unpacked=sum(4 * each.numel() for each in state if each.is_floating_point()),
            draws=self.draws,
            tasks=len(self.source.tasks) if self.source.task_ids else 0,
            steps=dict(self.steps),
            layers=self.layers,
            prepared=self.source.prepared(),
            learned=self.source.learned,
        )


class Form(Protocol):
    """What a module of this package has that makes graphs of one form."""

    compared: int | None
    """How many images of each test part are compared; None for all."""

    def content(self, network: nn.Module, images: Tensor, about: Mapping[str, str]) -> bytes:
        """Return a file with a network that maps images as they are stored to its outputs.

        Args:
            network: On the CPU, in evaluation mode.
            images: An example of its input.
            about: Names and texts that the file holds, for people.
        """

    def nodes(self, content: bytes) -> Mapping[str, int]:
        """Return how many nodes of each operator there are."""

    def load(self, path: Path) -> Callable[[Tensor], Tensor]:
        """Open a file, and return what maps images `(B, ...)` to outputs `(B, K)`."""


FORMS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "qonnx": ("onnx", "onnxruntime", "onnxscript", "qonnx"),
    "torch": (),
}
"""The packages that each form needs. Its module is `NAME_form`."""


def form_of(name: str) -> Form:
    """Return the module of a form.

    Raises:
        UsageError: If there is none of this name, or packages are missing.
    """
    if name not in FORMS:
        known = ("bnn", *FORMS)
        raise UsageError(
            f"to: there is no form {name!r}, but {', '.join(known)}.{did_you_mean(name, known)}"
        )
    for package in FORMS[name]:
        try:
            import_module(package)
        except ImportError as error:
            raise UsageError(
                f"to: {name} needs {package}: {install_command(f'bnnlab-export[{name}]')}"
            ) from error
    form: Form = import_module(f"bnnlab_export.{name}_form")
    return form


class Network(nn.Module):
    """A model with what makes its inputs of images as they are stored, and its classes alone."""

    mean: Tensor | None
    std: Tensor | None
    classes: Tensor | None
    order: Tensor | None

    def __init__(self, source: Source) -> None:
        super().__init__()
        task = source.tasks[0]
        pixels = source.pixels(task)
        self.model = source.model
        self.mean = None if pixels.mean is None else nn.Buffer(_smallest(pixels.mean))
        self.std = None if pixels.std is None else nn.Buffer(_smallest(pixels.std))
        self.order = None if pixels.order is None else nn.Buffer(pixels.order)
        known = task.classes if source.task_ids else None
        self.classes = None if known is None else nn.Buffer(known)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, ...)` to outputs `(B, K)`."""
        x = images.to(torch.float32)
        if self.order is not None:
            x = x.flatten(1).index_select(1, self.order).view_as(x)
        x = x if self.mean is None else x - self.mean
        y: Tensor = self.model(x if self.std is None else x / self.std)
        return y if self.classes is None else y.masked_fill(~self.classes, float("-inf"))


def graph(source: Source, to: str) -> Made:
    """Return a file of a form.

    Args:
        source: Its model is in evaluation mode.
        to: The form's name.

    Raises:
        UsageError: If the form cannot say what the source has.
    """
    form = form_of(to)
    if source.draws:
        raise UsageError(
            f"{to} holds one network, and this run predicts by {source.draws} weight draws: export "
            "the deployed weights, --mode, draws=0."
        )
    if source.task_ids and len(source.tasks) > 1:
        raise UsageError(
            f"{to} holds the network of one task, and this model is told which of "
            f"{len(source.tasks)} it is: choose one from 0, --task 0, task=0."
        )
    (task,) = source.variants()
    outputs = {index: [its] for index, its in outputs_of(source, task).items()}
    score = score_of(source, predictions_of(source, outputs))
    example, about = source.images(task, torch.arange(2) % len(task.test)), _about(source, score)
    try:
        content = form.content(Network(source).eval(), example, about)
    except BnnlabError:
        raise
    except Exception as error:  # a model may do anything with what records it
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        raise UsageError(
            f"{to}: torch {torch.__version__} cannot record the model: {first_line(cause)}"
        ) from error
    few = slice(form.compared)
    return Made(
        content,
        lambda path: _predicts(form.load(path), task.objective),
        _first(source, few),
        {index: [each[few] for each in its] for index, its in outputs.items()},
        score,
        form.nodes(content),
    )


def _about(source: Source, score: float | None) -> dict[str, str]:
    """Return what people want to know, as JSON."""
    run = {**source.about, "accuracy": score, "prepared": source.prepared()}
    about = {"classes": [*source.class_names], "run": run}
    return {f"bnnlab-{name}": json.dumps(each) for name, each in about.items()}


def _predicts(outputs_of: Callable[[Tensor], Tensor], objective: Objective) -> Predicts:
    return lambda images, _: predictions(outputs_of(images)[None], objective)


def _first(source: Source, few: slice) -> Source:
    """Return a source with a slice of each test part; shared parts stay shared."""
    parts = {id(each.test): replace(each.test, rows=each.test.rows[few]) for each in source.tasks}
    tasks = [replace(each, test=parts[id(each.test)]) for each in source.tasks]
    return replace(source, tasks=tasks)


def _smallest(full: Tensor) -> Tensor:
    """Return a tensor without the dimensions along which it is the same."""
    for dim in range(full.ndim):
        first = full.narrow(dim, 0, 1)
        full = first if torch.equal(first.expand_as(full), full) else full
    return full.clone(memory_format=torch.contiguous_format)
