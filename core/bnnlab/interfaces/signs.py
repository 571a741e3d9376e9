"""Signs (-1 and +1), and the binary parameters that hold them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError


def leaves_torch() -> bool:
    """Return whether torch records a graph for other programs, as torch.export and onnx do."""
    return _is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]


def _is_exporting() -> bool:
    if hasattr(torch.compiler, "is_exporting"):
        return torch.compiler.is_exporting()
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()  # torch 2.6


def sign(x: Tensor) -> Tensor:
    """Return -1 or +1 by the sign bit, never 0: +0 gives +1 and -0 gives -1.

    Other programs have no `copysign`. For them, x + 1/x is clamped: it is never between -2 and 2,
    and has the sign of x also at -0 and infinity.
    """
    if leaves_torch():
        return (x + x.reciprocal()).clamp(-1, 1)
    return torch.copysign(torch.ones((), dtype=x.dtype, device=x.device), x)


def write_signs(x: Tensor, out: Tensor) -> None:
    """Write the signs of `x`, as `sign` returns them, into a tensor of its shape."""
    torch.copysign(x.new_ones(()), x, out=out)


def random_signs(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Return a float32 tensor of independent, equally likely -1 and +1."""
    return torch.randint(0, 2, shape, generator=generator).mul_(2).sub_(1).float()


def is_binary(part: nn.Module) -> bool:
    """Return whether a module declares binary parameters of its own."""
    return bool(getattr(part, "binary_names", ()))


def is_sign(part: nn.Module) -> bool:
    """Return whether a module declares that its outputs are signs."""
    return bool(getattr(part, "gives_signs", False))


def binary_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the binary parameters of a module and its parts, by name.

    Each part declares its own in a class attribute `binary_names`.
    """
    found = {}
    for prefix, part in module.named_modules():
        for name in getattr(part, "binary_names", ()):
            found[f"{prefix}.{name}" if prefix else name] = getattr(part, name)
    return found


def check_loaded(module: nn.Module, state: Mapping[str, Any], prefix: str) -> None:
    """Check, before a state is loaded, that its values for binary parameters are -1 or +1.

    Args:
        module: A module with binary parameters.
        state: The state that `load_state_dict` was given.
        prefix: The prefix of the module's names in the state.

    Raises:
        UsageError: If there are other values.
    """
    binary = set(binary_parameters(module).values())
    for name, parameter in module.named_parameters(remove_duplicate=False):
        values = state.get(prefix + name)
        if parameter not in binary or not isinstance(values, Tensor) or values.is_meta:
            continue
        dense = values.detach().to_dense()
        if not bool(((dense == 1) | (dense == -1)).all()):
            raise UsageError(
                f"{prefix + name} is binary and cannot be loaded with more than -1 and +1: load "
                "real weights before bnnlab.binarize, or take their signs "
                "(bnnlab.interfaces.signs.sign)"
            )
