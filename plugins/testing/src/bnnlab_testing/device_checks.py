"""What every component owes to devices: it works on any, and what was begun on one goes on."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch

from bnnlab.engine.learner import Learner
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from bnnlab_testing import toy
from bnnlab_testing.declaration_checks import DeclarationChecks
from bnnlab_testing.device_process import call_with_device
from bnnlab_testing.lives import Make, assert_goes_on, live
from bnnlab_testing.toy_checks import ToyChecks

CPU = torch.device("cpu")
HINT = (
    " (if test_an_interrupted_run_goes_on_bit_for_bit fails too, the device is not the reason: "
    "state_dict() is)"
)


class DeviceChecks(DeclarationChecks):
    """The part of a contract that is about devices. All of it happens on a simulated one.

    Attributes:
        waits: How often, at most, the host waits for the device in a training step, beside what a
            rule or an optimizer says itself. It waits at `.item()`, `bool(tensor)` and the like,
            and at a copy from or to the CPU.
    """

    waits: ClassVar[int] = 0

    def test_it_works_on_every_device(self) -> None:
        """No operation mixes devices or generators, or needs float64, which MPS has not."""
        call_with_device(self, "work_on")

    def test_a_step_waits_for_the_device_as_often_as_declared(self) -> None:
        """A step waits no more often than the attribute `waits` says, 0 by default.

        It is one of a rule or an optimizer, and of the test class for other components.
        """
        call_with_device(self, "count_waits")

    @abstractmethod
    def work_on(self, device: torch.device) -> None:
        """Do on a device all that the component is there for."""

    @abstractmethod
    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return what the component does on a device for a batch."""

    def count_waits(self, device: torch.device) -> None:
        """Count in five steps after the first, in which generators are made and state is moved."""
        from bnnlab_testing.device_rules import waits

        step, most = self.make_step(device), self.waits + self.declared_waits(device)
        step()
        for _ in range(5):  # what happens in some steps alone is found, too
            waits.clear()
            step()
            times = (f"{place} ({count} times)" for place, count in Counter(waits).items())
            assert len(waits) <= most, (
                f"a step waits for the device {len(waits)} times, and `waits` is {most}: "
                f"{', '.join(times)}. Copy by `.to(device, non_blocking=True)`, keep numbers on "
                f"the device, or allow it: {self.allowing(len(waits))}"
            )

    def declared_waits(self, device: torch.device) -> int:  # noqa: ARG002
        """Return how often a step waits by what its components say."""
        return 0

    def allowing(self, waits: int) -> str:
        """Return how a component says how often it waits."""
        return (
            f"`waits = {waits}` in a test class, or `bnn test-plugin --set "
            f"{self.kind}.{self.component.name}.waits={waits}`"
        )


class LearnerChecks(ToyChecks, DeviceChecks):
    """The same for rules and optimizers: what they learn, they learn in the real loop."""

    @abstractmethod
    def learner(self, device: torch.device, seed: int = 0) -> Learner:
        """Make the component on a device, and plain ones to learn with."""

    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return a step on the toy."""
        learner, task = self.begun(device)
        batch = Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)
        return lambda: learner.optimizer.step(learner.rule.closure(learner.model, batch))

    def begun(self, device: torch.device) -> tuple[Learner, Task]:
        """Return what has heard of the start of a task, and the task."""
        learner, task = self.learner(device), toy.to(toy.make_task(), device)
        learner.model.train()
        for each in (learner.rule, learner.optimizer):
            each.task_started(toy.context(task, learner.model, learner.rule, steps=6))
        return learner, task

    def declared_waits(self, device: torch.device) -> int:
        """Return those of rule and optimizer."""
        learner = self.learner(device)
        return learner.rule.waits + learner.optimizer.waits

    def allowing(self, waits: int) -> str:
        """Return that the class of the component says it."""
        return f"`waits = {waits}` in {type(self.make()).__name__}"

    def test_an_interrupted_run_goes_on_bit_for_bit(self) -> None:
        """The trainer is stopped within tasks and between; what has another seed goes on."""
        assert_goes_on(self._lives([CPU], tasks=2))

    def work_on(self, device: torch.device) -> None:
        """Go on there bit for bit after an interruption; go on from there on the CPU, and back."""
        whole = 2 * toy.BATCH_SIZE  # one step an epoch
        assert_goes_on(self._lives([device], tasks=1), [(0, 1, 0)], HINT, batch_size=whole)
        there_and_back = self._lives([device, CPU, device], tasks=2)
        live(there_and_back, [(0, 1, 0), (1, 0, 0)], epochs=1, batch_size=whole)

    def _lives(self, devices: Sequence[torch.device], tasks: int) -> Make:
        """Return what makes learners and tasks anew, each on the next device, then on the last."""

        def make(restarts: int) -> tuple[Learner, list[Task]]:
            device = devices[min(restarts, len(devices) - 1)]
            learner = self.learner(device, seed=restarts)
            learner.progress.untrained = [None]  # not evaluated before it learns: that takes time
            return learner, [toy.to(toy.make_task(index), device) for index in range(tasks)]

        return make
