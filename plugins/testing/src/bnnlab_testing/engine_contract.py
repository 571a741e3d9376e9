"""What an engine owes: calls in other processes, made again if a worker dies, ended when told."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.registry.components import Kind
from bnnlab_testing import engine_calls, fresh
from bnnlab_testing.declaration_checks import DeclarationChecks

LONG = 120.0
"""Seconds that a busy machine may take."""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="it kills process groups: Linux and macOS")
class EngineContract(DeclarationChecks):
    """Checks an engine by calls that any process can make.

    Attributes:
        patience: Seconds that a call waits to be asked to stop. An engine that loses a call or
            does not end is found two minutes after that.
    """

    kind = Kind.ENGINE
    patience: ClassVar[float] = 60.0

    @property
    def base(self) -> type:
        """What an engine derives from; it is in bnnlab-studies, which every engine needs."""
        found: type = import_module("bnnlab_studies.engine").Engine
        return found

    def make(self, seed: int = 0) -> Any:  # noqa: ARG002
        """Make the engine; it has no seed."""
        made = self.host.load(self.plugin, self.component)
        return made(**self.choice.keywords)

    @contextmanager
    def opened(self, count: int, engine: Any = None) -> Iterator[Any]:
        """Enter an executor of the engine. A check that it keeps waiting for ever fails."""
        doing, seconds = "executor(), submit() or a call does not end", self.patience + LONG

        def late(*_: object) -> None:
            pytest.fail(f"{doing}, even after {seconds:g} s")  # no Exception: nothing catches it

        with engine_calls.alarm(seconds, late):
            studies = import_module("bnnlab_studies.engine")
            with studies.open_executor(engine or self.make(), count) as executor:
                yield executor
                doing = "the end of the executor's block does not come"

    def exercise(self, seed: int = 0) -> list[Tensor]:  # noqa: ARG002
        """Make three calls, and return what they return."""
        with self.opened(3) as executor:
            asked = [executor.submit(divmod, 7, number) for number in (2, 3, 4)]
            return [torch.tensor(each.result()) for each in asked]

    def test_it_says_how_many_runs_and_threads_it_has(self) -> None:
        """Whole numbers from 1: a study divides its work by them."""
        engine = self.make()
        for name in ("jobs", "threads"):
            value = getattr(engine, name, None)
            assert type(value) is int, f"{name} is {value!r}, and no whole number"
            assert value >= 1, f"{name} is {value}"

    def test_each_call_has_its_own_result(self) -> None:
        """One after another, and several at a time."""
        with self.opened(6) as executor:
            for number in 2, 3:
                _check_result(executor.submit(divmod, 7, number), number)
            asked = {number: executor.submit(divmod, 7, number) for number in (4, 5, 6)}
            for number, future in asked.items():
                _check_result(future, number)

    def test_calls_are_made_in_other_processes(self) -> None:
        """A run that ends its process, or takes all memory, must not end the study."""
        with self.opened(1) as executor:
            assert executor.submit(os.getpid).result() != os.getpid(), "the call was made here"

    def test_as_many_calls_as_it_says_are_made_at_a_time(self, tmp_path: Path) -> None:
        """A tuner begins `jobs` trials, and the threads are shared out among as many runs."""
        engine = self.make()
        with self.opened(engine.jobs + 1, engine) as executor:
            asked = [
                executor.submit(engine_calls.count_at_once, tmp_path, engine.jobs + 1)
                for _ in range(engine.jobs + 1)
            ]
            most = max(each.result() for each in asked)
        assert most <= engine.jobs, f"{most} calls at a time, and jobs is {engine.jobs}"

    def test_what_a_call_raises_is_raised_again(self) -> None:
        """An exception of the function is that of its future."""
        with self.opened(1) as executor, pytest.raises(ValueError, match="invalid"):
            executor.submit(int, "none").result()

    def test_a_call_whose_worker_dies_is_made_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It goes on with the same arguments in a new worker, and a warning names the first one."""
        file = tmp_path / "calls"
        with self.opened(1) as executor:
            again = executor.submit(engine_calls.die_once, file)
            assert again.exception() is None, f"it was not made again: {again.exception()!r}"
        assert again.result() == 2
        assert str(file) in caplog.text, "no warning names the call whose worker died"

    def test_a_call_that_loses_its_workers_fails_alone(self) -> None:
        """It is made again in new workers, and at last fails with a RunError; others go on."""
        with self.opened(3) as executor:
            dying, other = executor.submit(os._exit, 3), executor.submit(time.sleep, 0.1)
            with pytest.raises(RunError):  # an EngineError is none
                dying.result()
            assert other.result() is None
            assert executor.submit(divmod, 7, 2).result() == (3, 1), "it makes no more calls"

    def test_after_an_exception_no_call_begins(self) -> None:
        """The block is left by Ctrl-C: what has not begun is cancelled."""
        engine = self.make()
        asked: list[Future[None]] = []

        def work(executor: Any) -> None:
            asked.extend(executor.submit(time.sleep, 0.2) for _ in range(4 * engine.jobs))

        with pytest.raises(KeyboardInterrupt):
            _interrupted(self.opened(99, engine), work)
        assert asked[-1].cancelled(), "a call that had not begun was not cancelled"

    def test_after_an_exception_calls_are_asked_to_save_and_stop(self, tmp_path: Path) -> None:
        """What a run has learned since its last checkpoint is not lost."""
        file = tmp_path / "call"

        def work(executor: Any) -> None:
            executor.submit(engine_calls.save_and_stop, file, self.patience)
            _wait_for(file, engine_calls.BEGUN)

        with pytest.raises(KeyboardInterrupt):
            _interrupted(self.opened(1), work)
        assert file.read_text() != engine_calls.BEGUN, "the block was left before a call had saved"
        _wait_for(file, engine_calls.SAVED)

    def test_if_this_process_is_killed_calls_save_and_stop(self, tmp_path: Path) -> None:
        """No worker goes on for nobody, and none loses what it has done."""
        file = tmp_path / "call"
        code = "import sys; from bnnlab_testing.engine_calls import hold; hold(*sys.argv[1:])"
        about = self.name, json.dumps(self.options), str(file), str(self.patience)
        with subprocess.Popen(
            [sys.executable, "-c", code, *about],
            env=fresh.environment(),
            start_new_session=True,
        ) as process:
            try:
                _wait_for(file, engine_calls.BEGUN, process)
            finally:
                process.kill()
        try:
            _wait_for(file, engine_calls.SAVED)
        finally:
            with suppress(ProcessLookupError):  # else there are workers that do not end
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for(file: Path, content: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait until a call has written this; the process that asked for it goes on."""
    until, found = time.monotonic() + LONG, ""
    while found not in (content, engine_calls.UNTOLD):
        assert time.monotonic() < until, f"a call is {found or 'not begun'}, and not {content}"
        assert process is None or process.poll() is None, "the study ended with an error: see above"
        time.sleep(0.02)
        found = file.read_text() if file.exists() else ""
    assert found == content, "a call was not asked to save and stop"


def _interrupted(opened: AbstractContextManager[Any], work: Callable[[Any], None]) -> None:
    """Leave an executor's block by Ctrl-C, after this work."""
    with opened as executor:
        work(executor)
        raise KeyboardInterrupt


def _check_result(future: "Future[tuple[int, int]]", number: int) -> None:
    found = future.result()
    assert found == divmod(7, number), f"divmod(7, {number}) is answered {found}"
