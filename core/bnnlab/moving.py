"""State that follows its parameters to another device or dtype."""

from typing import Any

import torch
from torch import Tensor


def move_state(optimizer: torch.optim.Optimizer) -> None:
    """Bring the state of parameters that were moved to another device or dtype to them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            device, dtype = parameter.device, parameter.dtype
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if isinstance(value, Tensor) and value.device == device and value.dtype == dtype:
                    continue  # as nearly always, and this is done before every step
                state[name] = _moved(value, parameter, name)


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
