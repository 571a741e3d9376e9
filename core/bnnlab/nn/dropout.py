"""Dropout whose masks are model state: the same on every device, and after an interruption."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets inputs to 0 with probability `rate` in training, and divides the others by 1 - rate.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 2014.

    A mask is a function of the module's seed and of how many masks it has drawn, which are buffers.
    So a run repeats and resumes exactly, on any device. `bnnlab.nn.normalization.frozen_statistics`
    leaves the same masks to a second pass over a batch.

    Args:
        rate: From 0 to below 1.
        generator: Draws the seed.
    """

    seed: Tensor
    drawn: Tensor

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("seed", torch.randint(2**31, (), generator=generator))
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with some elements at 0 in training, and `x` itself in evaluation."""
        if not self.training:
            return x
        numbers = torch.arange(x.numel(), device=x.device).view(x.shape)
        noise = _scattered(_scattered(numbers) + _scattered(self.seed ^ _scattered(self.drawn)))
        self.drawn.add_(1)
        return x * (noise >= round(self.rate * 2**32)) / (1 - self.rate)

    def extra_repr(self) -> str:
        """Show the rate when the module is printed."""
        return str(self.rate)


def drawing_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of what the dropout of a model draws from, by the names of its buffers."""
    parts = {name: part for name, part in model.named_modules() if isinstance(part, Dropout)}
    return {
        f"{name}.{key}": buffer.clone()
        for name, part in parts.items()
        for key, buffer in part.named_buffers()
    }


def global_draws_kept(model: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """Let the pass after the block draw what a pass in the block draws from torch's generators.

    Their states are read and set on the host, so that a step could not be recorded on an
    accelerator. There it is not done for models of known modules that draw nothing from them.
    """
    if device.type == "cpu":
        return torch.random.fork_rng([])
    if all(map(_draws_nothing, model.modules())):
        return nullcontext()
    return torch.random.fork_rng([device], device_type=device.type)


_DRAWING = (
    nn.modules.dropout._DropoutNd,
    *(nn.RReLU, nn.MultiheadAttention, nn.RNNBase),
    *(nn.FractionalMaxPool2d, nn.FractionalMaxPool3d),
)


def _draws_nothing(module: nn.Module) -> bool:
    """Return whether it computes by code of torch or of the core that draws nothing globally."""
    code = getattr(type(module).forward, "__module__", "")
    known = code.startswith(("torch.nn.modules.", "bnnlab.")) and "forward" not in vars(module)
    hooked = module._forward_hooks or module._forward_pre_hooks
    return known and not hooked and not isinstance(module, _DRAWING)


def _scattered(x: Tensor) -> Tensor:
    """Return integers from 0 to 2**32 - 1 that look random, each a function of one of `x`."""
    x = x & 0xFFFFFFFF
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF  # below 2**59: no overflow
    return x ^ (x >> 16)
