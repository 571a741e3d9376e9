"""Layers of others: each may say of which known layers it is made, by a method `exported_as`.

What it says is compared with what the layer itself computes, on the values that reach it.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from bnnlab.errors import BnnlabError, UsageError, explain, kind_of
from bnnlab.guards import ambient
from bnnlab.guards.module_state import generators_kept
from bnnlab.interfaces.model import Model
from bnnlab_export.acceptance import CLOSE, DRAWS, are_equal, in_float64
from bnnlab_export.table import is_changed

DEEPEST = 20
"""So often may what `exported_as` returns have layers that have it, too."""

Layers = Mapping[str, nn.Module]
"""Layers that have `exported_as`, by their places."""
Replaced = dict[nn.Module, nn.Module]
"""What takes the place of each module; often it is itself."""
Within = Mapping[nn.Module, str]
"""The layers whose `exported_as` returned what is being looked at, with their places."""


def saying(model: Model) -> dict[str, nn.Module]:
    """Return the layers that have `exported_as`, by all their places; none within another one.

    Raises:
        UsageError: If it is the model that has it.
    """
    if _says(model):
        raise UsageError(
            "the model cannot be exported: exported_as is for the layers of a model, and the model "
            "itself has it. Give it to the layers that are not known."
        )
    found: dict[str, nn.Module] = {}
    for place, part in model.named_modules(remove_duplicate=False):
        if _says(part) and not said_by(found, place):
            found[place] = part
    return found


def said_by(layers: Layers, place: str) -> str:
    """Return `CLASS.exported_as` of the layer that said what is at a place; empty if none did."""
    for its, layer in layers.items():
        if f"{place}.".startswith(f"{its}."):
            return f"{type(layer).__name__}.exported_as"
    return ""


def name(place: str, module: nn.Module) -> str:
    """Return what messages call a module."""
    return f"{place!r} ({type(module).__name__})"


def in_known_layers(model: Model, layers: Layers, batches: Sequence[Tensor]) -> Model:
    """Return a model with what `exported_as` returns, in the place of each layer that has it.

    Args:
        model: In evaluation mode. It stays as it is.
        layers: Those that `saying` found.
        batches: Inputs of the model, on which both are compared.

    Raises:
        UsageError: If a layer cannot say what it is, or computes something else.
    """
    if not layers:
        return model
    made, probed = deepcopy(model), deepcopy(model)
    _replace(made, "", {}, {})
    made.eval()
    for place in {layer: place for place, layer in layers.items()}.values():
        compared = partial(_compared, place, layers[place], made.get_submodule(place))
        probed.get_submodule(place).forward = compared  # also for who calls `forward` itself
    try:
        for batch in batches:
            probed(batch)
    except BnnlabError:
        raise
    except Exception as error:  # a layer may fail on its own
        raise UsageError(f"the model cannot be exported: it fails: {explain(error)}.") from error
    return made


def _replace(module: nn.Module, path: str, replaced: Replaced, within: Within) -> None:
    """Replace the parts of a module; one that is there twice stays one."""
    for key, part in module._modules.items():
        if part is None:
            continue
        place = f"{path}.{key}" if path else key
        if part in within or len(within) > DEEPEST:
            first, at = next(iter(within.items()))
            raise UsageError(
                f"{name(at, first)} cannot be exported: what its exported_as returned has the "
                "layer itself in it, or layers like it without end."
            )
        if part not in replaced:
            says = _says(part)
            replaced[part] = _exported_as(part, place) if says else part
            _replace(replaced[part], place, replaced, {**within, part: place} if says else within)
        module._modules[key] = replaced[part]


def _says(module: nn.Module) -> bool:
    """Return whether `exported_as` holds for a module: no later class computes something else."""
    homes = (vars(module), *map(vars, type(module).__mro__))
    said = ({"exported_as", "forward"} & home.keys() for home in homes)
    return "exported_as" in next(filter(None, said), ()) and not is_changed(module)


def _exported_as(layer: Any, place: str) -> nn.Module:
    its = f"{name(place, layer)} cannot be exported: its exported_as"
    try:
        with ambient.kept(f"exported_as of {name(place, layer)}"), generators_kept(layer):
            made = layer.exported_as()
    except Exception as error:  # it is foreign code
        raise UsageError(f"{its} raised {explain(error)}.") from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"{its} must return a module, and there was: {made!r}.")
    try:
        [*made.modules()]
    except AttributeError as error:
        raise UsageError(f"{its} returned a module without super().__init__().") from error
    return made


def _compared(place: str, layer: nn.Module, made: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
    """Return what a layer computes, compared with what its `exported_as` returned."""
    refused = f"{name(place, layer)} cannot be exported:"
    its = f"{refused} what its exported_as returned"
    expected, again = (_called(layer, Tensor.clone, args, kwargs) for _ in range(2))
    if isinstance(expected, Tensor) and not are_equal(expected, again):
        raise UsageError(f"{refused} {DRAWS}.")
    try:
        found = _called(made, Tensor.clone, args, kwargs)
    except Exception as error:  # it is foreign code
        raise UsageError(f"{its} fails on what reaches the layer: {explain(error)}.") from error
    if not isinstance(expected, Tensor) or _kind(found) != _kind(expected):
        raise UsageError(
            f"{its} gives {_kind(found)}, and the layer {_kind(expected)}: both must give one "
            "tensor of the same kind."
        )
    if found.equal(expected):
        return expected
    differ = _differ(found, expected)
    if bool(differ.any()) and not _agree_in_float64(layer, made, differ, args, kwargs):
        largest = float((found.double() - expected.double())[differ].abs().max())
        raise UsageError(
            f"{its} computes something else: {int(differ.sum()):,} of {differ.numel():,} numbers "
            f"differ from the layer's, by up to {largest:.3g}."
        )
    return expected


def _agree_in_float64(
    layer: nn.Module, made: nn.Module, differ: Tensor, args: Any, kwargs: Any
) -> bool:
    """Return whether what differs is the same where far less is rounded."""
    try:
        expected, found = (
            _called(in_float64(each), _double, args, kwargs) for each in (layer, made)
        )
    except Exception:  # a layer may know float32 alone: then nothing explains what differs
        return False
    return not bool((_differ(found, expected) & differ).any())


def _called(module: nn.Module, change: Callable[[Tensor], Tensor], *given: Any) -> Any:
    """Call a module with its arguments, each tensor changed, so that it can write into none."""
    args, kwargs = fx.node.map_aggregate(
        given, lambda it: change(it) if isinstance(it, Tensor) else it
    )
    return module(*args, **kwargs)


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x.clone()


def _kind(found: Any) -> str:
    is_tensor = isinstance(found, Tensor)
    return f"{kind_of(found)} on {found.device}" if is_tensor else type(found).__name__


def _differ(found: Tensor, expected: Tensor) -> Tensor:
    """Return which numbers differ by more than 1e-4 of themselves, and of the largest one."""
    its, mine = (x if x.is_floating_point() else x.double() for x in (expected, found))
    largest = float(its.nan_to_num(0, 0, 0).abs().max()) if its.numel() else 0
    return ~torch.isclose(mine, its, CLOSE, CLOSE * largest, equal_nan=True)
