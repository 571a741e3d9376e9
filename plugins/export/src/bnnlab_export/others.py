"""Layers of others: each may say of which known layers it is made, by a method `exported_as`."""

from copy import deepcopy

from torch import nn

from bnnlab.errors import UsageError, explain
from bnnlab.interfaces.model import Model
from bnnlab_export.table import is_changed

Replaced = dict[nn.Module, nn.Module]
"""What takes the place of each module; often it is itself."""


def in_known_layers(model: Model) -> Model:
    """Return a model with what `exported_as` returns, in the place of each layer that has it.

    Raises:
        UsageError: If a layer cannot say what it is.
    """
    if not any(map(_says, model.modules())):
        return model
    copied = deepcopy(model)
    _replace(copied, "", {})
    return copied.eval()


def _replace(module: nn.Module, path: str, replaced: Replaced) -> None:
    """Replace the parts of a module; one that is there twice stays one."""
    for name, part in module._modules.items():
        if part is None:
            continue
        place = f"{path}.{name}" if path else name
        if part not in replaced:
            replaced[part] = _exported_as(part, place) if _says(part) else part
            _replace(replaced[part], place, replaced)
        module._modules[name] = replaced[part]


def _says(module: nn.Module) -> bool:
    """Return whether `exported_as` holds for a module: no later class computes something else."""
    said = ({"exported_as", "forward"} & vars(kind).keys() for kind in type(module).__mro__)
    return "exported_as" in next(filter(None, said), ()) and not is_changed(module)


def _exported_as(layer: nn.Module, place: str) -> nn.Module:
    try:
        made = layer.exported_as()  # type: ignore[operator]
    except Exception as error:  # it is foreign code
        made = explain(error)
    if isinstance(made, nn.Module):
        return made
    raise UsageError(
        f"{place!r} ({type(layer).__name__}) cannot be exported: its exported_as must return a "
        f"module, and there was: {made}."
    )
