"""Parameter groups: what a method learns, and what of it is binary."""

import inspect
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model

Group = dict[str, Any]
"""A parameter group of torch: `params`, `learned`, `binary`, and settings such as `lr`."""


class GroupedOptimizer(torch.optim.Optimizer):
    """A torch optimizer whose groups say what the method learns.

    A group's `learned` is true if the method itself updates these parameters. Its `binary` is true
    if they are binary weights.

    Args:
        model: The model whose parameters are optimised.
        groups: The parameter groups, with `learned` and `binary`.
        defaults: The settings of a group that has none of its own.
    """

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
        raise UsageError(
            f"{self._name(parameter)} is in no parameter group of {type(self).__name__}"
        )

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
        for member in group["params"]:
            named = isinstance(member, tuple)  # (name, parameter), as torch allows
            self._check_member(member[1] if named else member, group)
        alike = [other for other in self.param_groups if other["learned"] == group["learned"]]
        settings = alike[0] if alike else {}
        for key, value in settings.items():
            if key != "param_names":
                group.setdefault(key, value)
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
                f"{name} is {kind}: its group needs 'learned' and 'binary' as the group has them "
                "that it comes from"
            )

    def _name(self, parameter: Tensor) -> str:
        """Return a parameter's name in the model; of others the shape."""
        return self._names.get(parameter, f"a parameter of shape {tuple(parameter.shape)}")
