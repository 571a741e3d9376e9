"""Adam and SGD on latent weights, by torch's own fused kernels.

A binary parameter w keeps a latent weight W; the gradient at w updates W, and w = sign(W)
(Courbariaux, Bengio and David, "BinaryConnect", NeurIPS 2015, algorithm 1). Real parameters are
updated directly.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from bnnlab.families.latent import LatentOptimizer
from bnnlab.interfaces.elementwise import adam_state, adam_step, lying_as
from bnnlab.interfaces.kernels import MakeFormulas
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.markers import AtLeast, Decay, Positive, Search
from bnnlab_backprop import formulas


class LatentAdam(LatentOptimizer):
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1) on latent weights.

    With `decoupled_decay` d, a weight is multiplied by 1 - lr d before each step, whatever its
    moments are (AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019).

    Args:
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        eps: Added to the square root of the bias-corrected second moment.
        weight_decay: L2 penalty, added to the gradient.
        decoupled_decay: d, how fast weights shrink apart from the gradient, per unit of lr.
        latent: Options of `LatentOptimizer`.
    """

    stackable = True
    capturable = True
    formulas = formulas.adam

    def __init__(
        self,
        model: Model,
        *,
        lr: Annotated[Positive, Search(1e-4, 1e-1)] = 0.001,
        beta1: Decay = 0.9,
        beta2: Decay = 0.999,
        eps: Positive = 1e-8,
        weight_decay: Annotated[float, AtLeast(0)] = 0.0,
        decoupled_decay: Annotated[float, AtLeast(0)] = 0.0,
        latent_clip: Positive | None = 1.0,
        **latent: Any,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            latent_clip=latent_clip,
            settings={
                "betas": (beta1, beta2),
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_decay": decoupled_decay,
            },
            **latent,
        )

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        """Shrink `values`, if asked, and step Adam on them."""
        (beta1, beta2), lr = group["betas"], self.lr_now(group)
        for value in values if group["decoupled_decay"] else ():
            value.mul_(1 - lr * group["decoupled_decay"])
        adam_step(
            values,
            grads,
            [self.state[parameter] for parameter in parameters],
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:
        """Return what `formulas.adam` takes."""
        (beta1, beta2), lr = group["betas"], group["lr"]
        t = float(self.formula_state(parameter)["step"]) + ahead
        decays = group["weight_decay"], 1 - lr * group["decoupled_decay"]
        step, root = lr / (1 - beta1**t), (1 - beta2**t) ** -0.5
        return *decays, beta1, beta2, root, group["eps"], step, self.latent_bound

    def formula_state(self, parameter: Tensor) -> Mapping[str, Tensor]:
        """Return the latent weight and its moments."""
        return adam_state(self.state[parameter]["latent"], self.state[parameter])

    def learn_compiled(self, group: Group, parameters: list[Tensor], grads: list[Tensor]) -> None:
        """Count the step, and make it."""
        for parameter in parameters:
            self.formula_state(parameter)["step"].add_(1)
        super().learn_compiled(group, parameters, grads)

    def count_steps(self, steps: int) -> None:
        """Count steps of all binary weights."""
        for parameter in self.learned():
            self.formula_state(parameter)["step"].add_(steps)


class LatentSGD(LatentOptimizer):
    """SGD with momentum on latent weights: V <- momentum V + g, W <- W - lr V.

    Args:
        momentum: Decay of the velocity.
        weight_decay: L2 penalty, added to the gradient.
        latent: Options of `LatentOptimizer`.
    """

    stackable = True
    capturable = True

    def __init__(
        self,
        model: Model,
        *,
        lr: Annotated[Positive, Search(1e-3, 1.0)] = 0.1,
        momentum: Decay = 0.9,
        weight_decay: Annotated[float, AtLeast(0)] = 0.0,
        latent_clip: Positive | None = 1.0,
        **latent: Any,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            latent_clip=latent_clip,
            settings={"momentum": momentum, "weight_decay": weight_decay},
            **latent,
        )

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        """Step SGD on `values`."""
        states = [self.state[parameter] for parameter in parameters]
        sgd(
            values,
            list(map(lying_as, values, grads)),
            list(map(_velocity, values, states)),
            fused=_fused_sgd_is_right(values),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=self.lr_now(group),  # type: ignore[arg-type]  # fused, it takes a tensor
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    @property
    def formulas(self) -> MakeFormulas:  # type: ignore[override]
        """The equations for one weight."""
        has_momentum = any(group["momentum"] for group in self.learned_groups())
        return formulas.momentum if has_momentum else formulas.descent

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:  # noqa: ARG002
        """Return what `formulas.momentum` takes."""
        return group["weight_decay"], group["momentum"], group["lr"], self.latent_bound

    def formula_state(self, parameter: Tensor) -> Mapping[str, Tensor]:
        """Return the latent weight and its velocity."""
        state = self.state[parameter]
        _velocity(state["latent"], state)
        return state


def _velocity(value: Tensor, state: dict[str, Any]) -> Tensor:
    """Return the velocity of a value, which is made if it is missing."""
    velocity = state["velocity"] if "velocity" in state else torch.zeros_like(value)
    state["velocity"] = lying_as(value, velocity)
    found: Tensor = state["velocity"]
    return found


def _fused_sgd_is_right(values: list[Tensor]) -> bool:
    """Return whether torch's fused SGD steps these values as its other code does.

    Before 2.15 its code for the CPU leaves most float16 and bfloat16 values as they are, and spoils
    their velocities: pytorch/pytorch issue 191763.
    """
    halves = (torch.float16, torch.bfloat16)
    met = any(value.device.type == "cpu" and value.dtype in halves for value in values)
    return not met or torch.__version__ >= (2, 15)
