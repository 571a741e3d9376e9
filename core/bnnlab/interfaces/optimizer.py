"""The optimizer interface."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.guards.module_state import memory_kept
from bnnlab.interfaces.consistency import ConsistentOptimizer
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.elementwise import adam_step
from bnnlab.interfaces.kernels import Compilable
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer_state import Group as Group
from bnnlab.markers import Positive


class Optimizer(ConsistentOptimizer, Compilable):
    """Turns gradients into the next weights. Its state is everything but the deployed weights.

    A subclass implements `step`, after which every binary parameter is exactly -1 or +1. It
    overrides `latent` if it keeps something behind a weight, `draw` if it has a posterior, and
    `task_started`, `task_ended` and `diagnostics` where it needs them.

    It has two parameter groups. The first holds the weights that the method learns
    (`group["learned"]` is true): the binary parameters (`group["binary"]`), or the `weights`
    that a subclass names. The second holds the other parameters, which are real. A subclass may
    split both.

    `self.state[parameter]` may hold tensors of any shape, also in lists and dicts. They move with
    the parameter to another device or dtype. `state_dict()` holds them and the generator's state.

    Args:
        model: The model whose parameters are optimised. It says which of them are binary.
        lr: Learning rate.
        real_lr: Learning rate of biases, norms and scales. None: the same as lr.
        settings: Settings of a subclass that are kept in each group, like `lr`.
        weights: The parameters of the first group; the binary ones if None.
        generator: Source of random numbers during training; None if the method draws none.

    Attributes:
        test_draws: Weight draws that an evaluation averages over; 0 for the deployed weights.
        takes_scales: Whether it writes the scales of layers whose scale follows latent weights.
        rates: The settings in groups that the schedule of a run multiplies in each step.

    Raises:
        ValueError: If a binary parameter holds other values than -1 and +1.
        UsageError: If a scale follows latent weights, and the optimizer does not write it.
    """

    test_draws = 0
    takes_scales = False
    rates: Sequence[str] = ("lr",)

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
        if not self.takes_scales and any(map(follows_latents, model.modules())):
            raise UsageError(
                f"the scale of a layer follows latent weights (scale 'latent'), and "
                f"{type(self).__name__} writes none: take another scale, such as 'learned', or an "
                "optimizer with latent weights, such as adam"
            )
        learned = dict.fromkeys(binary.values() if weights is None else weights)  # tied: once
        rest = [parameter for parameter in model.parameters() if parameter not in learned]
        real_lr = lr if real_lr is None else real_lr
        groups: list[Group] = [
            {"params": [*learned], "learned": True, "binary": weights is None},
            {"params": rest, "learned": False, "binary": False, "lr": real_lr},
        ]
        super().__init__(model, groups, {"lr": lr, **settings})
        self._generator = generator

    @abstractmethod
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step; return the loss, a scalar.

        Args:
            closure: Leaves gradients in `.grad` and returns the loss. It switches autograd on
                itself (`torch.enable_grad`). Call it once, or once per weight draw.
        """

    def check_rates(self, factor: float) -> None:
        """Refuse a factor that takes a learning rate beyond its bounds; by default there are none.

        Raises:
            UsageError: If a rate of a group, times the factor, is too large; with the bound.
        """

    def predictive(self, n: int) -> Iterator[None]:
        """Write n weight draws into the model, one after another, for evaluation; then restore it.

        It yields after each draw. The generator is restored too, so an evaluation changes nothing
        in training.

        Args:
            n: The number of draws; 0 to yield once with the deployed weights.

        Raises:
            UsageError: If n > 0 and the optimizer has no posterior.
        """
        if n == 0:
            yield
            return
        if type(self).draw is Optimizer.draw:
            raise UsageError(f"{type(self).__name__} has no posterior to draw {n} weights from")
        self._synchronize()
        learned = [parameter for parameter in self.learned() if parameter.requires_grad]
        generator = self._generator
        state = None if generator is None else generator.get_state()
        try:
            for _ in range(n):
                with memory_kept(learned):
                    for parameter in learned:
                        parameter.data = self.draw(parameter)
                    yield
        finally:
            self._generator = generator
            if generator is not None and state is not None:
                generator.set_state(state)

    def draw(self, parameter: Tensor) -> Tensor:  # noqa: ARG002
        """Return one draw of a learned weight from its posterior.

        Raises:
            UsageError: If there is no posterior.
        """
        raise UsageError(f"{type(self).__name__} has no posterior to draw weights from")

    def predicts_by(self) -> str:
        """Return by which weights an evaluation predicts, in words: they are in the protocol."""
        draws = self.test_draws
        return f"the mean of {draws} weight draws" if draws else "the deployed weights"

    def diagnostics(self) -> dict[str, float]:
        """Return numbers for the metrics, by name. A run calls it after every epoch."""
        return {}

    def step_real(self) -> None:
        """Update the parameters that the method does not learn, by Adam with the group's `lr`.

        Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
        """
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters and not group["learned"]:
                grads, lr = [cast(Tensor, p.grad) for p in parameters], self.lr_now(group)
                adam_step(parameters, grads, [self.state[p] for p in parameters], lr=lr)

    def task_started(self, context: TaskContext) -> None:
        """Prepare for a task before its first step; nothing by default."""

    def task_ended(self, context: TaskContext) -> None:
        """Finish a task after its last step; nothing by default."""


def follows_latents(part: Any) -> bool:
    """Return whether a module declares that its scale follows the latent weights behind it."""
    return bool(getattr(part, "follows_latents", False))
