"""What an engine owes: calls in other processes, made again if a worker dies, ended when told."""

import os
import time
from concurrent.futures import Executor, Future
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.registry.components import Kind
from bnnlab_testing.declaration_checks import DeclarationChecks


class EngineContract(DeclarationChecks):
    """Checks an engine by calls that any process can make."""

    kind = Kind.ENGINE

    @property
    def base(self) -> type:
        """What an engine derives from; it is in bnnlab-studies, which every engine needs."""
        found: type = import_module("bnnlab_studies.engine").Engine
        return found

    def make(self, seed: int = 0) -> Any:  # noqa: ARG002
        """Make the engine; it has no seed."""
        made = self.host.load(self.plugin, self.component)
        return made(**self.component.preset, **self.choice.options)

    def exercise(self, seed: int = 0) -> list[Tensor]:  # noqa: ARG002
        """Make three calls, and return what they return."""
        with self.make().executor(3) as executor:
            asked = [executor.submit(divmod, 7, number) for number in (2, 3, 4)]
            return [torch.tensor(each.result()) for each in asked]

    def test_it_says_how_many_runs_and_threads_it_has(self) -> None:
        """Whole numbers from 1: a study divides its work by them."""
        engine = self.make()
        for name in ("jobs", "threads"):
            value = getattr(engine, name, None)
            assert isinstance(value, int), f"{name} is {value!r}, and no whole number"
            assert value >= 1, f"{name} is {value}"

    def test_calls_are_made_in_other_processes(self) -> None:
        """A run that ends its process, or takes all memory, must not end the study."""
        with self.make().executor(1) as executor:
            assert executor.submit(os.getpid).result() != os.getpid(), "the call was made here"

    def test_what_a_call_raises_is_raised_again(self) -> None:
        """An exception of the function is that of its future."""
        with self.make().executor(1) as executor, pytest.raises(ValueError, match="invalid"):
            executor.submit(int, "none").result()

    def test_a_call_that_loses_its_workers_fails_alone(self) -> None:
        """It is made again in new workers, and at last fails with a RunError; others go on."""
        with self.make().executor(3) as executor:
            dying, other = executor.submit(os._exit, 3), executor.submit(time.sleep, 0.1)
            with pytest.raises(RunError):
                dying.result()
            assert other.result() is None
            assert executor.submit(divmod, 7, 2).result() == (3, 1), "it makes no more calls"

    def test_after_an_exception_no_call_begins(self) -> None:
        """The block is left by Ctrl-C: what has not begun is cancelled."""
        engine = self.make()
        asked: list[Future[None]] = []
        with pytest.raises(KeyboardInterrupt):
            _interrupted(engine.executor(99), asked, engine.jobs)
        assert asked[-1].cancelled(), "a call that had not begun was not cancelled"


def _interrupted(executor: Executor, asked: list[Future[None]], jobs: int) -> None:
    """Ask for more calls than are made at a time, and be interrupted."""
    with executor:
        asked += [executor.submit(time.sleep, 0.2) for _ in range(4 * jobs)]
        raise KeyboardInterrupt
