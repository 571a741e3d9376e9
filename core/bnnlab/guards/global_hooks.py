"""torch's global hooks and modes, read and written.

torch calls them in every module, optimizer and operation of a process. Some names here are private:
torch has no public way to list what is registered.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A part of the state of a process: how it is read and written."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


Parts = dict[str, Part]


def parts(torch: Any) -> Parts:
    """Return how each global hook and mode of torch is read and written, by name."""
    modules = torch.nn.modules.module
    found: Parts = {
        "torch's kind of global backward hooks": Part(
            lambda: modules._global_is_full_backward_hook,
            partial(setattr, modules, "_global_is_full_backward_hook"),
        ),
        "torch's modes for functions": Part(
            lambda: [mode for mode in _function_modes(torch) if not _of_default_device(mode)],
            partial(_set_function_modes, torch),
        ),
        "torch's modes for operations": Part(
            torch.utils._python_dispatch._get_current_dispatch_mode_stack,
            partial(_set_operation_modes, torch),
        ),
        "torch's hooks for saved tensors": Part(
            lambda: torch._C._autograd._top_saved_tensors_default_hooks(False),
            partial(_set_hooks_for_saved_tensors, torch),
        ),
    }
    for home in (modules, sys.modules[torch.optim.Optimizer.__module__]):
        for name, hooks in vars(home).items():
            if name.startswith("_global_") and isinstance(hooks, dict):
                found[f"torch's{name.replace('_', ' ')}"] = Part(
                    partial(_items, home, name),
                    partial(_set_items, home, name),
                )
    return found


def _items(home: Any, name: str) -> list[tuple[Any, Any]]:
    return list(getattr(home, name).items())


def _set_items(home: Any, name: str, items: list[tuple[Any, Any]]) -> None:
    hooks = getattr(home, name)
    hooks.clear()  # the same dict: handles that remove a hook know it
    hooks.update(items)


def _function_modes(torch: Any) -> list[Any]:
    found: list[Any] = torch.overrides._get_current_function_mode_stack()
    return found


def _of_default_device(mode: object) -> bool:
    return type(mode).__name__ == "DeviceContext"


def _set_function_modes(torch: Any, modes: list[Any]) -> None:
    devices = [mode for mode in _function_modes(torch) if _of_default_device(mode)]
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    for mode in (*devices, *modes):
        torch._C._push_on_torch_function_stack(mode)


def _set_operation_modes(torch: Any, modes: list[Any]) -> None:
    dispatch = torch.utils._python_dispatch
    while dispatch._get_current_dispatch_mode_stack():
        dispatch._pop_mode()
    for mode in modes:
        dispatch._push_mode(mode)


def _set_hooks_for_saved_tensors(torch: Any, top: Any) -> None:
    autograd = torch._C._autograd
    now = autograd._top_saved_tensors_default_hooks(False)
    while now is not None and now != top:
        autograd._pop_saved_tensors_default_hooks()
        now = autograd._top_saved_tensors_default_hooks(False)
    if now != top:
        autograd._push_saved_tensors_default_hooks(*top)
