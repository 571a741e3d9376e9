"""Which layers of a module become binary, and why the others stay real."""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from bnnlab.conversion.report import TABLES, parts_with_weights
from bnnlab.conversion.selfcheck import calls_of
from bnnlab.errors import UsageError
from bnnlab.interfaces.signs import is_binary
from bnnlab.nn.layers import BINARY, WEIGHT_LAYERS, weight_of

Policy = Callable[[str, nn.Module], bool]

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_TAKEN = ("scale", "fixed_scale", "binary_names")


class Selection(NamedTuple):
    """What becomes of the parts with weights.

    Attributes:
        layers: Those that become binary, with their names.
        reasons: Why the others stay real, by name.
        missed: Whether some stay real against the policy.
    """

    layers: dict[nn.Module, str]
    reasons: dict[str, str]
    missed: bool


def select(
    module: nn.Module, policy: str | Policy, graph: fx.Graph | None, x: Tensor | None
) -> Selection:
    """Return which layers of a module become binary.

    Args:
        module: See `bnnlab.binarize`.
        policy: See module.
        graph: The module's operations, None if they could not be recorded.
        x: Probe inputs, None if there are none.

    Raises:
        ValueError: If no layer is left, or the policy is unknown.
        UsageError: If `inner` cannot know which layers are the first and the last.
    """
    if not callable(policy) and policy not in ("inner", "all"):
        raise ValueError(f"policy {policy!r}: choose 'inner', 'all' or a function (name, layer)")
    parts = parts_with_weights(module)
    cannot, calls = _unable(module, parts, graph, x)
    able = {part: name for part, name in parts.items() if name not in cannot}
    kept: dict[str, str] = {}
    if callable(policy):
        kept = {n: "the policy leaves it real" for p, n in able.items() if not policy(n, p)}
    elif policy == "inner" and able:
        first, last = _ends(module, graph, able, calls)
        kept |= {able[layer]: "the policy leaves the last layer real" for layer in last}
        kept |= {able[layer]: "the policy leaves the first layer real" for layer in first}
    layers = {part: name for part, name in able.items() if name not in kept}
    cannot |= _shared(module, layers)
    layers = {part: name for part, name in layers.items() if name not in cannot}
    if not layers:
        who = "the policy" if callable(policy) else f"policy {policy!r}"
        said = "".join(f"; {name or 'it'}: {why}" for name, why in cannot.items())
        raise ValueError(
            f"no weight layer to binarise: {len(able)} of nn.Linear and the convolutions found"
            + (f", all kept real by {who}; try policy='all'" if kept else "")
            + said
        )
    missed = any(
        isinstance(part, WEIGHT_LAYERS) and policy(name, part)
        if callable(policy)
        else not isinstance(part, TABLES)
        for part, name in parts.items()
        if name in cannot and not is_binary(part)
    )
    return Selection(layers, kept | cannot, missed)


def _unable(
    module: nn.Module, parts: Mapping[nn.Module, str], graph: fx.Graph | None, x: Tensor | None
) -> tuple[dict[str, str], list[nn.Module]]:
    """Return why parts cannot become binary, by name, and the others in order of their calls."""
    modules = dict(module.named_modules())
    cannot = {}
    for part, name in parts.items():
        parent = modules[name.rpartition(".")[0]] if name else None
        if why := _obstacle(part, parent):
            cannot[name] = why
    able = {part: name for part, name in parts.items() if name not in cannot}
    cannot |= _shared(module, able)
    able = {part: name for part, name in able.items() if name not in cannot}
    calls, read = ([], read_in(module, graph)) if x is None else calls_of(module, able, x)
    for layer, name in able.items():
        if weight_of(layer) in read:
            cannot[name] = "its weight is read by others than the layer itself"
        elif x is not None and layer not in calls:
            cannot[name] = "it is not called at test, though others may read its weight"
    return cannot, [layer for layer in calls if able[layer] not in cannot]


def _obstacle(part: nn.Module, parent: nn.Module | None) -> str:
    """Return why a part with weights cannot become binary; empty if it can."""
    if is_binary(part):
        return "it is binary already"
    if isinstance(parent, nn.MultiheadAttention):
        return "attention reads its weight and does not call it"
    if isinstance(part, TABLES):
        return "an embedding is looked up, not multiplied"
    if parametrize.is_parametrized(part):
        return "its weight is computed by a parametrization, which can be removed first"
    if type(part) not in BINARY:
        base = next((each.__name__ for each in WEIGHT_LAYERS if isinstance(part, each)), "")
        return f"a subclass of {base} may do more" if base else "no linear or convolutional layer"
    if "forward" in vars(part):
        return "its forward was replaced on the layer itself"
    weight = part._parameters.get("weight")
    if weight is None:
        sources = ", ".join(name for name in part._parameters if name.startswith("weight"))
        return f"its weight is computed from {sources}: remove the norm or the pruning first"
    if weight.is_nested or weight.layout is not torch.strided:
        kind = "nested" if weight.is_nested else weight.layout
        return f"its weights are {kind}, and only dense ones can become signs"
    if not weight.numel():
        return "it has no weights"
    if weight.dtype not in _FLOATS:
        return f"its weights are {weight.dtype}"
    if weight.is_meta:
        return "its weights are on the meta device"
    if any(
        step == 0 and size > 1 for step, size in zip(weight.stride(), weight.shape, strict=True)
    ):
        return "its weights share memory among themselves"
    taken = [each for each in _TAKEN if hasattr(part, each)]
    return f"it has a {taken[0]!r} of its own, a binary layer's word" if taken else ""


def _shared(module: nn.Module, layers: Mapping[nn.Module, str]) -> dict[str, str]:
    """Return the layers whose weight something has that stays real, by name, and why."""
    holders: dict[int, list[tuple[nn.Module, str, Tensor]]] = {}
    for prefix, part in module.named_modules():
        for key, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is not None and tensor.numel() and _has_memory(tensor):
                name = f"{prefix}.{key}" if prefix else key
                holders.setdefault(_storage(tensor), []).append((part, name, tensor))
    real: dict[str, str] = {}
    while True:
        news = {}
        for layer, name in layers.items():
            weight = weight_of(layer)
            for part, other, tensor in holders.get(_storage(weight), []):
                tied = tensor is weight and part in layers and layers[part] not in real
                if name not in real and not tied and _overlap(weight, tensor):
                    how = "is" if tensor is weight else "shares its memory with"
                    news[name] = f"its weight {how} {other!r}, which stays real"
        if not news:
            return real
        real |= news


def _has_memory(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_meta


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Return whether the places of one tensor in memory reach into those of another."""
    (begin, end), (start, stop) = map(_reach, (one, other))
    return begin < stop and start < end


def _reach(tensor: Tensor) -> tuple[int, int]:
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    begin = tensor.data_ptr()
    return begin, begin + (last + 1) * tensor.itemsize


def read_in(module: nn.Module, graph: fx.Graph | None) -> set[nn.Parameter]:
    """Return the parameters that recorded operations read without calling their layer."""
    if graph is None or type(module) in BINARY:  # whose own operations read its own weight
        return set()
    nodes = [node for node in graph.nodes if node.op == "get_attr"]
    return {operator.attrgetter(str(node.target))(module) for node in nodes}


def unseen(module: nn.Module, graph: fx.Graph | None, layers: Mapping[nn.Module, str]) -> list[str]:
    """Return the names of layers in code that is not recorded, nor torch's: who knows its use?"""
    if graph is None:
        return [name for name in layers.values() if name]
    names = []
    for node in graph.nodes:
        held = _held(module, node, layers)
        whole = module.get_submodule(str(node.target)) if held else module
        if whole not in layers and not type(whole).__module__.startswith("torch.nn."):
            names += [layers[layer] for layer in held]
    return names


def _ends(
    module: nn.Module,
    graph: fx.Graph | None,
    layers: Collection[nn.Module],
    calls: Sequence[nn.Module],
) -> tuple[set[nn.Module], set[nn.Module]]:
    """Return the layers that no other comes before, and those that none comes after.

    Recorded operations say what follows what; within what is kept whole the calls say it.

    Raises:
        UsageError: If there are no calls, and several layers in what is kept whole.
    """
    held = {node: _held(module, node, layers) for node in graph.nodes} if graph else {}
    held = {node: group for node, group in held.items() if group}
    if not held:
        return {_one(list(layers), calls, 0)}, {_one(list(layers), calls, -1)}
    assert graph is not None
    behind: set[fx.Node] = set()
    ahead: set[fx.Node] = set()
    for node in graph.nodes:
        if any(each in held or each in behind for each in node.all_input_nodes):
            behind.add(node)
    for node in reversed(graph.nodes):
        if any(each in held or each in ahead for each in node.users):
            ahead.add(node)
    first = {_one(group, calls, 0) for node, group in held.items() if node not in behind}
    last = {_one(group, calls, -1) for node, group in held.items() if node not in ahead}
    return first, last


def _held(module: nn.Module, node: fx.Node, layers: Collection[nn.Module]) -> list[nn.Module]:
    if node.op != "call_module":
        return []
    return [part for part in module.get_submodule(str(node.target)).modules() if part in layers]


def _one(group: list[nn.Module], calls: Sequence[nn.Module], which: int) -> nn.Module:
    """Return the first (0) or the last (-1) of these layers to be called."""
    called = group if len(group) == 1 else [layer for layer in calls if layer in group]
    if not called:
        raise UsageError(
            "policy 'inner' must know which layer is called first, and which last, and the code "
            "does not say: pass input_shape=(...), of one input"
        )
    return called[which]
