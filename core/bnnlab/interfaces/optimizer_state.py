"""An optimizer's state: saved, loaded, and moved with the parameters to a device or a dtype."""

import copy
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.errors import UsageError
from bnnlab.interfaces.parameter_groups import GroupedOptimizer

log = logging.getLogger(__name__)


class StatefulOptimizer(GroupedOptimizer):
    """An optimizer whose state and random generator are saved, and follow its parameters."""

    _generator: torch.Generator | None = None

    def generator(self, device: torch.device) -> torch.Generator:
        """Return the optimizer's random generator on a device.

        If it was on another device, the new generator is seeded from it.
        """
        assert self._generator is not None, "this optimizer was made without a generator"
        if self._generator.device != device:
            seed = torch.empty((), dtype=torch.int64, device=self._generator.device)
            seed.random_(generator=self._generator)
            self._generator = torch.Generator(device).manual_seed(int(seed))
        return self._generator

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state, with the generator's state and the name of the class."""
        state: dict[str, Any] = inspect.unwrap(torch.optim.Optimizer.state_dict)(self)
        state["class"] = type(self).__name__
        if self._generator is not None:
            device = str(self._generator.device)
            state["generator"] = {"device": device, "state": self._generator.get_state()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, on any device.

        If the parameters are now on another kind of device than the generator was, its sequence
        cannot go on: a new generator on the CPU is seeded from it, and the log says so.

        Raises:
            UsageError: If an optimizer of another class saved it.
        """
        who, saved_by = type(self).__name__, state_dict.get("class", "another optimizer")
        if saved_by != who:
            raise UsageError(f"{who} cannot load the state of {saved_by}: load its own")
        loaded: list[dict[str, Any]] = []

        def note(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
            loaded.append(state)

        handle = self.register_load_state_dict_pre_hook(note)  # the last: after the user's hooks
        try:
            inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, dict(state_dict))
        finally:
            handle.remove()
        _restore_state(self, loaded[0])
        generator = state_dict.get("generator")
        if generator and self._generator is not None:
            self._generator = _restored_generator(self, generator)


def move_state(optimizer: torch.optim.Optimizer) -> None:
    """Move the state of each parameter to the parameter's device and dtype."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            device, dtype = parameter.device, parameter.dtype
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if isinstance(value, Tensor) and value.device == device and value.dtype == dtype:
                    continue
                state[name] = _moved(value, parameter, name)


def _restore_state(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give each parameter a copy of its state in `saved`, a state dict.

    torch casts everything that it loads to the parameter's dtype, counters and masks too. Here only
    floats of the parameter's shape are cast.
    """
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in saved["state"]:
            state = copy.deepcopy(saved["state"][number])
            optimizer.state[parameter] = _moved(state, parameter)


def _moved(value: Any, parameter: Tensor, name: str = "") -> Any:
    """Return state on its parameter's device, and in its dtype if it has the parameter's shape.

    Dicts and lists are changed in place. A tensor called `step` keeps its dtype, as in torch.
    """
    if isinstance(value, Tensor):
        alike = value.is_floating_point() and value.shape == parameter.shape and name != "step"
        return value.to(parameter) if alike else value.to(parameter.device)
    if isinstance(value, dict):
        for key, inner in value.items():
            value[key] = _moved(inner, parameter, key)
    elif isinstance(value, list):
        value[:] = [_moved(inner, parameter) for inner in value]
    elif isinstance(value, tuple):
        return tuple(_moved(inner, parameter) for inner in value)
    return value


def _restored_generator(
    optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]
) -> torch.Generator:
    """Return the generator with the saved `device` and `state`.

    A generator cannot move between kinds of devices, see `StatefulOptimizer.load_state_dict`.
    """
    device, state = torch.device(saved["device"]), saved["state"].cpu()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    here = parameters[0].device if parameters else device
    if device.type == "cpu":
        return torch.Generator().set_state(state)
    if device.type == here.type:
        return torch.Generator(here).set_state(state)
    log.warning(
        "%s drew its weights from a generator on %s, and now learns on %s: "
        "its draws are others from here",
        *(type(optimizer).__name__, device, here),
    )
    return seeds.generator(0, state.numpy().tobytes().hex())
