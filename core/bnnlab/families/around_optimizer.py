"""Optimizers around another optimizer: they change its gradients, and it makes the steps."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer

_SHARED = ("state", "param_groups")


class OptimizerAround(Optimizer):
    """An optimizer that leaves the steps to another one, its base.

    A subclass overrides `step`, as `return self.base.step(lambda: changed(closure))`; and
    `task_started` or `task_ended`, which begin with `super()`. Everything else is the base's.

    Groups and state are the base's own: schedulers act on the base, and what is kept per parameter
    here lies in the same `state[p]`, under names that the base does not use.

    Args:
        model: The model that the base was made for.
        base: The optimizer that makes the steps.
        settings: Settings of this one that are kept in each group, like `lr`.
        generator: Source of random numbers of this one; None if it draws none.

    Attributes:
        base: The optimizer that makes the steps.
    """

    def __init__(
        self,
        model: Model,
        base: Optimizer,
        *,
        settings: Mapping[str, Any] = MappingProxyType({}),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(model, lr=base.param_groups[0]["lr"], generator=generator)
        self.base = base
        self._share(base.param_groups, base.state, self._watch)
        # What a group has that is added later, and what torch's schedulers ask for.
        self.defaults = {**base.defaults, **settings}
        for group in self.param_groups:
            group.update(settings)

    def _share(self, groups: list[Group], state: Any, watch: Any) -> None:
        """Let this optimizer and all inside it have the same groups, state and watch."""
        self.param_groups, self.state, self._watch = groups, state, watch
        if isinstance(self.base, OptimizerAround):
            self.base._share(groups, state, watch)
        else:
            self.base.param_groups, self.base.state, self.base._watch = groups, state, watch

    @property
    def test_draws(self) -> int:  # type: ignore[override]
        """As the base."""
        return self.base.test_draws

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Let the base make one step."""
        return self.base.step(closure)

    def task_started(self, context: TaskContext) -> None:
        """Tell the base."""
        self.base.task_started(context)

    def task_ended(self, context: TaskContext) -> None:
        """Tell the base."""
        self.base.task_ended(context)

    def predictive(self, n: int) -> Iterator[None]:
        """Let the base draw."""
        return self.base.predictive(n)

    def latent(self, parameter: Tensor) -> Tensor | None:
        """Return what the base keeps."""
        return self.base.latent(parameter)

    def adopt(self, parameter: Tensor) -> None:
        """Let the base take over a weight that others wrote."""
        self.base.adopt(parameter)

    def diagnostics(self) -> dict[str, float]:
        """Return the base's."""
        return self.base.diagnostics()

    def state_dict(self) -> dict[str, Any]:
        """Return the shared state, this generator's, and what else the base saves."""
        inner = self.base.state_dict()
        own = {key: each for key, each in inner.items() if key not in _SHARED}
        return {**super().state_dict(), "base": own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        shared = {key: state_dict[key] for key in _SHARED}
        self.base.load_state_dict({**shared, **state_dict["base"]})
        self._share(self.param_groups, self.state, self._watch)
