"""The state that all code of a process shares: put back if code of others has changed it.

If one plugin sets torch's default dtype when it is imported, every run would have this dtype, also
runs that do not use the plugin, and with the same protocol hash. Nothing here imports torch or
NumPy: they have no state before they are imported.
"""

import logging
import os
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock, get_ident
from types import ModuleType
from typing import Any

from bnnlab.guards import torch_state
from bnnlab.guards.torch_state import Part, Parts

log = logging.getLogger(__name__)

VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT", "CUDA_VISIBLE_DEVICES",
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "MKL_CBWR",
    "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "BNNLAB_DATA", "BNNLAB_DISABLE", "BNNLAB_FILES", "BNNLAB_ONLY",
)  # fmt: skip
"""Environment variables that bnnlab reads, or torch and its libraries when they are loaded."""
ROUNDS = 3
"""How often state is put back: torch writes some flags together with others."""
NAMED = 5
"""The most changes that a warning names."""

PYTHON = "Python's random generator"
"""Put back without a warning: many libraries draw from it when they are imported."""

_open: list["Keeper"] = []
"""The keepers at work in this process, the oldest first."""
_LOCK = RLock()
"""Held where state is read and put back, and keepers come and go."""


@contextmanager
def kept(who: str, said: set[str] | None = None, keeper: "Keeper | None" = None) -> Iterator[None]:
    """Put back the state that the code inside changes, with a warning that names it.

    If other threads are in such a block, too, what they have changed meanwhile is put back as well,
    and may be said of either; random generators are those of the beginning of each block.

    Args:
        who: Whose code runs inside, for the warning.
        said: The warnings given so far, which are not repeated; a new one is added. None to give
            every warning.
        keeper: What remembers the state, of several blocks that follow one another at once: it is
            read at the end of each alone. A new one by default.

    Raises:
        RuntimeError: If something cannot be put back.
    """
    with _LOCK:
        keeper = keeper or Keeper()
        keeper.changed = {}
        _open.append(keeper)
    try:
        with keeper.first_sight():
            yield
    finally:
        with _LOCK:
            _open.remove(keeper)
            keeper.put_back()
        changed = [name for name in keeper.changed if name != PYTHON]
        if changed:
            more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            warning = f"{who} changed {', '.join(changed[:NAMED])}{more}: put back."
            said = set() if said is None else said
            if warning not in said:
                said.add(warning)
                log.warning("%s", warning)


def look() -> dict[str, Any]:
    """Return the state as it is now, by name; of torch and NumPy if they are imported."""
    return read(_parts())


def differing(before: dict[str, Any], now: dict[str, Any] | None = None) -> list[str]:
    """Return the names of what has changed since `look` returned `before`, or until `now`."""
    now = look() if now is None else now
    return [name for name, value in before.items() if name in now and now[name] != value]


class Keeper(MetaPathFinder):
    """Remembers the state, and puts it back.

    What others have changed in another thread, and is put back there, is not remembered.

    Attributes:
        changed: The names of what was put back, in order.
    """

    def __init__(self) -> None:
        self._thread = get_ident()
        self._before = look()  # torch's is added when torch is imported
        self.changed: dict[str, None] = {}
        if self._thread not in {each._thread for each in _open}:
            for oldest in _open[:1]:
                self._before |= _of_all_threads(oldest._before)

    def put_back(self) -> None:
        """Put back what has changed, and remember its names; and what there is that was not before.

        Raises:
            RuntimeError: If something cannot be put back. From then on it is as it is now.
        """
        for _ in range(ROUNDS):
            now = look()
            names = differing(self._before, now)
            if not names:
                self._before = now | self._before
                return
            self.changed.update(dict.fromkeys(names))
            parts = _parts()
            for name in names:
                with suppress(Exception):  # flags that contradict each other: next round
                    parts[name].write(self._before[name])
        now = look()
        if left := differing(self._before, now):
            self._before |= {name: now[name] for name in left}
            raise RuntimeError(f"changed {', '.join(left)}, which cannot be put back")

    @contextmanager
    def first_sight(self) -> Iterator[None]:
        """Read torch's state as soon as torch is imported, before its importer can change it."""
        if "torch" in sys.modules:
            yield
            return
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of torch, whose state is read once torch has run; None for others."""
        spec = PathFinder.find_spec(name, path, target) if name == "torch" else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_then_look(module: ModuleType) -> None:
            with _LOCK:
                self.put_back()  # torch reads environment variables now
            execute(module)
            found = read(torch_state.parts(module))
            for each in (self, *_open):
                each._before |= found

        spec.loader.exec_module = execute_then_look  # type: ignore[method-assign]
        return spec


def _of_all_threads(state: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in a state that are not each thread's own."""
    own = {*generators(), *(f"torch's {name}" for name in torch_state.OF_A_THREAD)}
    return {name: value for name, value in state.items() if name not in own}


def read(parts: Parts) -> dict[str, Any]:
    """Return the present value of each part, by name; None for what cannot be read."""
    return {name: _read(part) for name, part in parts.items()}


def _read(part: Part) -> Any:
    try:  # entering `suppress` for each part takes half as long again
        return part.read()
    except (AttributeError, OSError, RuntimeError):  # not of this version, contradictory
        return None


def generators(devices: Iterable[Any] = ()) -> Parts:
    """Return the global random generators, by name; torch's on the CPU and on these devices."""
    parts: Parts = {PYTHON: Part(random.getstate, random.setstate)}
    numpy = _loaded("numpy.random")
    if numpy is not None:
        parts["NumPy's random generator"] = Part(
            lambda: _plain(numpy.get_state(legacy=False)), numpy.set_state
        )
    torch = _loaded("torch")
    if torch is not None:
        parts |= torch_state.generators(torch, devices)
    return parts


def _parts() -> Parts:
    """Return how each part of the state is read and written, by name."""
    torch = _loaded("torch")
    return _PLAIN | generators() | ({} if torch is None else torch_state.parts(torch))


def _left_out() -> tuple[int, set[str]]:
    """Return the level up to which logging is off, and bnnlab's loggers that are off."""
    return logging.root.manager.disable, {each.name for each in _loggers() if each.disabled}


def _leave_out(level: int, names: set[str]) -> None:
    logging.disable(level)
    for logger in _loggers():
        logger.disabled = logger.name in names


def _loggers() -> list[logging.Logger]:
    every = logging.root.manager.loggerDict
    own = [every[name] for name in _names_of_loggers(len(every))]
    return [logger for logger in own if isinstance(logger, logging.Logger)]  # no placeholders


@lru_cache(maxsize=1)
def _names_of_loggers(_count: int) -> list[str]:
    """Return the names of bnnlab's loggers, and of placeholders; nothing removes one."""
    return [name for name in logging.root.manager.loggerDict if name.startswith("bnnlab")]


def _loaded(name: str) -> Any:
    """Return a module if it was imported, and its import has ended; else None."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return None if getattr(spec, "_initializing", False) else module


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state of NumPy with lists in place of arrays, so that it can be compared."""
    inner = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in state["state"].items()}
    return {**state, "state": inner}


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


_PLAIN: Parts = {
    "the working directory": Part(os.getcwd, os.chdir),
    "what logging leaves out": Part(_left_out, lambda found: _leave_out(*found)),
    **{
        f"the environment variable {name}": Part(
            partial(os.environ.get, name), partial(_set_variable, name)
        )
        for name in VARIABLES
    },
}
"""The parts that there are without torch and NumPy, but for the generator."""
