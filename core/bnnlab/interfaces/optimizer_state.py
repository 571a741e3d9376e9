"""An optimizer's groups and state: saved, loaded, and moved with the parameters."""

import copy
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import MappingKey, tree_map_with_path

from bnnlab import seeds
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model

log = logging.getLogger(__name__)

Group = dict[str, Any]
"""A parameter group of torch: `params`, `learned`, `binary`, and settings such as `lr`."""


class StatefulOptimizer(torch.optim.Optimizer):
    """A torch optimizer whose groups say what it learns, and whose state follows its parameters.

    A group's `learned` is true if the method itself updates these parameters. Its `binary` is true
    if they are binary weights.
    """

    _generator: torch.Generator | None = None

    def __init__(self, model: Model, groups: list[Group], defaults: dict[str, Any]) -> None:
        self._names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        self._binary: set[Tensor] = {*model.binary_parameters().values()}
        super().__init__(groups, defaults)

    # torch shields its methods from its compiler, which it imports at their first call: seconds at
    # the start of every run. Optimizers are not compiled here, so the bare functions do.
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    def learned_groups(self) -> list[Group]:
        """Return the groups of the weights that the method learns."""
        return [group for group in self.param_groups if group["learned"]]

    def learned(self) -> list[Tensor]:
        """Return the weights that the method learns."""
        return [parameter for group in self.learned_groups() for parameter in group["params"]]

    def group_of(self, parameter: Tensor) -> Group:
        """Return the group that holds a parameter, with its settings.

        Raises:
            UsageError: If no group holds it.
        """
        for group in self.param_groups:
            if any(parameter is member for member in group["params"]):
                return group
        who = type(self).__name__
        raise UsageError(f"{self._name(parameter)} is in no parameter group of {who}")

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group, as in torch.

        By default the method does not learn it, and its parameters are real. It takes the settings
        that it lacks from the first group with the same `learned`.

        Raises:
            UsageError: If the group is learned or binary, and the model did not have the parameter
                when the optimizer was made; or if a parameter is binary and its group is not, or
                the reverse.
        """
        group = {"learned": False, "binary": False, **param_group}
        given = group["params"]
        if not isinstance(given, set):  # torch refuses a set: it has no order
            group["params"] = [given] if isinstance(given, Tensor) else list(given)
        for member in group["params"]:  # a parameter, or (name, parameter)
            self._check_member(member[1] if isinstance(member, tuple) else member, group)
        alike = [other for other in self.param_groups if other["learned"] == group["learned"]]
        settings = {k: v for k, v in alike[0].items() if k != "param_names"} if alike else {}
        group = {**settings, **group}
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, group)

    def _check_member(self, parameter: Tensor, group: Group) -> None:
        who, name = type(self).__name__, self._name(parameter)
        if parameter not in self._names and (group["learned"] or group["binary"]):
            raise UsageError(
                f"{who} cannot learn {name}, which its model did not have when it was made: make a "
                "new optimizer, or leave 'learned' and 'binary' out if it is real"
            )
        if (parameter in self._binary) != group["binary"]:
            kind = "real" if group["binary"] else "binary"
            raise UsageError(
                f"{name} is {kind}: give its group the same 'learned' and 'binary' as the group "
                "that it was taken from"
            )

    def _name(self, parameter: Tensor) -> str:
        """Return a parameter's name in the model; of others the shape."""
        return self._names.get(parameter, f"a parameter of shape {tuple(parameter.shape)}")

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
        cannot go on: a new generator on the CPU is seeded from it, and the log says so. A setting
        of a group that came with a later version keeps the value that it was made with.

        Raises:
            UsageError: If an optimizer of another class saved it.
        """
        who, saved_by = type(self).__name__, state_dict.get("class", "another optimizer")
        if saved_by != who:
            raise UsageError(f"{who} cannot load the state of {saved_by}: load its own")
        loaded: list[dict[str, Any]] = []
        made = list(self.param_groups)

        def note(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
            loaded.append(state)

        handle = self.register_load_state_dict_pre_hook(note)  # the last: after the user's hooks
        try:
            inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, dict(state_dict))
        finally:
            handle.remove()
        for group, before in zip(self.param_groups, made, strict=True):
            for name in before.keys() - group.keys():
                group[name] = before[name]
        self._restore_state(loaded[0])
        generator = state_dict.get("generator")
        if generator and self._generator is not None:
            self._generator = _restored_generator(who, self._parameters(), **generator)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _restore_state(self, saved: Mapping[str, Any]) -> None:
        """Give each parameter a copy of its state in `saved`, a state dict.

        torch casts all that it loads to the parameter's dtype, counters and masks too.
        """
        numbers = [number for group in saved["param_groups"] for number in group["params"]]
        for number, parameter in zip(numbers, self._parameters(), strict=True):
            if number in saved["state"]:
                self.state[parameter] = _moved(copy.deepcopy(saved["state"][number]), parameter)

    def _move_state(self) -> None:
        """Move the state of each parameter to the parameter's device and dtype."""
        for parameter in self._parameters():
            if parameter in self.state:
                self.state[parameter].update(_moved(self.state[parameter], parameter))


def _moved(state: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
    """Return state on its parameter's device, and in its dtype if it has the parameter's shape.

    A tensor called `step` keeps its dtype, as in torch.
    """

    def move(path: tuple[Any, ...], value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        alike = value.is_floating_point() and value.shape == parameter.shape
        is_step = path[-1] == MappingKey("step")
        return value.to(parameter if alike and not is_step else parameter.device)

    moved: dict[str, Any] = tree_map_with_path(move, state)
    return moved


def _restored_generator(
    who: str, parameters: list[Tensor], device: str, state: Tensor
) -> torch.Generator:
    """Return a generator with a saved state, see `load_state_dict`."""
    saved, state = torch.device(device), state.cpu()
    here = parameters[0].device if parameters else saved
    if saved.type in ("cpu", here.type):
        return torch.Generator("cpu" if saved.type == "cpu" else here).set_state(state)
    log.warning(
        "%s drew its weights from a generator on %s, and now learns on %s: "
        "its draws are others from here",
        *(who, saved, here),
    )
    return seeds.generator(0, state.numpy().tobytes().hex())
