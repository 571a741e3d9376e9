"""Cut any torch module into the chain of segments that local rules work on."""

import logging
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

log = logging.getLogger(__name__)

_CONSTANT = "_tensor_constant"
"""What `torch.fx` calls a tensor that was made while it recorded, before a number."""


def cut(module: nn.Module) -> list[nn.Module]:
    """Return modules that one after the other do what this one does, and share its parameters.

    The module's operations are recorded by `torch.fx`. A cut is possible where a single value is
    passed on, so that residual blocks, parallel branches and attention stay whole; there is one
    wherever a weight layer, or a block with some, begins. A block whose control flow depends on
    values, or that asks whether it is training, is kept whole; so is everything if the module
    itself is of that kind, makes random tensors or takes other arguments.
    Modules are made to work out of place, for a segment must not change what the one before gave
    it.

    Args:
        module: Takes one tensor and returns one.

    Returns:
        At least one segment: an `nn.Sequential` of the module's own parts where they form a
        chain, else an `fx.GraphModule`.
    """
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]
    graph = _record(module)
    if graph is None:
        return [module]
    source = next(iter(graph.nodes))
    segments: list[nn.Module] = []
    begun: list[fx.Node] = []
    for piece in _pieces(graph):
        if _weighs(module, begun) and _weighs(module, piece):
            segments.append(_segment(module, source, begun))
            source, begun = begun[-1], []
        begun = begun + piece
    if not segments:
        return [module]
    return [*segments, _segment(module, source, begun)]


def _record(module: nn.Module) -> fx.Graph | None:
    """Return the module's operations, or None if they do not say all that it does."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        graph, evaluating = (_Tracer().trace(module.train(mode)) for mode in (True, False))
    except Exception as error:  # user code may fail in any way when it is fed with placeholders
        log.info("%s is kept whole: it cannot be traced: %s", type(module).__name__, error)
        return None
    finally:
        for part, training in modes:
            part.training = training
    ops = [node.op for node in graph.nodes]
    texts = [re.sub(_CONSTANT + r"\d+", _CONSTANT, str(each)) for each in (graph, evaluating)]
    pairs = zip(_constants(module, graph), _constants(module, evaluating), strict=False)
    faults = {
        "it does other things in training": texts[0] != texts[1],
        "it makes random tensors": not all(torch.equal(*pair) for pair in pairs),
        "it takes more than one argument": ops.count("placeholder") != 1,
        "it does not return one tensor": not isinstance(graph.output_node().args[0], fx.Node),
    }
    for why in (why for why, is_so in faults.items() if is_so):
        log.info("%s is kept whole: %s", type(module).__name__, why)
        return None
    return graph


def _constants(module: nn.Module, graph: fx.Graph) -> list[Tensor]:
    """Return the tensors that were made while recording, from buffers for example."""
    names = [str(node.target) for node in graph.nodes if str(node.target).startswith(_CONSTANT)]
    return [getattr(module, name) for name in names]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        code = getattr(type(module).forward, "__code__", None)
        asks_mode = code is not None and "training" in code.co_names
        known = super().is_leaf_module(module, module_qualified_name)
        return known or asks_mode or not any(True for _ in module.children())

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        before = len(self.graph.nodes)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:
            log.info("%s is kept whole: %s", type(m).__name__, error)
            for node in reversed(list(self.graph.nodes)[before:]):
                self.graph.erase_node(node)
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


def _pieces(graph: fx.Graph) -> Iterator[list[fx.Node]]:
    """Yield the nodes between input and output, parted where a single value is passed on.

    That value is the last of its piece. Parameters are not passed on: every piece fetches its own.
    """
    place = {node: number for number, node in enumerate(graph.nodes)}
    live: set[fx.Node] = set()
    piece: list[fx.Node] = []
    for node in place:
        if node.op == "output":
            break
        if node.op != "placeholder":
            piece.append(node)
        if node.op != "get_attr":
            live.add(node)
        live = {
            each
            for each in live
            if max(map(place.__getitem__, each.users), default=-1) > place[node]
        }
        if live == {node} and piece and not _is_unpacked(node):
            yield piece
            piece = []
    if piece:
        yield piece


def _is_unpacked(node: fx.Node) -> bool:
    """Return whether a value is a tuple, by what is done with it."""
    return any(
        user.target is operator.getitem and isinstance(user.args[1], int) for user in node.users
    )


def _weighs(module: nn.Module, piece: Sequence[fx.Node]) -> bool:
    """Return whether one of these nodes multiplies by a weight matrix or a kernel."""
    for node in piece:
        if node.op == "call_module":
            part = module.get_submodule(str(node.target))
            if any(parameter.ndim > 1 for parameter in part.parameters()):
                return True
        if node.op == "get_attr" and operator.attrgetter(str(node.target))(module).ndim in (2, 4):
            return True  # of a functional layer; tokens and positions have three dimensions
    return False


def _segment(module: nn.Module, source: fx.Node, nodes: Sequence[fx.Node]) -> nn.Module:
    """Return a module that computes the last of the nodes from the source."""
    before = [source, *nodes]
    chain = all(
        node.op == "call_module" and node.args == (previous,) and not node.kwargs
        for previous, node in zip(before, nodes, strict=False)
    )
    if chain:
        return nn.Sequential(*[module.get_submodule(str(node.target)) for node in nodes])
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[nodes[-1]])
    return fx.GraphModule(module, graph, type(module).__name__)
