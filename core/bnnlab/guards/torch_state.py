"""torch's defaults, flags, modes and generators: how each is read and written.

Nothing here imports torch: the caller passes it.
"""

import sys
from functools import cache, partial
from operator import attrgetter
from typing import Any

from bnnlab.guards import global_hooks
from bnnlab.guards.global_hooks import Part, Parts

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


def parts(torch: Any) -> Parts:
    """Return how each part of torch's state is read and written, by name."""
    if not torch.cuda.is_initialized():
        return _always(torch)
    generators = Part(
        lambda: [_to_bytes(state) for state in torch.cuda.get_rng_state_all()],
        lambda states: torch.cuda.set_rng_state_all([_to_tensor(torch, s) for s in states]),
    )
    return {**_always(torch), "torch's random generators on the GPU": generators}


@cache
def _always(torch: Any) -> Parts:
    found: Parts = {
        "torch's default device": Part(  # without a device of its own, torch need not ask for it
            lambda: str(torch.get_default_device()),
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
        "torch's random generator": Part(
            lambda: _to_bytes(torch.get_rng_state()),
            lambda state: torch.set_rng_state(_to_tensor(torch, state)),
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
        found[f"torch.backends.{flag}"] = Part(
            partial(attrgetter(flag), torch.backends),
            partial(_set_flag, torch.backends, flag),
        )
    return found | global_hooks.parts(torch)


def _to_bytes(state: Any) -> bytes:
    found: bytes = state.numpy().tobytes()
    return found


def _to_tensor(torch: Any, state: bytes) -> Any:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def _set_flag(backends: Any, flag: str, value: Any) -> None:
    home, _, name = flag.rpartition(".")
    setattr(attrgetter(home)(backends) if home else backends, name, value)
