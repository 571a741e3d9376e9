"""Walk through a model, operation by operation, and write its program."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from bnnlab.errors import BnnlabError, UsageError, first_line
from bnnlab.interfaces.model import Model
from bnnlab_export.builder import Builder, Pixels
from bnnlab_export.others import Layers, in_known_layers, name, said_by, saying
from bnnlab_export.table import FUNCTIONS, LAYERS, layer_of
from bnnlab_export.values import Value

EXAMPLES = 2
"""Rows of the example that goes through the model, for the shapes of its values."""
SIZES = frozenset({"size", "dim", "ndimension", "numel", len})
ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device"})
"""What a model may ask of a value."""


def lower(model: Model, batches: Sequence[Tensor], pixels: Pixels) -> Builder:
    """Return the program of a model in evaluation mode, with the weights and the task it has now.

    Args:
        model: On the CPU.
        batches: Inputs, on which layers are compared with what they say by `exported_as`.
        pixels: What the input is.

    Raises:
        UsageError: If a part of it cannot be written: the message names the part.
    """
    layers = saying(model)
    model = in_known_layers(model, layers, batches)
    graph = _Tracer(layers).trace(model)
    builder = Builder(pixels)
    walk = _Walk(model, builder, graph, layers)
    like = torch.zeros(EXAMPLES, *batches[0].shape[1:])
    with torch.no_grad():
        result: Any = walk.run(builder.images(like))
    builder.place = "the model"
    if not isinstance(result, Value) or result.like.ndim != 2:
        raise builder.refuse("its outputs are no logits (B, K)")
    result = builder.real(result)
    if result.order is not None:
        raise builder.refuse("its outputs are a flattened map")
    builder.program = builder.program.ending_at(result.number)
    return builder


class _Tracer(fx.Tracer):
    """Records a model down to the layers that are known."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return layer_of(module) is not None

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        path = self.path_of_module(m)
        place = name(path, m) + _within(self.layers, path)
        if m._forward_hooks or m._forward_pre_hooks:
            raise UsageError(f"{place} cannot be exported: it has hooks, which may do anything.")
        try:
            return super().call_module(m, forward, args, kwargs)
        except BnnlabError:
            raise
        except Exception as error:  # a module may do anything with a placeholder
            why = f"{first_line(error)}. {_known(LAYERS, self.layers, path)}"
            raise UsageError(f"{place} cannot be exported: {why}.") from error


class _Walk(fx.Interpreter):
    """Runs an example through the model, and writes each operation on the way."""

    def __init__(self, model: nn.Module, builder: Builder, graph: fx.Graph, layers: Layers) -> None:
        super().__init__(model, graph=graph)
        self.builder, self.layers = builder, layers
        self.extra_traceback = False  # it would be in the messages

    def run_node(self, n: fx.Node) -> Any:
        """Return what an operation makes: a value of the program, or what is none, as a size."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.op in ("placeholder", "output"):
            return getattr(self, n.op)(n.target, args, kwargs)
        its = [self.env[each] for each in n.all_input_nodes]
        if not any(isinstance(each, Value) for each in its):
            return getattr(self, n.op)(n.target, args, kwargs)
        path, what, writes, given = self._what(n, args)
        self.builder.place = what + _within(self.layers, path)
        try:
            like = getattr(self, n.op)(n.target, *_likes((args, kwargs)))
        except Exception as error:  # it may be a module of anybody
            raise self.builder.refuse(first_line(error)) from error
        if _asks_for_a_size(n):
            return like
        if writes is None or not isinstance(like, Tensor):
            known = _known(FUNCTIONS, self.layers, path)
            raise self.builder.refuse(f"it is of no known kind. {known}")
        if like.ndim not in (2, 4):
            raise self.builder.refuse(f"it makes {tuple(like.shape)}, no rows and no maps")
        try:
            inspect.signature(writes).bind(self.builder, like, *given, **kwargs)
        except TypeError as error:
            raise self.builder.refuse(f"{error}, which is not known here") from error
        return writes(self.builder, like, *given, **kwargs)

    def _what(self, n: fx.Node, args: Any) -> tuple[str, str, Any, Any]:
        """Return where an operation is, its name, what writes it, and its arguments."""
        if n.op == "call_module":
            path = str(n.target)
            module = self.fetch_attr(path)
            return path, name(path, module), layer_of(module), (module, *args)
        called = getattr(n.target, "__name__", str(n.target))
        path = [*(n.meta.get("nn_module_stack") or {"": ("", None)}).values()][-1][0]
        where = f" in {path!r}" if path else ""
        return path, f"{called}(){where}", FUNCTIONS.get(n.target), args


def _asks_for_a_size(n: fx.Node) -> bool:
    """Return whether an operation asks what is the same for all inputs."""
    return n.target in SIZES or (n.target is getattr and n.args[1] in ATTRIBUTES)


def _likes(given: Any) -> Any:
    """Return arguments with the model's tensors in the place of values."""
    return fx.node.map_aggregate(given, lambda it: it.like if isinstance(it, Value) else it)


def _within(layers: Layers, path: str) -> str:
    """Return whose `exported_as` returned what is at a place, as the end of its name."""
    said = said_by(layers, path)
    return said and f" in what {said} returned"


def _known(kinds: Iterable[Any], layers: Layers, path: str) -> str:
    """Return which kinds can be exported; and for what is in no `exported_as`, that there is it."""
    named = ", ".join(sorted({getattr(each, "__name__", each) for each in kinds}))
    advice = (
        ". A layer of your own may say which known layers compute the same, by a method exported_as"
    )
    return f"Known are {named}{'' if said_by(layers, path) else advice}"
