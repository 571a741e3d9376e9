"""Cut any torch module into the chain of segments that local rules work on."""

import logging
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from bnnlab.conversion.selfcheck import self_check
from bnnlab.errors import UsageError, first_line
from bnnlab.guards.modes import in_mode
from bnnlab.guards.module_state import generators_kept, held, holds_others, refill, snapshot
from bnnlab.guards.probing import (
    asks_mode,
    check_fits,
    has_own_train,
    is_hooked,
    one_tensor,
    probe_inputs,
)

log = logging.getLogger(__name__)

_CONSTANT = re.compile(r"_tensor_constant\d+")
"""What `torch.fx` calls a tensor that was made while it recorded, an attribute of the root."""


def cut(module: nn.Module, input_shape: tuple[int, ...] | None = None) -> list[nn.Module]:
    """Return modules that one after the other do what this one does, and share its parameters.

    The module's operations are recorded by `torch.fx`. A cut is possible where a single value is
    passed on, so that residual blocks, parallel branches and attention stay whole; there is one
    wherever a weight layer, or a block with some, begins. A block is kept whole if its control flow
    depends on values, if it asks whether it is training, draws random numbers or changes itself,
    or if it switches gradients or autocast; so is one with hooks, or a `train` of its own; so is
    everything if the module itself does. Arguments after the first have their defaults. In an
    `fx.GraphModule` numbers that code reads from attributes stay what they were. Modules are made
    to work out of place, for a segment must not change what the one before gave it.

    Args:
        module: Takes one tensor and returns one.
        input_shape: Shape of one input without the batch. If it is given, the module is run on two
            probe inputs: on every path, and segment by segment, the outputs must be the same.

    Returns:
        At least one segment: an `nn.Sequential` of the module's own parts where they form a
        chain, else an `fx.GraphModule`.

    Raises:
        UsageError: If the module does not take and return one tensor, has no values yet, changes
            its inputs, or does not give the same outputs on every path. It is as it was then.
    """
    check_fits(module)
    put_back = snapshot(module)
    try:
        segments = segments_of(module, record(module))
        if input_shape is not None:
            self_check(module, segments, probe_inputs(module, input_shape))
    except BaseException:
        put_back()
        raise
    return segments


def segments_of(module: nn.Module, graph: fx.Graph | None) -> list[nn.Module]:
    """Return the segments of a module whose operations are recorded; see `cut`."""
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]
    if graph is None:
        return [module]
    source = next(iter(graph.nodes))
    segments: list[nn.Module] = []
    begun: list[fx.Node] = []
    for piece in _pieces(graph):
        if _weighs(module, begun) and _weighs(module, piece):
            segments.append(_segment(module, source, begun, begun[-1]))
            source, begun = begun[-1], []
        begun = begun + piece
    if not segments:
        return [module]
    result = graph.output_node().all_input_nodes[0]  # no last of the nodes if some are in vain
    return [*segments, _segment(module, source, begun, result)]


def record(module: nn.Module) -> fx.Graph | None:
    """Return the module's operations, or None if they do not say all that it does.

    Raises:
        UsageError: If it returns something other than one tensor.
    """
    graphs: list[fx.Graph] = []
    put_back = snapshot(module)
    try:
        if _is_more(module) or "forward" in vars(module):  # torch.fx would record the class's
            raise ValueError("it has hooks, a train() of its own, or a forward put on itself")
        for training in (True, False):
            with in_mode(module, training=training), _only_computing(module):
                graphs.append(_Tracer(module).trace(module))
        learning, evaluating = (_CONSTANT.sub("constant", str(graph)) for graph in graphs)
        if learning != evaluating:
            raise ValueError("it does other things in training")
    except Exception as error:  # user code may fail in any way when it is fed with placeholders
        log.info("%s is kept whole: %s", type(module).__name__, first_line(error))
        put_back()  # it may have failed between a change and its undoing
        graphs = []
    used = {str(node.target) for graph in graphs[:1] for node in graph.nodes}
    for name in [name for name in vars(module) if _CONSTANT.fullmatch(name) and name not in used]:
        delattr(module, name)
    for graph in graphs[:1]:
        if not isinstance(found := graph.output_node().args[0], fx.Node):
            raise UsageError(one_tensor(type(module).__name__, found))
    return graphs[0] if graphs else None


def _is_more(module: nn.Module) -> bool:
    """Return whether a module does something that its operations do not say."""
    return is_hooked(module) or has_own_train(module)


class _Value(fx.Proxy):
    """Stands for a tensor in a recording, also where code asks whether it is one."""

    __class__ = property(lambda _: Tensor)


def _contexts() -> tuple[bool, ...]:
    autocasts = map(torch.is_autocast_enabled, ("cpu", "cuda"))
    return (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *autocasts)


class _Tracer(fx.Tracer):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._around = _contexts()
        self._own = {part: [*part._parameters.values()] for part in module.modules()}

    def create_proxy(self, *args: Any, **more: Any) -> Any:
        if _contexts() != self._around:
            raise ValueError("it switches gradients or autocast, which is not recorded")
        return super().create_proxy(*args, **more)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def create_arg(self, a: Any) -> Any:
        return a.node if issubclass(type(a), fx.Proxy) else super().create_arg(a)

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,  # noqa: ARG002
        concrete_args: Any = None,  # noqa: ARG002
    ) -> tuple[Any, list[Any]]:
        x = self.create_proxy("placeholder", "x", (), {})
        return root_fn, [self.root, x]  # other arguments have their defaults

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        known = super().is_leaf_module(module, module_qualified_name)
        whole = asks_mode(module) or _is_more(module)
        return known or whole or not any(True for _ in module.children())

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        is_leaf = self.is_leaf_module(m, self.path_of_module(m))
        if [*map(id, m._parameters.values())] != [*map(id, self._own[m])]:
            raise ValueError("it runs a part with other parameters, which is not recorded")
        if is_leaf:
            return super().call_module(m, forward, args, kwargs)  # it is not run
        before = len(self.graph.nodes)
        try:
            with _only_computing(m):
                return super().call_module(m, forward, args, kwargs)
        except Exception as error:
            log.info("%s is kept whole: %s", type(m).__name__, first_line(error))
            for node in reversed(list(self.graph.nodes)[before:]):
                if node.op != "get_attr" or _CONSTANT.fullmatch(str(node.target)):
                    self.graph.erase_node(node)  # torch.fx keeps a parameter's node for later
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


@contextmanager
def _only_computing(module: nn.Module) -> Iterator[None]:
    """Raise if a module changes itself or draws random numbers, which is not recorded; undo it."""
    before = _attributes(module)
    filled = held(before.values())
    buffers = [(each, each._version, each.clone()) for each in module.buffers(recurse=False)]
    try:
        with generators_kept(module) as has_drawn:
            yield
            after = _attributes(module)
            names = before.keys() | after.keys()
            if (
                any(before.get(name, names) is not after.get(name, names) for name in names)
                or any(holds_others(value, content) for value, content in filled)
                or any(each._version != version for each, version, _ in buffers)
            ):
                raise ValueError("it changes itself")
            if has_drawn():
                raise ValueError("it draws random numbers")
    finally:
        with torch.no_grad():
            for each, version, value in buffers:
                if each._version != version:
                    each.copy_(value)
        for name in _attributes(module).keys() - before.keys():
            delattr(module, name)
        for name, value in before.items():
            (module._buffers if name in module._buffers else vars(module))[name] = value
        for value, content in filled:
            refill(value, content)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes and buffers, without those that a recording adds."""
    own = {name: value for name, value in vars(module).items() if not _CONSTANT.match(name)}
    return {**own, **module._buffers}


def _pieces(graph: fx.Graph) -> Iterator[list[fx.Node]]:
    """Yield the nodes between input and output, parted where a single value is passed on.

    That value is the last of its piece. Parameters are in none: each segment fetches its own.
    """
    place = {node: number for number, node in enumerate(graph.nodes)}
    live: set[fx.Node] = set()
    piece: list[fx.Node] = []
    for node in place:
        if node.op == "output":
            break
        if node.op == "get_attr":
            continue
        if node.op != "placeholder":
            piece.append(node)
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
        read = [str(each.target) for each in node.all_input_nodes if each.op == "get_attr"]
        if any(operator.attrgetter(name)(module).ndim in (2, 4) for name in read):
            return True  # of a functional layer; tokens and positions have three dimensions
    return False


def _segment(
    module: nn.Module, source: fx.Node, nodes: Sequence[fx.Node], result: fx.Node
) -> nn.Module:
    """Return a module that computes these nodes from the source, and returns the result."""
    before = [source, *nodes]
    chain = result is nodes[-1] and all(
        node.op == "call_module" and node.args == (previous,) and not node.kwargs
        for previous, node in zip(before, nodes, strict=False)
    )
    if chain:
        return nn.Sequential(*[module.get_submodule(str(node.target)) for node in nodes])
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for node in [*nodes, result]:
        for each in (*node.all_input_nodes, node):  # parameters are fetched where they are used
            if each not in copies:
                copies[each] = graph.node_copy(each, copies.__getitem__)
    graph.output(copies[result])
    return fx.GraphModule(module, graph, type(module).__name__)
