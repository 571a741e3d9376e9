"""Keep torch's fused encoder from reading the weights of binary layers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bnnlab.interfaces.signs import is_binary, is_sign


def keep_off_fused_paths(module: nn.Module) -> None:
    """Make torch's encoders call their layers, if one is binary or an activation is a sign.

    Without gradients torch computes an encoder in one fused kernel. This kernel reads `weight`; it
    knows neither the scale of a binary layer nor a sign activation. An attribute of the encoder
    switches it off, so copies have it off too.
    """
    for part in module.modules():
        if not isinstance(part, nn.TransformerEncoderLayer | nn.TransformerEncoder):
            continue
        if not any(is_binary(each) or is_sign(each) for each in part.modules()):
            continue
        if isinstance(part, nn.TransformerEncoderLayer):
            part.activation_relu_or_gelu = 0
        else:
            part.use_nested_tensor = part.enable_nested_tensor = False


@contextmanager
def fused_paths_off() -> Iterator[None]:
    """Make torch's encoders and attention call all their layers, for a while."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
