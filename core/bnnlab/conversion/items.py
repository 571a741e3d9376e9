"""Values that others give become tensors; torch data sets are read item by item."""

import logging
from collections.abc import Iterator
from itertools import starmap, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from bnnlab.errors import UsageError, explain, kind_of
from bnnlab.interfaces.objectives import NUMBERED

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
    if np.ma.is_masked(value):
        raise UsageError(f"{what}: a masked array. Leave masked rows out, or fill them.")
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise UsageError(
            f"{what}: an array of {array.dtype}. Give numbers. Labels that are texts are numbered "
            f"by {NUMBERED}."
        )
    own = array.dtype.newbyteorder("=")
    if own.kind == "u" and own != np.uint8:
        own = np.dtype(np.int64)
    if own.kind == "f" and own.itemsize > 8:
        own = np.dtype(np.float64)  # torch has no wider one
    return torch.from_numpy(np.array(array, own, order="C"))


def read_items(name: str, data: Any) -> tuple[Pair, bool]:
    """Read a torch data set of pairs; return them, and whether some are others when read again.

    Raises:
        UsageError: With the index of an item that is wrong.
    """
    items = [*_items(name, data)]
    if not items:
        raise UsageError(f"{name} has no item.")
    changes = not all(starmap(_is_same, zip_longest(items, _items(name, data, items[0]))))
    if changes:
        log.warning(
            "%s gives other items, or none, when it is read again, as random transforms do. What "
            "was read first is used: every epoch learns from these items, and the protocol hash "
            "holds for them alone.",
            name,
        )
    inputs, targets = (torch.stack(each) for each in zip(*items, strict=True))
    return (inputs, targets), changes


def _items(name: str, data: Any, first: Pair | None = None) -> Iterator[Pair]:
    """Yield the items of a data set as tensors, all like the first one."""
    is_flow = isinstance(data, IterableDataset)
    if not is_flow and not hasattr(data, "__len__"):
        raise UsageError(f"{name} has no length. Give it __len__, or make it an IterableDataset.")
    count = 0
    try:
        for item in data if is_flow else (data[index] for index in range(len(data))):
            pair = _item(f"{name}[{count}]", item, first)
            first, count = first or pair, count + 1
            yield pair
    except UsageError:
        raise
    except Exception as error:  # the data set's own code
        raise UsageError(f"{name}[{count}] cannot be read: {explain(error)}") from error


def _item(where: str, item: Any, first: Pair | None = None) -> Pair:
    """Return an item as tensors, checked; also against the first one."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UsageError(f"{where} is {described(item)}. Give pairs (input, target).")
    pair = []
    for place, (what, value) in enumerate(zip(("input", "target"), item, strict=True)):
        if not is_array(value) and not isinstance(value, int | float):
            raise UsageError(
                f"{where}: the {what} is a {type(value).__name__}. Give a tensor, an array or a "
                "number; of images, by transform=torchvision.transforms.ToTensor(); of labels that "
                "are texts, by names.index(label)."
            )
        found = as_tensor(where, value if is_array(value) else np.asarray(value))
        like = first[place] if first else found
        if found.shape != like.shape or found.dtype != like.dtype:
            raise UsageError(
                f"{where}: the {what} is {kind_of(found)}, and that of the first item "
                f"{kind_of(like)}. All must be alike."
            )
        pair.append(found)
    x, y = pair
    return x, y


def _is_same(one: Pair | None, other: Pair | None) -> bool:
    """Return whether an item is the one that was read before; none is not."""
    return one is not None and other is not None and all(map(torch.equal, one, other))
