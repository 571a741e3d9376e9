"""What a conversion made binary, what it left real, and why."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnnlab.interfaces.conversion import Conversion, Part
from bnnlab.interfaces.signs import binary_parameters
from bnnlab.nn.layers import WEIGHT_LAYERS

TABLES = (nn.Embedding, nn.EmbeddingBag)


def weights_of(part: nn.Module) -> list[Tensor]:
    """Return the parameters of two dimensions or more that are a part's own."""
    own = [*part.parameters(recurse=False)]
    if parametrize.is_parametrized(part):
        own += part.get_submodule("parametrizations").parameters()
    return [parameter for parameter in own if parameter.ndim > 1]


def parts_with_weights(module: nn.Module) -> dict[nn.Module, str]:
    """Return the parts that have weights of their own, with their names."""
    return {
        part: name
        for name, part in module.named_modules()
        if weights_of(part) or isinstance(part, WEIGHT_LAYERS)
        if "parametrizations" not in name.split(".")
    }


def report(
    module: nn.Module,
    kinds: Mapping[str, str],
    reasons: Mapping[str, str],
    signs: Iterable[str],
    checked: bool,
) -> Conversion:
    """Return what became of a module's parts, by their `kinds` before and the `reasons` to stay."""
    modules, signed = dict(module.named_modules()), set(binary_parameters(module).values())
    counted: set[Tensor] = set()
    binary, real = [], []
    for name, kind in kinds.items():
        own = weights_of(modules[name])
        count = sum(p.numel() for p in own if p not in counted)
        counted.update(own)
        if any(p in signed for p in own):
            binary.append(Part(name, kind, count))
        else:
            real.append(Part(name, kind, count, reasons[name]))
    return Conversion(tuple(binary), tuple(real), tuple(signs), checked)
