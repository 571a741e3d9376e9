"""Record a module's operations by `torch.fx`, and find out whether they say all that it does."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from bnnlab.errors import UsageError, first_line
from bnnlab.guards.modes import in_mode
from bnnlab.guards.module_state import all_or_nothing, generators_kept, held, holds_others
from bnnlab.guards.probing import asks_mode, has_own_train, is_hooked, one_tensor
from bnnlab.interfaces.model import goes_by_task

log = logging.getLogger(__name__)

_CONSTANT = re.compile(r"_tensor_constant\d+")
"""The names that `torch.fx` gives to tensors made during a recording, attributes of the root."""


def record(module: nn.Module) -> fx.Graph | None:
    """Return the module's operations; None if they do not say everything that it does.

    Raises:
        UsageError: If the module returns something other than one tensor.
    """
    try:
        with all_or_nothing(module):
            graph = _record_both_modes(module)
    except Exception as error:  # user code may fail in any way on placeholders
        log.info("%s is kept whole: %s", type(module).__name__, first_line(error))
        return None
    used = {str(node.target) for node in graph.nodes}
    for name in list(vars(module)):
        if _CONSTANT.fullmatch(name) and name not in used:
            delattr(module, name)
    result = graph.output_node().args[0]
    if not isinstance(result, fx.Node):
        raise UsageError(one_tensor(type(module).__name__, result))
    return graph


def _record_both_modes(module: nn.Module) -> fx.Graph:
    """Return the operations, which must be the same in training and in evaluation mode."""
    if _does_more(module) or "forward" in vars(module):  # torch.fx would record the class's
        raise ValueError(
            "it has hooks, a train() or select_task() of its own, or a forward set on the instance"
        )
    with in_mode(module, training=True), _only_computing(module):
        graph = _Tracer(module).trace(module)
    with in_mode(module, training=False), _only_computing(module):
        evaluating = _Tracer(module).trace(module)
    if _CONSTANT.sub("constant", str(graph)) != _CONSTANT.sub("constant", str(evaluating)):
        raise ValueError("it does other things in training")
    return graph


def _does_more(module: nn.Module) -> bool:
    """Return whether a module does more than its operations say."""
    return goes_by_task(module) or is_hooked(module) or has_own_train(module)


class _Value(fx.Proxy):
    """A placeholder for a tensor in a recording. `isinstance(value, Tensor)` is true."""

    __class__ = property(lambda _: Tensor)


def _contexts() -> tuple[bool, ...]:
    """Return the modes that change what operations do."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
    )


class _Tracer(fx.Tracer):
    """Records a module, and keeps the parts whole that a recording would not repeat exactly."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._around = _contexts()
        self._own = {part: list(part._parameters.values()) for part in module.modules()}

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
        if super().is_leaf_module(module, module_qualified_name):
            return True
        return asks_mode(module) or _does_more(module) or not list(module.children())

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        now, own = list(m._parameters.values()), self._own[m]
        if len(now) != len(own) or any(a is not b for a, b in zip(now, own, strict=True)):
            raise ValueError("it runs a part with other parameters, which is not recorded")
        if self.is_leaf_module(m, self.path_of_module(m)):
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
    """Refuse what a recording would not repeat: a module changes itself or draws random numbers."""
    before = _attributes(module)
    contents = held(before.values())
    buffers = [*module.buffers()]
    versions = [buffer._version for buffer in buffers]
    with all_or_nothing(module, buffers), generators_kept(module) as has_drawn:
        yield
        after = _attributes(module)
        if (
            before.keys() != after.keys()
            or any(value is not after[key] for key, value in before.items())
            or any(holds_others(value, content) for value, content in contents)
            or versions != [buffer._version for buffer in buffers]
        ):
            raise ValueError("it changes itself")
        if has_drawn():
            raise ValueError("it draws random numbers")


def _attributes(module: nn.Module) -> dict[tuple[nn.Module, str], Any]:
    """Return the attributes and buffers of all parts, without those that a recording adds."""
    return {
        (part, name): value
        for part in module.modules()
        if not isinstance(part, torch.jit.ScriptModule)
        for name, value in {**vars(part), **part._buffers}.items()
        if not _CONSTANT.match(name)
    }
