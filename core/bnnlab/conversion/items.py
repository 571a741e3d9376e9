"""Values that others give become tensors; torch data sets are read item by item."""

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from bnnlab.errors import UsageError, explain, kind_of

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


def read_items(name: str, data: Any) -> tuple[Pair, bool]:
    """Read a torch data set of pairs; return them, and whether some are others when read again.

    Raises:
        UsageError: With the index of an item that is wrong.
    """
    items: list[Pair] = []
    is_flow = isinstance(data, IterableDataset)
    try:
        for item in data if is_flow else (data[index] for index in range(len(data))):
            items.append(_item(f"{name}[{len(items)}]", item, *items[:1]))
    except UsageError:
        raise
    except Exception as error:  # the data set's own code
        raise UsageError(f"{name}[{len(items)}] cannot be read: {explain(error)}") from error
    if not items:
        raise UsageError(f"{name} has no item.")
    last = len(items) - 1
    again = {0: next(iter(data), None)} if is_flow else {n: data[n] for n in (0, last // 2, last)}
    changes = not all(_is_same(items[place], item) for place, item in again.items())
    if changes:
        log.warning(
            "%s gives other items when it is read again, as random transforms do. It was read "
            "once: every epoch learns from these items, and the protocol hash holds for them "
            "alone.",
            name,
        )
    inputs, targets = (torch.stack(each) for each in zip(*items, strict=True))
    return (inputs, targets), changes


def _item(where: str, item: Any, first: Pair | None = None) -> Pair:
    """Return an item as tensors, checked; also against the first one."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UsageError(f"{where} is {described(item)}. Give pairs (input, target).")
    pair = []
    for place, (what, value) in enumerate(zip(("input", "target"), item, strict=True)):
        if not is_array(value) and not isinstance(value, int | float):
            raise UsageError(
                f"{where}: the {what} is a {type(value).__name__}. Give a tensor, an array or a "
                "number; of images, by transform=torchvision.transforms.ToTensor()."
            )
        found = as_tensor(where, value) if is_array(value) else torch.as_tensor(value)
        like = first[place] if first else found
        if found.shape != like.shape or found.dtype != like.dtype:
            raise UsageError(
                f"{where}: the {what} is {kind_of(found)}, and that of the first item "
                f"{kind_of(like)}. All must be alike."
            )
        pair.append(found)
    x, y = pair
    return x, y


def _is_same(one: Pair, item: Any) -> bool:
    """Return whether an item is the one that was read before; no item is not."""
    return item is not None and all(map(torch.equal, one, _item("", item)))
