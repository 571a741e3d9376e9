"""Cut any torch module into the chain of segments that local rules work on."""

import operator
from collections.abc import Iterator, Sequence

from torch import fx, nn

from bnnlab.conversion.recording import record
from bnnlab.conversion.selfcheck import self_check
from bnnlab.guards.module_state import all_or_nothing
from bnnlab.guards.probing import check_fits, probe_inputs


def cut(
    module: nn.Module, input_shape: tuple[int, ...] | None = None, tokens: int | None = None
) -> list[nn.Module]:
    """Cut a module into segments whose composition is the module; they share its parameters.

    `torch.fx` records the module's operations. A cut is possible where a single value is passed on,
    so residual blocks, parallel branches and attention stay whole. Of these places, a cut is made
    where a weight layer begins, or a block with one.

    A block stays whole if a recording would not repeat it exactly: if it

    - has control flow that depends on values, or on the mode (training or evaluation);
    - draws random numbers, changes itself, or switches gradients or autocast;
    - has hooks, or a `train` or `select_task` method of its own.

    If this is true of the module itself, there is one segment. Arguments of `forward` after the
    first keep their defaults. In an `fx.GraphModule`, numbers that code reads from attributes are
    constants. Modules with `inplace=True` are set to work out of place, because a segment must not
    change its input.

    Args:
        module: Takes one tensor and returns one.
        input_shape: Shape of one input without the batch. If it is given, the module is run on two
            probe inputs: its outputs must be the same on every path, and segment by segment.
        tokens: How many token ids there are, if inputs are token ids. By default they are numbers
            where the module takes some.

    Returns:
        At least one segment: an `nn.Sequential` of the module's own parts if they form a chain,
        else an `fx.GraphModule`.

    Raises:
        UsageError: If the module does not take and return one tensor, has no values yet, changes
            its inputs, or does not give the same outputs on every path. The module is then put
            back as it was.
    """
    check_fits(module)
    with all_or_nothing(module):
        segments = segments_of(module, record(module))
        if input_shape is not None:
            self_check(module, segments, probe_inputs(module, input_shape, tokens=tokens))
    return segments


def segments_of(module: nn.Module, graph: fx.Graph | None) -> list[nn.Module]:
    """Return the segments of a module, see `cut`, from its operations; without, it stays whole."""
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]
    if graph is None:
        return [module]
    source = next(iter(graph.nodes))
    segments: list[nn.Module] = []
    current: list[fx.Node] = []
    for piece in _pieces(graph):
        if _has_weights(module, current) and _has_weights(module, piece):
            segments.append(_segment(module, source, current, current[-1]))
            source, current = current[-1], []
        current = current + piece
    if not segments:
        return [module]
    result = graph.output_node().all_input_nodes[0]  # the last node may be one without effect
    return [*segments, _segment(module, source, current, result)]


def _pieces(graph: fx.Graph) -> Iterator[list[fx.Node]]:
    """Yield the nodes between input and output, in pieces that pass a single value on.

    This value is the last node of its piece. Parameters are in no piece: each segment fetches its
    own.
    """
    place = {node: number for number, node in enumerate(graph.nodes)}
    last_use = {node: max((place[user] for user in node.users), default=-1) for node in place}
    live: set[fx.Node] = set()  # the values that a later node uses
    piece: list[fx.Node] = []
    for node in place:
        if node.op == "output":
            break
        if node.op == "get_attr":
            continue
        if node.op != "placeholder":
            piece.append(node)
        live = {value for value in {*live, node} if last_use[value] > place[node]}
        if live == {node} and piece and not _is_unpacked(node):
            yield piece
            piece = []
    if piece:
        yield piece


def _is_unpacked(node: fx.Node) -> bool:
    """Return whether a later node takes an element of this value, which is then a tuple."""
    return any(
        user.target is operator.getitem and isinstance(user.args[1], int) for user in node.users
    )


def _has_weights(module: nn.Module, piece: Sequence[fx.Node]) -> bool:
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
    if result is nodes[-1] and _is_chain(source, nodes):
        return nn.Sequential(*[module.get_submodule(str(node.target)) for node in nodes])
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for node in [*nodes, result]:
        for each in (*node.all_input_nodes, node):  # parameters are fetched where they are used
            if each not in copies:
                copies[each] = graph.node_copy(each, copies.__getitem__)
    graph.output(copies[result])
    return fx.GraphModule(module, graph, type(module).__name__)


def _is_chain(source: fx.Node, nodes: Sequence[fx.Node]) -> bool:
    """Return whether each node calls a module on the value before it, and on nothing else."""
    previous = source
    for node in nodes:
        if node.op != "call_module" or node.args != (previous,) or node.kwargs:
            return False
        previous = node
    return True
