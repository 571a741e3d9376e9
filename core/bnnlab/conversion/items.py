"""Values that others give become tensors; torch data sets are read item by item."""

import logging
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from bnnlab.errors import UsageError, explain

log = logging.getLogger(__name__)

Pair = tuple[Tensor, Tensor]
"""An input and its target; or those of N items, `(N, ...)`."""


def is_array(value: Any) -> bool:
    """Return whether a value is a tensor, or can be read as a NumPy array."""
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def described(value: Any) -> str:
    """Return what a value is, for messages."""
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        return f"a {kind} of {', '.join(type(each).__name__ for each in value[:3]) or 'nothing'}"
    return f"a {kind}"


def as_tensor(what: str, value: Any) -> Tensor:
    """Return a copy of a tensor or array as a tensor on the CPU.

    Raises:
        UsageError: If it is no plain tensor, or no array of numbers.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise UsageError(f"{what}: a sparse, quantised or meta tensor. Give a plain one.")
        return value.detach().to("cpu", copy=True)
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise UsageError(f"{what}: an array of {array.dtype}. Give numbers.")
    own = array.dtype.newbyteorder("=")
    wide = {"u": np.int64, "f": np.float32}.get(own.kind, own)  # what torch has of each kind
    return torch.from_numpy(np.array(array, own if own == np.uint8 else wide, order="C"))


def read_items(name: str, data: Any) -> Pair:
    """Read a torch data set of pairs, once.

    Raises:
        UsageError: With the index of an item that is wrong.
    """
    items = [*_items(name, data)]
    if not items:
        raise UsageError(f"{name} has no item.")
    for index, item in enumerate(items):
        for what, first, other in zip(("input", "target"), items[0], item, strict=True):
            if first.shape != other.shape or first.dtype != other.dtype:
                raise UsageError(
                    f"{name}[{index}]: the {what} is {_kind(other)}, and that of {name}[0] "
                    f"{_kind(first)}. All must be alike."
                )
    inputs, targets = (torch.stack(each) for each in zip(*items, strict=True))
    return inputs, targets


def has_changed(name: str, data: Any, read: Pair) -> bool:
    """Return whether items of a data set are others when they are read again; warn of it."""
    last = len(read[0]) - 1
    if isinstance(data, IterableDataset):
        again = {0: next(_items(name, data))}
    else:
        again = {place: _item(name, data[place]) for place in {0, last // 2, last}}
    if all(
        torch.equal(values[place], value)
        for place, item in again.items()
        for values, value in zip(read, item, strict=True)
    ):
        return False
    log.warning(
        "%s gives other items when it is read again, as random transforms do. It was read once: "
        "every epoch learns from these items, and the protocol hash holds for them alone.",
        name,
    )
    return True


def _items(name: str, data: Any) -> Iterator[Pair]:
    is_iterable = isinstance(data, IterableDataset)
    source = iter(data) if is_iterable else (data[index] for index in range(len(data)))
    for index in count():
        try:
            item = next(source)
        except StopIteration:
            return
        except Exception as error:  # the data set's own code
            raise UsageError(f"{name}[{index}] cannot be read: {explain(error)}") from error
        yield _item(f"{name}[{index}]", item)


def _item(where: str, item: Any) -> Pair:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UsageError(f"{where} is {described(item)}. Give pairs (input, target).")
    for what, value in zip(("input", "target"), item, strict=True):
        if not is_array(value) and not isinstance(value, int | float):
            raise UsageError(
                f"{where}: the {what} is a {type(value).__name__}. Give a tensor, an array or a "
                "number; of images, by transform=torchvision.transforms.ToTensor()."
            )
    x, y = (as_tensor(where, it) if is_array(it) else torch.as_tensor(it) for it in item)
    return x, y


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
