"""How the contract of probes makes a probe, and the runs that it measures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from bnnlab.engine import building
from bnnlab.engine.learner import Learner
from bnnlab.engine.probes import ProbeStop
from bnnlab.interfaces.prediction import RealPrediction
from bnnlab.interfaces.probe import Probe
from bnnlab.interfaces.stream import Task
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
from bnnlab_testing.device_checks import CPU, DeviceChecks
from bnnlab_testing.lives import Stops, live


class ProbeRuns(DeviceChecks):
    """The part of `ProbeContract` that makes the probe, and lets it measure runs."""

    kind = Kind.PROBE

    def make(self, seed: int = 0) -> Probe:  # noqa: ARG002
        """Make the probe; it has no seed of its own."""
        return building.make_probe(self.host, self.choice)

    @property
    def learned(self) -> toy.Toy:
        """The toy that the run learns: images of three classes, or what else the probe takes."""
        takes = self.make().takes
        return toy.regression if issubclass(takes, RealPrediction) else toy.conv

    def make_learner(self, device: torch.device = CPU) -> Learner:
        """Return the toy model with a plain rule and optimizer."""
        model = self.learned.make_model().to(device)
        return Learner(model, toy.ToyRule(), toy.make_optimizer(model))

    def make_tasks(self, device: torch.device = CPU) -> list[Task]:
        """Return two tasks; they are made anew, as a probe may write to what it is shown."""
        make = self.learned.make_task
        return [replace(toy.to(make(index), device), index=index) for index in range(2)]

    def _live(
        self,
        stops: Stops = (),
        make_probe: Callable[[], Probe] | None = None,
        device: torch.device = CPU,
        make: Callable[[int], tuple[Learner, Sequence[Task]]] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        def usual(_: int) -> tuple[Learner, Sequence[Task]]:
            return self.make_learner(device), self.make_tasks(device)

        changes = {"unknown": self.make_tasks(device)[-1].test, **changes}
        try:
            return live(make or usual, stops, make_probe or self.make, **changes)
        except ProbeStop as stop:
            raise AssertionError(
                f"it stops the run of the tests ({stop}): let `options` say when it does not"
            ) from stop

    def _steps_before_a_stop(self, change: Callable[[Task], None]) -> int | None:
        """Return after how many steps it stops a run before it is evaluated; None if never."""
        learner, task = self.make_learner(), self.learned.make_task()
        change(task)
        try:
            live(lambda _: (learner, [task]), make_probe=self.make, epochs=5)
        except ProbeStop:
            return learner.progress.steps if learner.progress.phase == "epochs" else None
        return None
