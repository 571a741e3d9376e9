"""Which layers of a module become binary, and why the others stay real."""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence

from torch import Tensor, fx, nn

from bnnlab.conversion.obstacles import obstacle, shared_with_real
from bnnlab.conversion.report import TABLES, parts_with_weights
from bnnlab.conversion.selfcheck import calls_of
from bnnlab.errors import UsageError
from bnnlab.interfaces.signs import is_binary
from bnnlab.nn.layers import BINARY, WEIGHT_LAYERS, weight_of

Policy = Callable[[str, nn.Module], bool]
"""Takes a layer's name and the layer; returns whether it becomes binary."""


def select(
    module: nn.Module, policy: str | Policy, graph: fx.Graph | None, x: Tensor | None
) -> tuple[dict[nn.Module, str], dict[str, str], bool]:
    """Return which layers of a module become binary.

    Args:
        module: See `bnnlab.binarize`.
        policy: See `bnnlab.binarize`.
        graph: The module's operations; None if they could not be recorded.
        x: Probe inputs; None if there are none.

    Returns:
        The layers that become binary, with their names; why the other parts stay real, by name;
        and whether one of these stays real against the policy.

    Raises:
        ValueError: If no layer is left, or the policy is unknown.
        UsageError: If policy `inner` cannot know which layers are the first and the last.
    """
    if not callable(policy) and policy not in ("inner", "all"):
        raise ValueError(f"policy {policy!r}: choose 'inner', 'all' or a function (name, layer)")
    parts = parts_with_weights(module)
    cannot, calls = _unable(module, parts, graph, x)
    able = {part: name for part, name in parts.items() if name not in cannot}
    by_policy = _left_real(module, policy, graph, able, calls)
    layers = {part: name for part, name in able.items() if name not in by_policy}
    cannot |= shared_with_real(module, layers)
    layers = {part: name for part, name in layers.items() if name not in cannot}
    if not layers:
        who = "the policy" if callable(policy) else f"policy {policy!r}"
        said = "".join(f"; {name or 'it'}: {why}" for name, why in cannot.items())
        raise ValueError(
            f"no weight layer to binarise: {len(able)} of nn.Linear and the convolutions found"
            + (f", all kept real by {who}; try policy='all'" if by_policy else "")
            + said
        )
    missed = any(
        name in cannot and not is_binary(part) and _is_wanted(part, name, policy)
        for part, name in parts.items()
    )
    return layers, by_policy | cannot, missed


def _left_real(
    module: nn.Module,
    policy: str | Policy,
    graph: fx.Graph | None,
    able: Mapping[nn.Module, str],
    calls: Sequence[nn.Module],
) -> dict[str, str]:
    """Return the layers that could become binary but stay real by the policy, with the reason."""
    if callable(policy):
        left = [name for layer, name in able.items() if not policy(name, layer)]
        return dict.fromkeys(left, "the policy leaves it real")
    if policy == "all" or not able:
        return {}
    first, last = _ends(module, graph, able, calls)
    reasons = {able[layer]: "the policy leaves the last layer real" for layer in last}
    return reasons | {able[layer]: "the policy leaves the first layer real" for layer in first}


def _is_wanted(part: nn.Module, name: str, policy: str | Policy) -> bool:
    """Return whether the policy wants a part with weights to become binary."""
    if callable(policy):
        return isinstance(part, WEIGHT_LAYERS) and policy(name, part)
    return not isinstance(part, TABLES)


def _unable(
    module: nn.Module, parts: Mapping[nn.Module, str], graph: fx.Graph | None, x: Tensor | None
) -> tuple[dict[str, str], list[nn.Module]]:
    """Return why parts cannot become binary, by name; and the calls of the others, in order."""
    modules = dict(module.named_modules())
    cannot = {}
    for part, name in parts.items():
        parent = modules[name.rpartition(".")[0]] if name else None
        why = obstacle(part, parent)
        if why:
            cannot[name] = why
    able = {part: name for part, name in parts.items() if name not in cannot}
    cannot |= shared_with_real(module, able)
    able = {part: name for part, name in able.items() if name not in cannot}
    calls: list[nn.Module] = []
    if x is None:
        read = read_in(module, graph)
    else:
        calls, read = calls_of(module, able, x)
    for layer, name in able.items():
        if weight_of(layer) in read:
            cannot[name] = "its weight is read by others than the layer itself"
        elif x is not None and layer not in calls:
            cannot[name] = "it is not called at test, though others may read its weight"
    return cannot, [layer for layer in calls if able[layer] not in cannot]


def read_in(module: nn.Module, graph: fx.Graph | None) -> set[nn.Parameter]:
    """Return the parameters that recorded operations read without calling their layer."""
    if graph is None or type(module) in BINARY:  # whose own operations read its own weight
        return set()
    nodes = [node for node in graph.nodes if node.op == "get_attr"]
    return {operator.attrgetter(str(node.target))(module) for node in nodes}


def unseen(module: nn.Module, graph: fx.Graph | None, layers: Mapping[nn.Module, str]) -> list[str]:
    """Return the names of layers whose use is unknown: in code that is not recorded nor torch's."""
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
    """Return the layers that come after no other layer, and those that come before none.

    The recorded operations say which layer follows which. Within a part that was kept whole, the
    order of the calls says it.
    """
    nodes = list(graph.nodes) if graph else []
    held = {node: _held(module, node, layers) for node in nodes}
    held = {node: group for node, group in held.items() if group}
    if not held:
        called = _in_order(list(layers), calls)
        return {called[0]}, {called[-1]}
    after: set[fx.Node] = set()  # nodes that use a layer's output
    before: set[fx.Node] = set()  # nodes whose output a layer uses
    for node in nodes:
        if any(source in held or source in after for source in node.all_input_nodes):
            after.add(node)
    for node in reversed(nodes):
        if any(user in held or user in before for user in node.users):
            before.add(node)
    first = {_in_order(group, calls)[0] for node, group in held.items() if node not in after}
    last = {_in_order(group, calls)[-1] for node, group in held.items() if node not in before}
    return first, last


def _held(module: nn.Module, node: fx.Node, layers: Collection[nn.Module]) -> list[nn.Module]:
    """Return the layers in the part that a node calls."""
    if node.op != "call_module":
        return []
    return [part for part in module.get_submodule(str(node.target)).modules() if part in layers]


def _in_order(group: list[nn.Module], calls: Sequence[nn.Module]) -> list[nn.Module]:
    """Return layers in the order of their calls."""
    called = group if len(group) == 1 else [layer for layer in calls if layer in group]
    if not called:
        raise UsageError(
            "policy 'inner' must know which layer is called first, and which last, and the code "
            "does not say: pass input_shape=(...), of one input"
        )
    return called
