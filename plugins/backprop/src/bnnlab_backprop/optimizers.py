"""Adam and SGD on latent weights, by torch's own fused kernels.

A binary parameter w keeps a latent weight W; the gradient at w updates W, and w = sign(W)
(Courbariaux, Bengio and David, "BinaryConnect", NeurIPS 2015, algorithm 1). Real parameters are
updated directly.
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from bnnlab.families.latent import LatentOptimizer
from bnnlab.interfaces.elementwise import adam_step, lying_as
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.markers import AtLeast, Decay, Positive, Search


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
        velocities = []
        for parameter, value in zip(parameters, values, strict=True):
            state = self.state[parameter]
            velocity = state["velocity"] if "velocity" in state else torch.zeros_like(value)
            state["velocity"] = lying_as(value, velocity)
            velocities.append(state["velocity"])
        sgd(
            values,
            list(map(lying_as, values, grads)),
            velocities,
            fused=_fused_sgd_is_right(values),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=self.lr_now(group),  # type: ignore[arg-type]  # fused, it takes a tensor
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


def _fused_sgd_is_right(values: list[Tensor]) -> bool:
    """Return whether torch's fused SGD steps these values as its other code does.

    Before 2.15 its code for the CPU leaves most float16 and bfloat16 values as they are, and spoils
    their velocities: pytorch/pytorch issue 191763.
    """
    halves = (torch.float16, torch.bfloat16)
    met = any(value.device.type == "cpu" and value.dtype in halves for value in values)
    return not met or torch.__version__ >= (2, 15)
