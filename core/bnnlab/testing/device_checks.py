"""What every component owes to devices: it works on any, and what was begun on one goes on."""

import io
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import torch

from bnnlab.learner import Learner
from bnnlab.optimizer import TaskContext
from bnnlab.rule import Batch
from bnnlab.testing import toy
from bnnlab.testing.component_contract import ComponentContract
from bnnlab.testing.device_process import call_with_device
from bnnlab.testing.optimizer_checks import differing, flat
from bnnlab.training import Trainer

CPU = torch.device("cpu")


class DeviceChecks(ComponentContract):
    """The part of a contract that is about devices. All of it happens on a simulated one.

    Attributes:
        waits: How often, at most, the host waits for the device in a training step. It waits at
            `.item()`, `bool(tensor)` and the like, and at a copy from or to the CPU.
    """

    waits: ClassVar[int] = 0

    def test_it_works_on_every_device(self) -> None:
        """No operation mixes devices or generators, or needs float64, which MPS has not."""
        call_with_device(self, "work_on")

    def test_a_step_waits_for_the_device_as_often_as_declared(self) -> None:
        """It waits no more often than `waits` says: not at all, unless told otherwise."""
        call_with_device(self, "count_waits")

    @abstractmethod
    def work_on(self, device: torch.device) -> None:
        """Do on a device all that the component is there for."""

    @abstractmethod
    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return what the component does on a device for a batch."""

    def count_waits(self, device: torch.device) -> None:
        """Count in a second step: in the first a generator may be made, and state be moved."""
        from bnnlab.testing.device_rules import waits

        step = self.make_step(device)
        step()
        waits.clear()
        step()
        assert len(waits) <= self.waits, (
            f"a step waits for the device {len(waits)} times, and `waits` is {self.waits}: "
            f"{', '.join(waits)}"
        )


class LearnerChecks(DeviceChecks):
    """The same for rules and optimizers: what they learn, they learn in the real loop."""

    @abstractmethod
    def learner(self, device: torch.device, seed: int = 0) -> Learner:
        """Make the component on a device, and plain ones to learn with."""

    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return a step on the toy."""
        learner, task = self.learner(device), toy.to(device, toy.make_task())
        model, rule, optimizer = learner.model.train(), learner.rule, learner.optimizer
        optimizer.task_started(TaskContext(task, model, rule, toy.BATCH_SIZE, steps=2))
        batch = Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)
        return lambda: optimizer.step(rule.closure(model, batch))

    def work_on(self, device: torch.device) -> None:
        """Learn a task and be evaluated; go on from within it, on this device and on others.

        On the same device it goes on bit for bit.
        """
        within, ended = self._learn(device, 2)
        (resumed,) = self._learn(device, 1, within)
        places = differing(*(flat(_without_time(each)) for each in (ended, resumed)))
        assert not places, f"after resuming, it goes another way at {', '.join(places)}"
        (elsewhere,) = self._learn(CPU, 1, within)
        self._learn(device, 1, elsewhere)

    def _learn(self, device: torch.device, count: int, saved: bytes | None = None) -> list[bytes]:
        """Learn on from a checkpoint, or from the start, and return the next checkpoints."""
        learner = self.learner(device, 0 if saved is None else 1)
        learner.progress.untrained = [None]  # not evaluated before: that takes time
        if saved is not None:
            learner.load_state_dict(reread(saved), Path())
        checkpoints: list[bytes] = []

        def save() -> None:
            checkpoints.append(written(learner.state_dict()))
            if len(checkpoints) == count:
                raise _Enough

        with suppress(_Enough):
            Trainer(
                **vars(learner),
                tasks=[toy.to(device, toy.make_task(index)) for index in range(2)],
                task_ids=False,
                measure_uncertainty=False,
                diagnose=False,
                unknown=None,
                epochs=2,
                batch_size=2 * toy.BATCH_SIZE,
                seed=0,
                logged=lambda _: None,
                due=lambda: False,
                saved=save,
                stepped=lambda *_: None,
            ).run()
        return checkpoints


class _Enough(Exception):  # noqa: N818
    """Ends a run at a checkpoint."""


def written(state: Any) -> bytes:
    """Return a state as it lies in a file."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def reread(file: bytes) -> Any:
    """Return a state as a run reads it."""
    return torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)


def _without_time(checkpoint: bytes) -> dict[str, Any]:
    state: dict[str, Any] = reread(checkpoint)
    del state["progress"]["seconds"]
    return state
