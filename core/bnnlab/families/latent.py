"""Optimizers with one latent weight per binary weight."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer, follows_latents
from bnnlab.interfaces.signs import sign
from bnnlab.markers import Positive


class LatentOptimizer(Optimizer):
    """An optimizer that updates a latent weight per binary weight, by a straight-through sign.

    The latent weight gets the gradient at the binary weight unchanged (Hinton, 2012; Courbariaux,
    Bengio and David, "BinaryConnect", NeurIPS 2015). The method updates the latent weight, and the
    binary weight becomes its sign. The same method updates real parameters directly.

    A binary layer whose scale follows the latent weights (`scale="latent"`) gets it with the signs.

    A latent weight starts with its binary weight's sign and a size uniform in (0, latent_init). If
    the model has `initial_latents` with the same signs, it starts with these.

    Args:
        generator: Source of the sizes of the latent weights.
        latent_init: Largest size of a fresh latent weight; sizes are drawn uniformly from 0 on.
        latent_clip: Latent weights are clipped to [-latent_clip, latent_clip]. None: no bound.
        gradient_clip: The gradient's norm over all parameters is clipped to this. None: no bound.
        weights: As in `Optimizer`; real weights are their own latent weights.
    """

    takes_scales = True

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        lr: Positive,
        real_lr: Positive | None = None,
        latent_init: Positive = 0.05,
        latent_clip: Positive | None = None,
        gradient_clip: Positive | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
        weights: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(model, lr=lr, real_lr=real_lr, settings=settings, weights=weights)
        self.latent_clip, self.gradient_clip = latent_clip, gradient_clip
        self._followers: list[Any] = [part for part in model.modules() if follows_latents(part)]
        names: dict[Tensor, str] = {p: name for name, p in model.binary_parameters().items()}
        for parameter in self.learned() if weights is None else ():
            size = torch.rand(parameter.shape, generator=generator) * latent_init
            latent = parameter.detach() * size.to(parameter)
            given = model.initial_latents.get(names[parameter])
            if given is not None and torch.equal(sign(given.to(parameter)), parameter):
                latent = given.to(parameter, copy=True)
                if latent_clip is not None:
                    latent.clamp_(-latent_clip, latent_clip)
            self.state[parameter]["latent"] = latent
        self._write_scales()

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
        """Make one step: evaluate, update the latent weights, write their signs into the model."""
        loss = closure()
        if self.gradient_clip is not None:
            parameters = [p for group in self.param_groups for p in group["params"]]
            if self._members:
                _clip_norms(parameters, self.gradient_clip)
            else:
                torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            grads = [cast(Tensor, p.grad) for p in parameters]
            if self.kernels is not None and group["learned"]:
                self.learn_compiled(group, parameters, grads)
                continue
            if not group["binary"]:
                self.update(group, parameters, parameters, grads)
                continue
            latents = [self.state[p]["latent"] for p in parameters]
            self.update(group, parameters, latents, grads)
            self.write(parameters, latents)
        return loss

    def learn_compiled(self, group: Group, parameters: list[Tensor], grads: list[Tensor]) -> None:
        """Let the kernels update what is learned, and write it."""
        assert self.kernels is not None
        for parameter, grad in zip(parameters, grads, strict=True):
            self.kernels.learn(self, group, parameter, [grad])
        self._write_scales()

    @property
    def latent_bound(self) -> float:
        """The largest size of a latent weight; infinite if there is no bound."""
        return math.inf if self.latent_clip is None else self.latent_clip

    def latent(self, parameter: Tensor) -> Tensor | None:
        """Return the latent weight of a binary parameter; a real parameter itself."""
        latent: Tensor | None = self.state.get(parameter, {}).get("latent")
        return super().latent(parameter) if latent is None else latent

    def write(self, parameters: Sequence[Tensor], latents: Sequence[Tensor]) -> None:
        """Bound the latent weights and write their signs, and scales, into the model."""
        for parameter, latent in zip(parameters, latents, strict=True):
            if self.latent_clip is not None:
                latent.clamp_(-self.latent_clip, self.latent_clip)
            torch.copysign(latent.new_ones(()), latent, out=parameter)
        self._write_scales()

    def _write_scales(self) -> None:
        for layer in self._followers:
            if "latent" in self.state.get(layer.weight, {}):
                layer.follow(self.state[layer.weight]["latent"])


def _clip_norms(parameters: Sequence[Tensor], largest: float) -> None:
    """Do for each of S stacked models what `clip_grad_norm_` does for one."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([grad.view(len(grad), -1).norm(dim=1) for grad in grads]).norm(dim=0)
    factors = (largest / (norms + 1e-6)).clamp(max=1)
    for grad in grads:
        grad.mul_(factors.view(-1, *[1] * (grad.ndim - 1)))
