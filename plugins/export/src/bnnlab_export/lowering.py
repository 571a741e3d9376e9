"""Walk through a model, operation by operation, and write its program."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from bnnlab.errors import BnnlabError, UsageError, first_line
from bnnlab.interfaces.model import Model
from bnnlab_export.builder import Builder, Pixels
from bnnlab_export.others import in_known_layers
from bnnlab_export.table import FUNCTIONS, LAYERS, layer_of
from bnnlab_export.values import Value

EXAMPLES = 2
"""Rows of the example that goes through the model, for the shapes of its values."""
SIZES = frozenset({"size", "dim", "ndimension", "numel", len})
ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device"})
"""What a model may ask of a value."""


def lower(model: Model, input_shape: tuple[int, ...], pixels: Pixels) -> Builder:
    """Return the program of a model in evaluation mode, with the weights and the task it has now.

    Args:
        model: On the CPU.
        input_shape: Shape of one input.
        pixels: What the input is.

    Raises:
        UsageError: If a part of it cannot be written: the message names the part.
    """
    model = in_known_layers(model)
    graph = _Tracer().trace(model)
    builder = Builder(pixels)
    walk = _Walk(model, builder, graph)
    like = torch.zeros(EXAMPLES, *input_shape)
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

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return layer_of(module) is not None

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        place = _name(self.path_of_module(m), m)
        if m._forward_hooks or m._forward_pre_hooks:
            raise UsageError(f"{place} cannot be exported: it has hooks, which may do anything.")
        try:
            return super().call_module(m, forward, args, kwargs)
        except BnnlabError:
            raise
        except Exception as error:  # a module may do anything with a placeholder
            raise UsageError(
                f"{place} cannot be exported: {first_line(error)}. {_known()}."
            ) from error


class _Walk(fx.Interpreter):
    """Runs an example through the model, and writes each operation on the way."""

    def __init__(self, model: nn.Module, builder: Builder, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.builder = builder
        self.extra_traceback = False  # it would be in the messages

    def run_node(self, n: fx.Node) -> Any:
        """Return what an operation makes: a value of the program, or what is none, as a size."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.op in ("placeholder", "output"):
            return getattr(self, n.op)(n.target, args, kwargs)
        its = [self.env[each] for each in n.all_input_nodes]
        if not any(isinstance(each, Value) for each in its):
            return getattr(self, n.op)(n.target, args, kwargs)
        self.builder.place, writes, given = self._what(n, args)
        try:
            like = getattr(self, n.op)(n.target, *_likes((args, kwargs)))
        except Exception as error:  # it may be a module of anybody
            raise self.builder.refuse(first_line(error)) from error
        if _asks_for_a_size(n):
            return like
        if writes is None or not isinstance(like, Tensor):
            raise self.builder.refuse(f"it is of no known kind. {_known()}")
        if like.ndim not in (2, 4):
            raise self.builder.refuse(f"it makes {tuple(like.shape)}, no rows and no maps")
        try:
            inspect.signature(writes).bind(self.builder, like, *given, **kwargs)
        except TypeError as error:
            raise self.builder.refuse(f"{error}, which is not known here") from error
        return writes(self.builder, like, *given, **kwargs)

    def _what(self, n: fx.Node, args: Any) -> tuple[str, Any, Any]:
        """Return where an operation is, what writes it, and its arguments."""
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            return _name(str(n.target), module), layer_of(module), (module, *args)
        called = getattr(n.target, "__name__", str(n.target))
        inside = [*(n.meta.get("nn_module_stack") or {"": ("", None)}).values()][-1]
        where = f" in {inside[0]!r}" if inside[0] else ""
        return f"{called}(){where}", FUNCTIONS.get(n.target), args


def _asks_for_a_size(n: fx.Node) -> bool:
    """Return whether an operation asks what is the same for all inputs."""
    return n.target in SIZES or (n.target is getattr and n.args[1] in ATTRIBUTES)


def _likes(given: Any) -> Any:
    """Return arguments with the model's tensors in the place of values."""
    return fx.node.map_aggregate(given, lambda it: it.like if isinstance(it, Value) else it)


def _name(path: str, module: nn.Module) -> str:
    return f"{path!r} ({type(module).__name__})"


def _known() -> str:
    """Return what can be exported."""
    names = ", ".join(sorted({kind.__name__ for kind in LAYERS}))
    return (
        f"Known are {names}, and modules that are made of them. A layer of your own may say which "
        "ones compute the same, by a method exported_as"
    )
