"""The optimizer interface."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.consistency import ConsistentOptimizer, synchronize
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.elementwise import adam_step
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.parameter_groups import Group as Group
from bnnlab.markers import Positive


class Optimizer(ConsistentOptimizer):
    """Turns gradients into the next weights. Its state is everything but the deployed weights.

    It has two parameter groups: the weights that the method learns (`group["learned"]` is true),
    which are the binary parameters (`group["binary"]`) unless a subclass names others, and the real
    rest, which may have a learning rate of its own. Either may be parted into several. After `step`
    every binary parameter is exactly -1 or +1.

    State follows a model that is moved to another device or dtype: what a parameter has in
    `self.state`, of any shape, also in lists and dicts. It is in `state_dict()`, the generator's
    included.

    Args:
        model: Its parameters are optimised. The model says which of them are binary.
        lr: Learning rate.
        real_lr: Learning rate of biases, norms and scales. None: the same as lr.
        settings: More group settings of a subclass, besides `lr` and `binary`.
        weights: The first group's parameters; the binary ones if None.
        generator: Source of random numbers in training; None if the method draws nothing.

    Attributes:
        test_draws: Weight draws that an evaluation averages over; 0 for the deployed weights.

    Raises:
        ValueError: If a binary parameter holds anything but -1 and +1.
    """

    test_draws = 0

    def __init__(
        self,
        model: Model,
        *,
        lr: Positive,
        real_lr: Positive | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
        weights: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        binary = model.binary_parameters()
        for name, parameter in binary.items():
            if not bool((parameter.detach().abs() == 1).all()):
                raise ValueError(f"binary parameter {name!r} holds more than -1 and +1")
        learned = [*dict.fromkeys(binary.values() if weights is None else weights)]  # tied: once
        ids = {id(parameter) for parameter in learned}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in ids]
        groups: list[Group] = [
            {"params": learned, "learned": True, "binary": weights is None},
            {
                "params": rest,
                "learned": False,
                "binary": False,
                "lr": lr if real_lr is None else real_lr,
            },
        ]
        super().__init__(model, groups, {"lr": lr, **settings})
        self._generator = generator

    @abstractmethod
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step: call the closure once (or once per weight draw), and return the loss."""

    def predictive(self, n: int) -> Iterator[None]:
        """Write `n` weight draws into the model in turn, for evaluation, then restore it.

        n = 0: the deployed weights, the only choice without a posterior. The generator is restored
        too, so an evaluation changes nothing in training.

        Raises:
            UsageError: If n > 0 and the optimizer has no posterior.
        """
        if n == 0:
            yield
            return
        if type(self).draw is Optimizer.draw:
            raise UsageError(f"{type(self).__name__} has no posterior to draw {n} weights from")
        synchronize(self)
        learned = [parameter for parameter in self.learned() if parameter.requires_grad]
        deployed = [parameter.data for parameter in learned]
        generator = self._generator
        state = None if generator is None else generator.get_state()
        try:
            for _ in range(n):
                for parameter, data in zip(learned, deployed, strict=True):
                    parameter.data = data  # a posterior's mean may be the weight itself
                    parameter.data = self.draw(parameter)
                yield
        finally:
            for parameter, data in zip(learned, deployed, strict=True):
                parameter.data = data
            self._generator = generator
            if generator is not None and state is not None:
                generator.set_state(state)

    def draw(self, parameter: Tensor) -> Tensor:  # noqa: ARG002
        """Return one draw of a learned weight from its posterior.

        Raises:
            UsageError: If there is no posterior.
        """
        raise UsageError(f"{type(self).__name__} has no posterior to draw weights from")

    def latent(self, parameter: Tensor) -> Tensor | None:
        """Return the number behind each element of a learned weight, in its shape; not a copy.

        For a binary weight: the latent weight or natural parameter, whose sign it has, or None.
        For a real weight: the weight itself.
        """
        return None if parameter in self._binary else parameter.detach()

    def diagnostics(self) -> dict[str, float]:
        """Return numbers for the metrics by name; called after every epoch."""
        return {}

    def step_real(self) -> None:
        """Update the parameters that the method does not learn by Adam (Kingma and Ba, ICLR 2015).

        The learning rate is the group's `lr`.
        """
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters and not group["learned"]:
                grads = [cast(Tensor, p.grad) for p in parameters]
                adam_step(parameters, grads, [self.state[p] for p in parameters], lr=group["lr"])

    def task_started(self, context: TaskContext) -> None:
        """Called when a task begins; does nothing by default."""

    def task_ended(self, context: TaskContext) -> None:
        """Called when a task is over; does nothing by default."""
