"""What all code of a process shares and a figure may depend on: put back where others changed it.

A default dtype that one plugin sets when it is imported would be that of every run, also of those
that do not use the plugin, under the same protocol. Nothing here imports torch or NumPy: of these
there is something to put back only once they are there.
"""

import logging
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from operator import attrgetter
from types import ModuleType
from typing import Any

from bnnlab.guards import global_hooks
from bnnlab.guards.global_hooks import Parts

log = logging.getLogger(__name__)

VARIABLES = (  # read by torch and its libraries when they are loaded, or by bnnlab
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "MKL_CBWR"),
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    *("BNNLAB_DATA", "BNNLAB_DISABLE", "BNNLAB_ONLY"),
)
FUNCTIONS = {  # of torch: one reads, the other writes
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
FLAGS = (  # of torch.backends; the last ones are of torch 2.9 and newer
    *("cudnn.enabled", "cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32"),
    *("mkldnn.enabled", "mkldnn.deterministic", "cuda.matmul.allow_tf32"),
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
    *("fp32_precision", "cuda.matmul.fp32_precision", "cudnn.fp32_precision"),
    *("cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision", "mkldnn.fp32_precision"),
    *("mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision", "mkldnn.rnn.fp32_precision"),
)
ROUNDS = 3
"""Some flags of torch are written together with others: what is left is written again."""
NAMED = 5
"""Changes that a warning names."""

PYTHON = "Python's random generator"
"""Put back without a word: many libraries draw from it when they are imported."""


@contextmanager
def kept(who: str, said: set[str] | None = None) -> Iterator[None]:
    """Put back what changes inside, and warn of it by name.

    Args:
        who: Whose code runs inside, for people.
        said: Warnings that are not repeated; a new one is added. None to give each warning.

    Raises:
        RuntimeError: If something cannot be put back.
    """
    keeper = Keeper()
    try:
        with keeper.first_sight():
            yield
    finally:
        keeper.put_back()
        if changed := [name for name in keeper.changed if name != PYTHON]:
            more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            warning = f"{who} changed {', '.join(changed[:NAMED])}{more}: put back."
            said = set() if said is None else said
            if warning not in said:
                log.warning("%s", warning)
            said.add(warning)


def look() -> dict[str, Any]:
    """Return the state as it is now, by name; of torch and NumPy where they are imported."""
    return {name: _read(read) for name, (read, _) in _parts().items()}


def differing(before: dict[str, Any]) -> list[str]:
    """Return the names of what is not as it was when `look` was called."""
    now = look()
    return [name for name, value in before.items() if name in now and now[name] != value]


class Keeper(MetaPathFinder):
    """Knows how the state was; torch's, from the moment at which torch was imported.

    Attributes:
        before: What `look` returned.
        changed: The names of what has been put back, in order.
    """

    def __init__(self) -> None:
        self.before, self.changed = look(), dict[str, None]()

    def put_back(self) -> None:
        """Write what changed as it was, and remember its names.

        Raises:
            RuntimeError: If something cannot be put back.
        """
        for _ in range(ROUNDS):
            names, parts = differing(self.before), _parts()
            self.changed.update(dict.fromkeys(names))
            for name in names:
                with suppress(Exception):  # flags that contradict each other: next round
                    parts[name][1](self.before[name])
            if not names:
                return
        if left := differing(self.before):
            raise RuntimeError(f"changed {', '.join(left)}, which cannot be put back")

    @contextmanager
    def first_sight(self) -> Iterator[None]:
        """Look at torch as soon as it is imported, before who imports it can change it."""
        if "torch" in sys.modules:
            yield
            return
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of torch, which is looked at once it has run; of others None."""
        spec = PathFinder.find_spec(name, path, target) if name == "torch" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def then_look(module: ModuleType) -> None:
            self.put_back()  # torch reads environment variables now
            execute(module)
            self.before |= {name: _read(read) for name, (read, _) in _parts_of(module).items()}

        spec.loader.exec_module = then_look  # type: ignore[method-assign]
        return spec


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (AttributeError, OSError, RuntimeError):  # not of this version, or contradictory
        return None


def _parts() -> Parts:
    """Return how each part of the state is read and written."""
    parts: Parts = {
        "the working directory": (os.getcwd, os.chdir),
        PYTHON: (random.getstate, random.setstate),
        "what logging leaves out": (_left_out, lambda found: _leave_out(*found)),
    }
    for name in VARIABLES:
        parts[f"the environment variable {name}"] = (
            partial(os.environ.get, name),
            partial(_set_variable, name),
        )
    if (numpy := _loaded("numpy.random")) is not None:
        parts["NumPy's random generator"] = (
            lambda: _plain(numpy.get_state(legacy=False)),
            numpy.set_state,
        )
    if (torch := _loaded("torch")) is not None:
        parts |= _parts_of(torch)
        if torch.cuda.is_initialized():
            parts["torch's random generators on the GPU"] = (
                lambda: [_bytes(state) for state in torch.cuda.get_rng_state_all()],
                lambda states: torch.cuda.set_rng_state_all([_tensor(torch, s) for s in states]),
            )
    return parts


def _left_out() -> tuple[int, set[str]]:
    """Return up to which level logging is off, and which loggers of bnnlab are."""
    return logging.root.manager.disable, {each.name for each in _loggers() if each.disabled}


def _leave_out(level: int, names: set[str]) -> None:
    logging.disable(level)
    for logger in _loggers():
        logger.disabled = logger.name in names


def _loggers() -> list[logging.Logger]:
    every = logging.root.manager.loggerDict.items()
    return [a for name, a in every if name.startswith("bnnlab") and isinstance(a, logging.Logger)]


@cache
def _parts_of(torch: Any) -> Parts:
    parts: Parts = {
        "torch's default device": (  # without a device of its own, torch need not ask for it
            lambda: str(torch.get_default_device()),
            lambda name: torch.set_default_device(None if name == "cpu" else name),
        ),
        "torch's flushing of tiny numbers": (  # one mode of the processor for all floats
            lambda: sys.float_info.min / 2 == 0,
            torch.set_flush_denormal,
        ),
        "torch's inference mode": (  # only who entered it can leave it
            torch.is_inference_mode_enabled,
            lambda _: None,
        ),
        "torch's random generator": (
            lambda: _bytes(torch.get_rng_state()),
            lambda state: torch.set_rng_state(_tensor(torch, state)),
        ),
    }
    for device in ("cpu", "cuda"):
        parts[f"torch's autocast on {device}"] = (
            partial(torch.is_autocast_enabled, device),
            partial(torch.set_autocast_enabled, device),
        )
    for name, (reader, writer) in FUNCTIONS.items():
        parts[f"torch's {name}"] = (attrgetter(reader)(torch), attrgetter(writer)(torch))
    for flag in FLAGS:
        parts[f"torch.backends.{flag}"] = (
            partial(attrgetter(flag), torch.backends),
            partial(_set_flag, torch.backends, flag),
        )
    return parts | global_hooks.parts(torch)


def _loaded(name: str) -> Any:
    module = sys.modules.get(name)
    done = not getattr(getattr(module, "__spec__", None), "_initializing", False)
    return module if done else None


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state of NumPy's with lists for arrays, which can be compared."""
    inner = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in state["state"].items()}
    return {**state, "state": inner}


def _bytes(state: Any) -> bytes:
    found: bytes = state.numpy().tobytes()
    return found


def _tensor(torch: Any, state: bytes) -> Any:
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _set_flag(backends: Any, flag: str, value: Any) -> None:
    home, _, name = flag.rpartition(".")
    setattr(attrgetter(home)(backends) if home else backends, name, value)
