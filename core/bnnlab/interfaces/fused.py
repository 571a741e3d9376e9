"""Switch torch's fused encoder off, because it reads weights instead of calling layers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bnnlab.interfaces.signs import is_binary, is_sign


def keep_off_fused_paths(module: nn.Module) -> None:
    """Switch fused paths off in encoders with a binary layer or a sign activation.

    Without gradients, torch's encoders use one kernel, which reads `weight` and ignores the scale
    of a binary layer and the sign. The switch is an attribute, so copies have it too.
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
    """Switch the fused paths of encoders and attention off in this block."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
