"""torch's defaults, flags, hooks, modes and generators: how each is read and written.

torch calls the hooks and modes in every module, optimizer and operation of a process. Some names
here are private: torch has no public way to list what is registered. Nothing here imports torch:
the caller passes it.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial
from operator import attrgetter
from typing import Any, NamedTuple


class Part(NamedTuple):
    """A part of the state of a process: how it is read and written."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


Parts = dict[str, Part]

FUNCTIONS = {
    "default dtype": ("get_default_dtype", "set_default_dtype"),
    "number of threads": ("get_num_threads", "set_num_threads"),
    "gradient mode": ("is_grad_enabled", "set_grad_enabled"),
    "deterministic mode": ("get_deterministic_debug_mode", "set_deterministic_debug_mode"),
    "matmul precision": ("get_float32_matmul_precision", "set_float32_matmul_precision"),
    "fast path of attention": (
        "backends.mha.get_fastpath_enabled",
        "backends.mha.set_fastpath_enabled",
    ),
    **{
        f"{kernel} attention": (f"backends.cuda.{kernel}_enabled", f"backends.cuda.enable_{kernel}")
        for kernel in ("flash_sdp", "mem_efficient_sdp", "math_sdp", "cudnn_sdp")
    },
}
"""Per setting of torch, the function that reads it and the one that writes it."""
FLAGS = (
    "cudnn.enabled", "cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32",
    "mkldnn.enabled", "mkldnn.deterministic", "cuda.matmul.allow_tf32",
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
    "fp32_precision", "cuda.matmul.fp32_precision", "cudnn.fp32_precision",
    "cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision", "mkldnn.fp32_precision",
    "mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision", "mkldnn.rnn.fp32_precision",
)  # fmt: skip
"""Attributes of `torch.backends`; the last nine are of torch 2.9 and newer."""
OF_A_THREAD = (
    "number of threads", "gradient mode", "default device", "flushing of tiny numbers",
    "inference mode", "modes for functions", "modes for operations", "hooks for saved tensors",
    "autocast on cpu", "autocast on cuda",
)  # fmt: skip
"""The settings of which each thread has its own."""


def parts(torch: Any) -> Parts:
    """Return how each part of torch's state is read and written, by name."""
    on_gpu = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    return _settings(torch) | generators(torch, [torch.device("cuda", each) for each in on_gpu])


def generators(torch: Any, devices: Iterable[Any]) -> Parts:
    """Return torch's random generators, by name: on the CPU and on these devices."""
    found = {"torch's random generator": _generator(torch, torch)}
    for device in devices:
        home = torch.get_device_module(device)
        found[f"torch's random generator on {device}"] = _generator(torch, home, device)
    return found


def _generator(torch: Any, home: Any, *device: Any) -> Part:
    return Part(
        lambda: home.get_rng_state(*device).numpy().tobytes(),
        lambda state: home.set_rng_state(
            torch.frombuffer(bytearray(state), dtype=torch.uint8), *device
        ),
    )


@cache
def _settings(torch: Any) -> Parts:
    modules, dispatch = torch.nn.modules.module, torch.utils._python_dispatch
    found: Parts = {
        "torch's default device": Part(  # without a device of its own, torch need not ask for it
            lambda: next((str(mode.device) for mode in _device_modes(torch)), "cpu"),
            lambda name: torch.set_default_device(None if name == "cpu" else name),
        ),
        "torch's flushing of tiny numbers": Part(  # one mode of the processor for all floats
            lambda: sys.float_info.min / 2 == 0,
            torch.set_flush_denormal,
        ),
        "torch's inference mode": Part(  # only who entered it can leave it
            torch.is_inference_mode_enabled,
            lambda _: None,
        ),
        "torch's kind of global backward hooks": _attribute(
            modules, "_global_is_full_backward_hook"
        ),
        "torch's modes for functions": Part(
            lambda: [mode for mode in _function_modes(torch) if not _of_default_device(mode)],
            partial(_set_function_modes, torch),
        ),
        "torch's modes for operations": Part(
            dispatch._get_current_dispatch_mode_stack,
            partial(_set_operation_modes, dispatch),
        ),
        "torch's hooks for saved tensors": Part(  # torch 2.6 does not say which there are
            lambda: torch._C._autograd._top_saved_tensors_default_hooks(False),
            partial(_set_hooks_for_saved_tensors, torch._C._autograd),
        ),
    }
    for device in ("cpu", "cuda"):
        found[f"torch's autocast on {device}"] = Part(
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
        )
    for name, (reader, writer) in FUNCTIONS.items():
        found[f"torch's {name}"] = Part(attrgetter(reader)(torch), attrgetter(writer)(torch))
    for flag in FLAGS:
        home, _, name = f"backends.{flag}".rpartition(".")
        with suppress(AttributeError):  # not of this version
            found[f"torch.backends.{flag}"] = _attribute(attrgetter(home)(torch), name)
    for where in (modules, sys.modules[torch.optim.Optimizer.__module__]):
        for name, hooks in vars(where).items():
            if name.startswith("_global_") and isinstance(hooks, dict):
                found[f"torch's{name.replace('_', ' ')}"] = Part(
                    partial(_items, where, name), partial(_set_items, where, name)
                )
    return found


def _attribute(home: Any, name: str) -> Part:
    return Part(partial(getattr, home, name), partial(setattr, home, name))


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


def _device_modes(torch: Any) -> list[Any]:
    """Return the mode that sets the default device, if one does."""
    return [mode for mode in _function_modes(torch) if _of_default_device(mode)]


def _set_function_modes(torch: Any, modes: list[Any]) -> None:
    devices = _device_modes(torch)
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    for mode in (*devices, *modes):
        torch._C._push_on_torch_function_stack(mode)


def _set_operation_modes(dispatch: Any, modes: list[Any]) -> None:
    while dispatch._get_current_dispatch_mode_stack():
        dispatch._pop_mode()
    for mode in modes:
        dispatch._push_mode(mode)


def _set_hooks_for_saved_tensors(autograd: Any, top: Any) -> None:
    now = autograd._top_saved_tensors_default_hooks(False)
    while now is not None and now != top:
        autograd._pop_saved_tensors_default_hooks()
        now = autograd._top_saved_tensors_default_hooks(False)
    if now != top:
        autograd._push_saved_tensors_default_hooks(*top)
