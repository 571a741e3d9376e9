"""The process in which components are tried on the simulated device, and the way to it.

All tests of a session share one, made when it is first needed: torch knows a private backend for
the whole life of a process, and starting one takes seconds.
"""

import atexit
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

_SERVE = "from bnnlab_testing.device_process import serve; serve()"


@dataclass(frozen=True)
class Job:
    """A method of a contract that is to be called with the device, and the place of the test."""

    module: str
    file: str
    contract: str
    attributes: bytes  # of the instance, pickled
    method: str
    path: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class Answer(NamedTuple):
    """Whether it succeeded, or was skipped, and why not or why."""

    verdict: str
    text: str


def call_with_device(contract: Any, method: str) -> None:
    """Call a contract's method with the simulated device, in its process.

    The contract's class is imported there, and its instance gets the attributes of this one. What
    a fixture changes elsewhere, by monkeypatching for example, is not known there.

    Raises:
        pytest.fail.Exception: If the method raises, with its traceback.
    """
    made = type(contract)
    if "<locals>" in made.__qualname__:
        pytest.fail(f"define {made.__name__} at the top of its module: another process imports it")
    own = {
        name: value
        for name, value in vars(contract).items()
        if not isinstance(getattr(made, name, None), cached_property)
    }
    job = Job(
        module=made.__module__,
        file=str(sys.modules[made.__module__].__file__),
        contract=made.__qualname__,
        attributes=pickle.dumps(own),
        method=method,
        path=list(sys.path),
        environment=dict(os.environ),
        folder=str(Path.cwd()),
    )
    answer = _Process.current().ask(job)
    if answer.verdict == "skipped":
        pytest.skip(answer.text)
    if answer.verdict == "failed":
        pytest.fail(answer.text, pytrace=False)


class _Process:
    """The process, as the tests see it."""

    _current: "_Process | None" = None

    @classmethod
    def current(cls) -> "_Process":
        """Return the one that runs, or a new one."""
        if cls._current is None or cls._current._process.poll() is not None:
            cls._current = cls()
        return cls._current

    def __init__(self) -> None:
        own = {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",  # another
            "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # an installed backend would take the place
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **own},
        )
        atexit.register(self._end)

    def ask(self, job: Job) -> Answer:
        """Have a job done."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            pickle.dump(job, self._process.stdin)
            self._process.stdin.flush()
            answer: Answer = pickle.load(self._process.stdout)
        except (EOFError, OSError):
            code = self._process.wait()
            return Answer("failed", f"the simulated device's process ended with exit code {code}")
        except BaseException:  # the answer to this job must not be taken for the next one's
            self._end()
            raise
        return answer

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """Register the device and do the jobs that come on the standard input, until it is closed."""
    from bnnlab_testing import simulated_device

    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what components print must not come between the answers
    missing = simulated_device.unavailable()
    with nullcontext() if missing else simulated_device.registered() as device:
        while True:
            try:
                job = pickle.load(jobs)
            except EOFError:
                return
            answer = Answer("skipped", missing) if missing else _do(job, device)
            pickle.dump(answer, answers)
            answers.flush()


def _do(job: Job, device: Any) -> Answer:
    from bnnlab.errors import DownloadError
    from bnnlab_testing.simulated_device import UnsupportedError

    _take_place(job)
    try:
        contract = attrgetter(job.contract)(_load(job.module, job.file))()
        vars(contract).update(pickle.loads(job.attributes))
        getattr(contract, job.method)(device)
    except (pytest.skip.Exception, UnsupportedError, DownloadError) as reason:
        return Answer("skipped", str(reason))
    except (Exception, pytest.fail.Exception) as error:
        return Answer("failed", f"{error}\n\n{traceback.format_exc()}")
    return Answer("fine", "")


def _take_place(job: Job) -> None:
    """Take path, environment and folder of the test; unload modules that its path does not have."""
    gone = tuple(f"{folder}{os.sep}" for folder in {*sys.path} - {*job.path} if folder)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(gone):
            del sys.modules[name]
    sys.path[:] = job.path
    os.environ.clear()
    os.environ.update(job.environment)
    os.chdir(job.folder)
    importlib.invalidate_caches()


def _load(name: str, file: str) -> ModuleType:
    """Return a module by its file; pytest may have it under a name that Python does not find."""
    known = sys.modules.get(name)
    if known is not None and known.__file__ == file:
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
