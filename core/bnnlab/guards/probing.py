"""Questions to a foreign module: can it be run, on which inputs, and with what outputs?

`run` runs it on two probe inputs, in one of the ways in which it is run later, and changes nothing.
"""

import inspect
import operator
from collections.abc import Callable, Iterable
from functools import cache
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnnlab.errors import UsageError, explain
from bnnlab.guards.module_state import undisturbed

TRAINING, GRADIENTS = "in training mode", "in evaluation mode with gradients"
NO_GRADIENTS = "under torch.no_grad"
PATHS: dict[str, tuple[bool, Callable[[], Any]]] = {
    GRADIENTS: (False, torch.enable_grad),
    NO_GRADIENTS: (False, torch.no_grad),
    "under torch.inference_mode": (False, torch.inference_mode),
    TRAINING: (True, torch.enable_grad),
}


def checked_shape(shape: Iterable[int]) -> tuple[int, ...]:
    """Return the shape of one input as a tuple.

    Raises:
        UsageError: If a size is not an integer of at least 1.
    """
    try:
        sizes = tuple(map(operator.index, shape))
    except TypeError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise UsageError(f"input_shape {shape!r}: write the shape of one input, as (1, 28, 28)")
    return sizes


def numbers_or_tokens(
    module: nn.Module, input_shape: tuple[int, ...], tokens: int | None = None
) -> tuple[Tensor, ...]:
    """Return probe inputs `(2, *input_shape)` of each kind that a module may take, numbers first.

    Numbers are normally distributed, with the dtype and the device of the module's parameters.
    Token ids are int64, in 0..n-1 for the n rows of its smallest embedding, or in 0..1 without one.

    Args:
        module: The module.
        input_shape: Shape of one input without the batch.
        tokens: How many token ids there are: then these alone are returned. None if unknown.

    Raises:
        UsageError: If the module is on the meta device, or `input_shape` is no shape.
    """
    generator = torch.Generator().manual_seed(0)
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding | nn.EmbeddingBag)]
    count = tokens or min((table.num_embeddings for table in tables), default=2)
    if like.is_meta:
        raise UsageError("its weights are on the meta device, where nothing can be tried")
    shape = 2, *checked_shape(input_shape)
    numbers = torch.randn(shape, generator=generator)
    ids = torch.randint(0, count, shape, generator=generator)
    return (ids.to(like.device),) if tokens else (numbers.to(like), ids.to(like.device))


def probe_inputs(
    module: nn.Module,
    input_shape: tuple[int, ...],
    first: nn.Module | None = None,
    tokens: int | None = None,
) -> Tensor:
    """Return probe inputs: token ids if they are declared or nothing else is taken, else numbers.

    Args:
        module: As in `numbers_or_tokens`.
        input_shape: As there.
        first: The part of the module that takes the inputs; None for the module itself.
        tokens: As there.
    """
    kinds = numbers_or_tokens(module, input_shape, tokens)
    first = module if first is None else first
    return next((each for each in kinds if _takes(first, each)), kinds[0])


def _takes(module: nn.Module, x: Tensor) -> bool:
    try:
        with undisturbed(module), torch.no_grad():
            module.eval()
            module(x.clone())
    except Exception:  # any code may fail in any way
        return False
    return True


def run(module: nn.Module, x: Tensor, path: str) -> Tensor:
    """Return a module's output on a path of `PATHS`, detached; leave the module as it was.

    Raises:
        UsageError: If it cannot take these inputs, changes them in place, or returns something
            other than one tensor.
    """
    who = type(module).__name__
    training, mode = PATHS[path]
    given = x.clone()
    with undisturbed(module), mode():
        module.train(training)
        try:
            y = module(given)
        except Exception as error:
            shape = ", ".join(map(str, x.shape[1:]))
            raise UsageError(
                f"{who} cannot take inputs (B, {shape}) of {x.dtype} {path}: {explain(error)}. "
                "Say the shape of one input, without the batch, in input_shape"
            ) from error
    if not isinstance(y, Tensor):
        raise UsageError(one_tensor(who, y, path))
    if not torch.equal(given, x):
        raise UsageError(
            f"{who} changes its inputs in place {path}, and a batch may be run more than once: "
            "let it work on a copy, as by x = x - 1 in place of x -= 1"
        )
    return y.detach()


def one_tensor(who: str, found: Any, where: str = "") -> str:
    """Return the error message for a module that returns something other than a tensor."""
    kind = type(found).__name__.removeprefix("immutable_")  # the prefix of torch.fx
    return (
        f"{who} returns a {kind} {where}".rstrip() + ", and a model must return one tensor, the "
        "logits: wrap it in a module that returns them alone"
    )


def check_fits(module: nn.Module) -> None:
    """Check that a module can be run: its weights have values, and its forward takes one tensor.

    Raises:
        UsageError: If it is no module, has no weights yet, or needs other arguments.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"a torch.nn.Module is needed, and this is a {type(module).__name__}")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(tensor):
            raise UsageError(f"{name!r} has no values yet: run a batch through the module first")
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # it has no signature
        return
    try:
        signature.bind(torch.empty(0))
    except TypeError:
        raise UsageError(
            f"{type(module).__name__} takes ({', '.join(signature.parameters)}), and a model must "
            "take one tensor: wrap it in a module that does"
        ) from None


def asks_mode(module: nn.Module) -> bool:
    """Return whether the code of a module's class may read `training`, the mode of the module.

    For TorchScript, whose code is not looked into, the answer is yes.
    """
    kind: Any = type(module)  # mypy takes classes for unhashable
    return isinstance(module, torch.jit.ScriptModule) or _asks_mode(kind)


@cache
def _asks_mode(kind: type[nn.Module]) -> bool:
    for base in kind.__mro__:
        if base in nn.Module.__mro__:
            continue
        for value in vars(base).values():
            code = getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None
            if code is not None and "training" in names_of(code):
                return True
    return False


def names_of(code: CodeType) -> frozenset[str]:
    """Return the attributes and globals that code uses, also in the functions inside it."""
    inside = (each for each in code.co_consts if isinstance(each, CodeType))
    return frozenset(code.co_names).union(*map(names_of, inside))


def has_own_train(module: nn.Module) -> bool:
    """Return whether a module has a `train` method of its own."""
    return type(module).train is not nn.Module.train


def is_hooked(module: nn.Module) -> bool:
    """Return whether a module has hooks for its forward or backward pass."""
    forward, backward = module._forward_hooks, module._backward_hooks
    return bool(forward or module._forward_pre_hooks or backward or module._backward_pre_hooks)
