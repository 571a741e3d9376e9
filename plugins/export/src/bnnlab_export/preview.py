"""What a file of a model would have, before there is a run."""

import torch

from bnnlab.errors import BnnlabError, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.stream import Task
from bnnlab.registry.components import Section
from bnnlab_export.exported import SLOW, SMALL, Contents, is_faster
from bnnlab_export.exporting import bnn
from bnnlab_export.source import Source

MEAN, STD = 33.0, 78.0
"""A mean and standard deviation of pixels; which ones changes nothing that is said."""


def preview(model: Model) -> Contents:
    """Return what a file of a model would have: no data are needed, and none is written.

    Maps are taken from images of uint8 that are normalised by one mean and standard deviation,
    rows from float32. Names of classes and what is known of a run add a few bytes.

    Args:
        model: It knows the shape of its inputs. It stays as it is.

    Raises:
        UsageError: If the model cannot be exported: the message names the part, and says why.
    """
    if model.input_shape is None:
        raise UsageError("the shape of the inputs is not known: give it to Model(input_shape=...).")
    shape = tuple(model.input_shape)
    source = Source(model, shape, [_task(shape)], has_data=False)
    source.check()
    with torch.no_grad(), source.evaluating():
        return bnn(source, weights_only=True).contents()


def section(model: Model) -> Section:
    """Say it for `bnn info`; of a model that cannot be exported, why."""
    title = "What a file of `bnn export` would have"
    try:
        found = preview(model)
    except BnnlabError as error:
        return Section(title, [str(error)], {"refused": str(error)})
    slow = [] if is_faster(found.layers) else [f"{SLOW}. {SMALL}"]
    return Section(title, [*found.lines(), *slow], found.as_dict())


def _task(shape: tuple[int, ...]) -> Task:
    """Return a task of one image, or of one row."""
    dtype = torch.uint8 if len(shape) == 3 else torch.float32
    number = torch.zeros(1, dtype=torch.int64)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    part = Examples(torch.zeros(1, *shape, dtype=dtype), number, number, mean, std)
    return Task(0, "preview", part, part)
