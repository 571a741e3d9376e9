"""torch's fused encoder reads the weights of layers; those that are not torch's own are called."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bnnlab.interfaces.signs import is_binary, is_sign


def keep_off_fused_paths(module: nn.Module) -> None:
    """Let torch's encoders call their layers where one is binary or an activation is a sign.

    Without gradients they compute in one kernel, which reads `weight` and knows neither the scale
    of a binary layer nor a sign. What forbids it is an attribute, so that copies have it as well.
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
    """Let torch's encoders and attention call their layers, binary or not, for a while."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
