"""The optimizer interface, and the family that keeps a latent weight per binary weight."""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.model import Model
from bnnlab.rule import LearningRule
from bnnlab.stream import Task

Group = dict[str, Any]


@dataclass(frozen=True)
class TaskContext:
    """What an optimizer is told at a task's start and end.

    Attributes:
        task: The task, with its training data.
        model: The model being trained.
        rule: The rule that trains it.
        batch_size: Examples per step.
        steps: Optimizer steps in this task, all epochs together.
    """

    task: Task
    model: Model
    rule: LearningRule
    batch_size: int
    steps: int


class Optimizer(torch.optim.Optimizer):
    """Turns gradients into the next weights; everything but the deployed weights is its state.

    It has two parameter groups: the binary parameters (`group["binary"]` is true) and the real
    ones, which may have a learning rate of their own. After `step` every binary parameter is
    exactly -1 or +1.

    Args:
        model: Its parameters are optimised; which of them are binary is the model's to say.
        lr: Learning rate of the binary parameters.
        real_lr: Learning rate of biases, norms and scales; `lr` if None.
        settings: What a subclass keeps in its groups beside `lr` and `binary`.

    Raises:
        ValueError: If a binary parameter holds anything but -1 and +1.
    """

    # torch shields these from its compiler, which it imports at their first call: seconds at the
    # start of every run. Optimizers are not compiled here, so the bare functions do.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    def __init__(
        self,
        model: Model,
        *,
        lr: float,
        real_lr: float | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        binary = model.binary_parameters()
        ids = {id(parameter) for parameter in binary.values()}
        real = [parameter for parameter in model.parameters() if id(parameter) not in ids]
        for name, parameter in binary.items():
            if not bool((parameter.detach().abs() == 1).all()):
                raise ValueError(f"binary parameter {name!r} holds more than -1 and +1")
        groups: list[Group] = [
            {"params": list(binary.values()), "binary": True},
            {"params": real, "binary": False, "lr": lr if real_lr is None else real_lr},
        ]
        super().__init__(groups, {"lr": lr, **settings})

    @abstractmethod
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step; calls the closure once, or once per weight sample; returns the loss."""

    def predictive(self, n: int) -> Iterator[None]:
        """Write `n` weight draws into the model in turn, for evaluation, then restore it.

        n = 0 is the deployed weights, and all there is without a posterior.

        Raises:
            UsageError: If n > 0 and the optimizer has no posterior.
        """
        if n:
            raise UsageError(f"{type(self).__name__} has no posterior to draw {n} weights from")
        yield

    def task_started(self, context: TaskContext) -> None:
        """Hear that a task begins; nothing by default."""

    def task_ended(self, context: TaskContext) -> None:
        """Hear that a task is over; nothing by default."""


class LatentOptimizer(Optimizer):
    """A method that updates a latent weight per binary weight, through a straight-through sign.

    The gradient at the binary weight is given to the latent weight unchanged (Hinton, 2012;
    Courbariaux, Bengio and David, "BinaryConnect", NeurIPS 2015), the latent weight is updated,
    and the model gets its sign. Real parameters are updated by the same method, directly.

    A latent weight starts with its binary weight's sign and a size uniform in (0, latent_init).

    Args:
        model: As in `Optimizer`.
        generator: Draws the sizes of the latent weights.
        lr: As in `Optimizer`.
        real_lr: As in `Optimizer`.
        latent_init: Largest size of a fresh latent weight.
        latent_clip: Latent weights are kept in [-latent_clip, latent_clip]; None for no bound.
        gradient_clip: The gradient's norm over all parameters is cut to this; None for no bound.
        settings: As in `Optimizer`.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        lr: float,
        real_lr: float | None = None,
        latent_init: float = 0.05,
        latent_clip: float | None = None,
        gradient_clip: float | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(model, lr=lr, real_lr=real_lr, settings=settings)
        self.latent_clip, self.gradient_clip = latent_clip, gradient_clip
        for parameter in self.param_groups[0]["params"]:
            size = torch.rand(parameter.shape, generator=generator) * latent_init
            self.state[parameter]["latent"] = parameter.detach() * size.to(parameter)

    @abstractmethod
    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        """Update `values` in place: latent weights in a binary group, parameters in a real one.

        Args:
            group: The parameter group, with its settings.
            parameters: Keys of `self.state`.
            values: The tensors to update, in the same order.
            grads: Their gradients.
        """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step: evaluate, update the latent weights, give the model their signs."""
        loss = closure()
        if self.gradient_clip is not None:
            every = [p for group in self.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(every, self.gradient_clip)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            grads = [cast(Tensor, p.grad) for p in parameters]
            if not group["binary"]:
                self.update(group, parameters, parameters, grads)
                continue
            latents = [self.state[p]["latent"] for p in parameters]
            self.update(group, parameters, latents, grads)
            self.write(parameters, latents)
        return loss

    def write(self, parameters: Sequence[Tensor], latents: Sequence[Tensor]) -> None:
        """Bound the latent weights and give the model their signs."""
        for parameter, latent in zip(parameters, latents, strict=True):
            if self.latent_clip is not None:
                latent.clamp_(-self.latent_clip, self.latent_clip)
            torch.copysign(torch.ones_like(latent[:1]), latent, out=parameter)
