"""What all binary layers share: signs for weights, a scale, a real bias."""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bnnlab.interfaces.signs import check_loaded, leaves_torch, random_signs, sign

Scale = Literal["none", "fan-in", "learned", "latent"]


class BinaryLayer(nn.Module):
    """Base class of the binary layers, in front of a weight layer of torch.

    Each weight is -1 or +1. The layer's sums are multiplied by a scale, and a real bias is added.
    """

    binary_names = ("weight",)
    weight: Tensor
    bias: Any  # Tensor or None; torch types it in two ways
    scale: Tensor | None
    fixed_scale: float

    @classmethod
    def take_over(cls, layer: nn.Module, scale: Scale) -> None:
        """Make a real layer binary, with the signs of its weights.

        The layer and its parameters stay the same objects. So hooks, modes, frozen parameters and
        shared parameters stay as they were.
        """
        layer.__class__ = cls
        assert isinstance(layer, BinaryLayer)
        layer._give_scale(scale)
        layer.weight.data.copy_(sign(layer.weight.data))

    def _make_binary(self, scale: Scale, generator: torch.Generator | None) -> None:
        self._give_scale(scale)
        self.weight = nn.Parameter(random_signs(tuple(self.weight.shape), generator))

    def _give_scale(self, scale: Scale) -> None:
        if scale not in get_args(Scale):
            raise ValueError(f"scale {scale!r}: choose from {get_args(Scale)}")
        outputs, fan_in = self._sizes()
        inverse_root = 1 / math.sqrt(fan_in or 1)
        start = self.weight.new_full((outputs,), inverse_root)
        if scale == "latent":
            self.register_buffer("scale", start)
        else:
            learned = nn.Parameter(start, self.weight.requires_grad)
            self.register_parameter("scale", learned if scale == "learned" else None)
        self.fixed_scale = inverse_root if scale == "fan-in" else 1.0

    def _sizes(self) -> tuple[int, float]:
        """Return the number of outputs (or output channels), and the products per sum."""
        return len(self.weight), self.weight[0].numel()

    @property
    def follows_latents(self) -> bool:
        """Whether the scale is the mean size of latent weights, which an optimizer writes."""
        return "scale" in self._buffers

    @torch.no_grad()
    def follow(self, latent: Tensor) -> None:
        """Take the mean size of the latent weights of each output as the scale, if it is `latent`.

        Source: Rastegari et al., "XNOR-Net", ECCV 2016, eq. 6.
        """
        if self.follows_latents and self.scale is not None:
            self.scale.copy_(self._by_output(latent.abs()).flatten(1).mean(1))

    def _by_output(self, weight: Tensor) -> Tensor:
        """Return a weight with the outputs in its first dimension."""
        return weight

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        check_loaded(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)

    def reset_parameters(self) -> None:
        """Set the bias to zero; the constructor draws the signs."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _scale_and_shift(self, sums: Tensor, dims: int = 0) -> Tensor:
        """Scale sums `(..., outputs)`, with `dims` more dimensions behind it, and add the bias.

        Other programs would multiply the weights by the scale, and add up rounded numbers: a sum of
        0 would be one no more. What is clamped in between keeps them from it, and changes nothing.
        """
        if leaves_torch():
            largest = torch.finfo(sums.dtype).max
            sums = sums.clamp(-largest, largest)
        shape = [-1] + [1] * dims
        y = sums * (self.fixed_scale if self.scale is None else self.scale.view(shape))
        return y if self.bias is None else y.add(self.bias.view(shape))
