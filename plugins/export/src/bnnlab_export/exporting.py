"""Export a model: one file that `bnnlab_runtime` predicts with."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnnlab.errors import RunError, UsageError, first_line
from bnnlab.interfaces.faults import check_model
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objectives import RealNumbers
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.stream import TaskStream
from bnnlab.storage.files import expect_place, write_atomically
from bnnlab_export.acceptance import (
    Outputs,
    Predicts,
    compare,
    is_exact,
    outputs_of,
    predictions_of,
    score_of,
)
from bnnlab_export.builder import Builder
from bnnlab_export.exported import SLOW, SMALL, Exported, is_faster, reasons
from bnnlab_export.file import content, is_ours
from bnnlab_export.interchange import Made, graph
from bnnlab_export.lowering import lower
from bnnlab_export.others import name, saying
from bnnlab_export.source import Source, random_task
from bnnlab_export.variants import merged


def export(
    model: nn.Module,
    path: str | os.PathLike[str] | None,
    *,
    stream: TaskStream | None = None,
    optimizer: Optimizer | None = None,
    draws: int | None = None,
    weights_only: bool = False,
    to: str = "bnn",
    task: int | None = None,
) -> Exported:
    """Write a model as one file, and return what is in it. The model stays as it is.

    The file is written only if `bnnlab_runtime`, or the program that it is for, predicts with it
    what the model predicts, on the whole test part of the stream; without a stream, on random
    inputs. An earlier export, or an empty file, is replaced; any other file is not.

    Args:
        model: A `bnnlab.Model` or a torch module with binary layers, on the CPU.
        path: The file; None to write none.
        stream: What the model was trained on: images as they are stored, their normalisation, the
            names of the classes, tasks. Without one, the file takes the model's own inputs.
        optimizer: For draws from its posterior.
        draws: Weight draws in the file; 0 for the deployed weights. By default as many as
            evaluations of the optimizer average over.
        weights_only: Export also where no layer has signs for inputs: the file is small, and
            predictions are no faster.
        to: `bnn`, a file for `bnnlab_runtime`; `onnx`, a graph of ONNX's standard operators;
            `qonnx`, one for FINN; `torch`, a program of `torch.export`.
        task: The task that it is exported for, where the model is told the task or tasks have
            other images; None for all.

    Raises:
        UsageError: If the model cannot be exported: the message names the part, and says why.
        RunError: If predictions differ, or the file cannot be written.
    """
    whole = model if isinstance(model, Model) else Model([model])
    if optimizer is not None:
        check_model(optimizer, whole)
    shape = whole.input_shape if stream is None else tuple(stream.input_shape)
    if shape is None:
        raise UsageError("the shape of the inputs is not known: give the stream, as stream=....")
    count = (0 if optimizer is None else optimizer.test_draws) if draws is None else draws
    if count < 0:
        raise UsageError(f"draws: {count} must be 0 or more.")
    if count and optimizer is None:
        raise UsageError(f"draws: {count} weights are drawn by an optimizer: give optimizer=....")
    source = Source(
        whole,
        shape,
        [random_task(shape)] if stream is None else [*stream],
        task_ids=stream is not None and stream.gives_task_ids,
        class_names=() if stream is None else stream.class_names,
        optimizer=optimizer,
        draws=count,
        has_data=stream is not None,
    )
    return write(source.of_task(task), path, weights_only=weights_only, to=to)


def write(
    source: Source,
    path: str | os.PathLike[str] | None,
    *,
    weights_only: bool = False,
    to: str = "bnn",
) -> Exported:
    """Export a source, see `export`."""
    if weights_only and to != "bnn":
        raise UsageError(f"weights_only is for bnn: in {to}, weights are float32 in any case")
    place = None if path is None else Path(path)
    if place is not None:
        expect_place(place, "model.bnn", is_ours, "export")
    source.check()
    with torch.no_grad(), source.evaluating():
        made = bnn(source, weights_only) if to == "bnn" else graph(source, to)
    with _temporary(made.content) as file:
        compared = compare(made.source, made.outputs, made.load(file), exact=made.exact)
    layers = saying(source.model) if to == "bnn" else {}
    compared.expect([name(place, layer) for place, layer in layers.items()])
    if place is not None:
        with _saying(str(place)):
            write_atomically(place, made.content)
    return Exported(
        **vars(made.contents()),
        path=place,
        images=compared.images,
        differing=compared.differing,
        unexplained=compared.unexplained,
        score=source.tasks[0].objective.score if source.has_data else "",
        accuracy=compared.score,
        part=source.tasks[0].scored_on if source.has_data else "",
    )


def bnn(source: Source, weights_only: bool) -> Made:
    """Return the file that `bnnlab_runtime` predicts with.

    Args:
        source: Its model is in evaluation mode.
        weights_only: As in `export`.

    Raises:
        UsageError: As `export`.
    """
    _expect_few(source)
    builders, outputs = _lowered(source)
    first = builders[0]
    if not weights_only and not is_faster(first.layers):
        raise UsageError(f"{SLOW} ({'; '.join(reasons(first.layers))}). {SMALL}")
    steps, tensors = merged([each.program for each in builders])
    score = score_of(source, predictions_of(source, outputs))
    draws = source.draws if any("@" in name for name in tensors) else 1  # a posterior may be sure
    head = {**_head(source, first, outputs), "draws": max(1, draws)}
    about = {**source.about, "accuracy": score}
    return Made(
        content({**head, "steps": steps, "run": about}, tensors),
        _runtime,
        source,
        outputs,
        score,
        steps=Counter(step["op"] for step in steps),
        layers=first.layers,
        draws=max(1, draws),
        exact=is_exact(steps) and all(each.pixels.is_exact() for each in builders),
    )


def _expect_few(source: Source) -> None:
    """Refuse more variants than the runtime takes, before they are made."""
    from bnnlab_runtime.program import MOST_VARIANTS

    tasks = len(source.tasks) if source.task_ids else 1
    if source.draws * tasks > MOST_VARIANTS:
        raise UsageError(
            f"draws: {source.draws:,} weight draws of {tasks:,} tasks are more networks than the "
            f"{MOST_VARIANTS:,} that a file may have"
        )


def _runtime(file: Path) -> Predicts:
    """Open a file, and return what `bnnlab_runtime` predicts with it."""
    import bnnlab_runtime

    model = bnnlab_runtime.load(file, threads=torch.get_num_threads())

    return lambda images, task: torch.from_numpy(model.predict(images.numpy(), task=task))


def _lowered(source: Source) -> tuple[list[Builder], Outputs]:
    """Return the program of each variant, and the model's outputs on the test parts."""
    builders = []
    outputs: Outputs = {}
    for task in source.variants():
        builders.append(lower(source.model, source.first_inputs(task), source.pixels(task)))
        for index, found in outputs_of(source, task).items():
            outputs.setdefault(index, []).append(found)
    return builders, outputs


def _head(source: Source, first: Builder, outputs: Outputs) -> dict[str, Any]:
    """Return what a program says of its input and its outputs."""
    tasks = [
        {
            "name": task.name,
            "classes": None if task.classes is None else task.classes.nonzero()[:, 0].tolist(),
        }
        for task in source.tasks
    ]
    count = next(iter(outputs.values()))[0].shape[1]
    names = [*source.class_names]
    objective = source.tasks[0].objective
    return {
        "input": {
            "shape": [*source.input_shape],
            "dtype": first.pixels.dtype,
            "prepared": source.prepared(),
        },
        "outputs": count,
        "classes": names if len(names) == count else None,
        "objective": "numbers" if isinstance(objective, RealNumbers) else "classes",
        "tasks": tasks if source.task_ids else None,
    }


@contextmanager
def _temporary(made: bytes) -> Iterator[Path]:
    """Write a temporary file, which lasts as long as the block."""
    with ExitStack() as stack:
        with _saying("a temporary file, to compare it (TMPDIR says where)"):
            file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.bnn"
            file.write_bytes(made)
        yield file


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Say what cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {what}: {error.strerror or first_line(error)}") from error
