"""How a module uses its layers: the order of their calls, and what else reads their weights.

Two sources say it: the operations that were recorded, and a run on probe inputs.
"""

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

from bnnlab.conversion.selfcheck import Call, agree, intercepted
from bnnlab.errors import UsageError
from bnnlab.guards.probing import NO_GRADIENTS, TRAINING, run
from bnnlab.interfaces.fused import fused_paths_off
from bnnlab.nn.layers import BINARY, weight_of


def calls_of(
    module: nn.Module, layers: Collection[nn.Module], x: Tensor
) -> tuple[list[nn.Module], set[nn.Parameter]]:
    """Return the layers in the order of their calls at test, and the weights that other code reads.

    To find these, the module is run with wrong weights, where each layer has its true weight only
    while the layer itself runs. If the output changes, at test or in training, other code reads a
    weight.
    """
    calls: list[nn.Module] = []

    def note(layer: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        if layer in layers:  # and no copy of one
            calls.append(layer)
        return forward(*args, **more)

    def show(layer: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        weight = weight_of(layer)
        weight.data.copy_(true[weight])
        try:
            return forward(*args, **more)
        finally:
            _falsify(weight)

    def are_read(weights: set[nn.Parameter]) -> bool:
        try:
            with intercepted(module, [each for each in layers if weight_of(each) in weights], show):
                for weight in weights:
                    _falsify(weight)
                return not all(agree(y, run(module, x, path)) for path, y in usual.items())
        except UsageError:  # a wrong weight was read and made the run fail
            return True
        finally:
            for weight in weights:
                weight.data.copy_(true[weight])

    with fused_paths_off():  # they read weights; `binarize` ends that
        with intercepted(module, layers, note):
            usual = {NO_GRADIENTS: run(module, x, NO_GRADIENTS)}
        usual[TRAINING] = run(module, x, TRAINING)
        true = {weight_of(layer): weight_of(layer).detach().clone() for layer in calls}
        read = {weight for weight in true if are_read({weight})} if are_read({*true}) else set()
    return calls, read


def _falsify(weight: nn.Parameter) -> None:
    """Change the sign and the size of every number of a weight; 0 becomes 1."""
    weight.data.mul_(-3).masked_fill_(weight.data == 0, 1)


def read_in(module: nn.Module, graph: fx.Graph | None) -> set[nn.Parameter]:
    """Return the parameters that recorded operations read without calling their layer."""
    if graph is None or type(module) in BINARY:  # whose own operations read its own weight
        return set()
    nodes = [node for node in graph.nodes if node.op == "get_attr"]
    return {operator.attrgetter(str(node.target))(module) for node in nodes}


def unseen(module: nn.Module, graph: fx.Graph | None, layers: Mapping[nn.Module, str]) -> str:
    """Return the name of a layer that is used in code that is not recorded nor torch's, if any."""
    if graph is None:
        return next(filter(None, layers.values()), "")
    for node in graph.nodes:
        for layer in _held(module, node, layers):
            whole = module.get_submodule(str(node.target))
            if whole is not layer and not type(whole).__module__.startswith("torch.nn."):
                return layers[layer]
    return ""


def ends(
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
    held = {node: group for node in nodes if (group := _held(module, node, layers))}
    if not held:
        called = _in_order(list(layers), calls)
        return {called[0]}, {called[-1]}
    after: set[fx.Node] = set()  # nodes that use a layer's output
    for node in nodes:
        if any(source in held or source in after for source in node.all_input_nodes):
            after.add(node)
    before: set[fx.Node] = set()  # nodes whose output a layer uses
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
