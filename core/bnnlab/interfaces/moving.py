"""State that follows its parameters to another device or dtype."""

import copy
import logging
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from bnnlab import seeds

log = logging.getLogger(__name__)


def move_state(optimizer: torch.optim.Optimizer) -> None:
    """Bring the state of parameters that were moved to another device or dtype to them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            device, dtype = parameter.device, parameter.dtype
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if isinstance(value, Tensor) and value.device == device and value.dtype == dtype:
                    continue
                state[name] = _moved(value, parameter, name)


def restore_state(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give each parameter a copy of its state in `saved`, a state dict.

    Torch casts all that it loads, counters and masks too, to the parameter's dtype. Here only what
    is a float of the parameter's shape is cast.
    """
    groups = saved["param_groups"], optimizer.param_groups
    numbers, parameters = (chain.from_iterable(g["params"] for g in part) for part in groups)
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in saved["state"]:
            state = saved["state"][number]
            optimizer.state[parameter] = _moved(copy.deepcopy(state), parameter)


def _moved(value: Any, parameter: Tensor, name: str = "") -> Any:
    """Return state on its parameter's device; of the parameter's shape also in its dtype.

    Dicts and lists are changed in place. What is called `step` keeps its dtype, as in torch.
    """
    if isinstance(value, Tensor):
        alike = value.is_floating_point() and value.shape == parameter.shape and name != "step"
        return value.to(parameter) if alike else value.to(parameter.device)
    if isinstance(value, dict):
        for key, each in value.items():
            value[key] = _moved(each, parameter, key)
    elif isinstance(value, list):
        value[:] = [_moved(each, parameter) for each in value]
    elif isinstance(value, tuple):
        return tuple(_moved(each, parameter) for each in value)
    return value


def moved_generator(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """Return a generator on another device, seeded from this one."""
    seed = torch.empty((), dtype=torch.int64, device=generator.device)
    return torch.Generator(device).manual_seed(int(seed.random_(generator=generator)))


def restored_generator(
    optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]
) -> torch.Generator:
    """Return the generator that an optimizer's state dict holds.

    Where the parameters are on another kind of device than it was, its draws cannot go on: a new
    one on the CPU is seeded from what was saved, and the log says so.

    Args:
        optimizer: Whose parameters say where it is needed.
        saved: Its `device` and its `state`.
    """
    device, state = torch.device(saved["device"]), saved["state"].cpu()
    here = next((p.device for g in optimizer.param_groups for p in g["params"]), device)
    if device.type in ("cpu", here.type):
        return torch.Generator("cpu" if device.type == "cpu" else here).set_state(state)
    log.warning(
        "%s drew its weights from a generator on %s, and now learns on %s: "
        "its draws are others from here",
        *(type(optimizer).__name__, device, here),
    )
    return seeds.generator(0, state.numpy().tobytes().hex())
