"""What a probe owes: it measures the same whenever a run was stopped, and changes nothing in it."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from bnnlab.engine.learner import Learner
from bnnlab.engine.probes import EVENTS, Probes
from bnnlab.interfaces.probe import Moment, Probe
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, differing, flat
from bnnlab_testing.lives import EPOCHS, STOPS, Stops, run_of
from bnnlab_testing.probe_keeping_checks import ProbeKeepingChecks
from bnnlab_testing.trace_checks import hooks_of

END = (2, 0, 0)
EVERYWHERE: Stops = [*STOPS[:2], *[STOPS[1]] * 2, *STOPS[2:], *[(1, EPOCHS, 0)] * 2, *[END] * 3]
"""Also between two predictions of an evaluation, and after the last task."""
ITS_OWN = ("['log']", "['measures']", "['progress']['ended']")
"""What differs with a probe: its lines, what it adds to others', and its results."""


class ProbeContract(ProbeKeepingChecks):
    """Checks a probe on a run that learns two small tasks.

    A probe that stops runs is checked with options with which it does not stop this one.
    """

    def make_ready(self) -> None:
        """Make the probe, and attach it to a run."""
        Probes({"it": self.make()}, run_of(self.make_learner(), self.make_tasks()))

    def exercise(self, seed: int = 0) -> list[Tensor]:  # noqa: ARG002
        """Measure a run, and return what was measured as bytes."""
        found = self._live()
        return [torch.tensor([*json.dumps(sorted(map(str, found.items()))).encode()])]

    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return what the probe does after a step."""
        learner, (task, *_) = self.make_learner(device), self.make_tasks(device)
        run = run_of(learner, [task], unknown=task.test)
        probes = Probes({"it": self.make()}, run)
        at, batch = Moment(task, 0, 1), Batch(*next(task.train.batches(20)), task.loss)
        probes.ask(Probe.task_started, at)
        loss, logits = torch.ones((), device=device), learner.model(batch.inputs).detach()
        return lambda: probes.ask(Probe.stepped, at, batch, loss, logits)

    def work_on(self, device: torch.device) -> None:
        """Measure a run on a device, and go on there after a stop."""
        self._live([END], device=device)

    def test_a_run_goes_on_as_without_it(self) -> None:
        """Weights, state, progress and the run's own metrics are bit for bit those without it.

        So are batch statistics, and no hook is left in the model.
        """
        apart = differing(self._live(), self._live(make_probe=Probe))
        places = [place for place in apart if not place.startswith(ITS_OWN)]
        assert not places, f"the run goes another way with it, at {', '.join(places[:5])}"
        left, usual = (self._after_a_normalised_run(probe) for probe in (self.make, Probe))
        assert_same("after the run, other than without it are", usual, left)
        with_it, without = (self._own_lines(probe) for probe in (self.make, Probe))
        assert with_it == without, "the run's own lines of metrics differ with it"

    def test_what_it_measures_outlives_a_stop(self) -> None:
        """A probe that is made anew and loads what was saved measures what it would have."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bnnlab.engine.evaluation.HELD_EXAMPLES", 1)  # it stops between tasks
            places = differing(self._live(), self._live(EVERYWHERE))
        assert not places, (
            f"interrupted and continued by a probe made anew, the run differs at "
            f"{', '.join(places[:5])}: state_dict() holds less than the probe remembers"
        )

    def test_what_it_measures_is_declared(self) -> None:
        """The names of its results are those that its component explains; of parts, all or none."""
        if not self.component.measures:
            pytest.skip("it does not declare measures")
        probe = self.make()
        self._live(make_probe=lambda: probe)
        declared = {name.partition(".")[0] for name in self.component.measures}
        measured = probe.measures()
        assert {*measured} == declared, (
            "Component.measures has other names than what measures() returns"
        )
        lacking = _undeclared(measured, self.component.measures)
        assert not lacking, (
            f"declare unit or range of {', '.join(lacking)}, as of other parts of the measure"
        )

    def _after_a_normalised_run(self, make_probe: Callable[[], Probe]) -> dict[str, Any]:
        """Return state and hooks of a model with batch statistics, after a run."""
        learner = self.make_learner()
        if self.learned is toy.conv:
            model = toy.make_normalised_model()
            learner = Learner(model, toy.ToyRule(), toy.make_optimizer(model))
        self._live(make_probe=make_probe, make=lambda _: (learner, self.make_tasks()))
        model = learner.model
        return flat({"state": model.state_dict(), "hooks": sorted(hooks_of(model))})

    def _own_lines(self, make_probe: Callable[[], Probe]) -> list[dict[str, Any]]:
        """Return the lines that a run logs itself, without what a probe adds to them."""
        lines: list[dict[str, Any]] = []
        self._live(make_probe=make_probe, lines=lines)
        added = ("event", "task", "step", "epoch", "accuracy", "loss", "train_accuracy")
        own = [line for line in lines if line["event"] in EVENTS]
        return [{key: line[key] for key in added if key in line} for line in own]


def _undeclared(measured: Any, declared: Iterable[str]) -> list[str]:
    """Return the numbers that no declaration is for; one with parts is for these parts alone."""
    names = {*declared}
    whole = [name for name in names if not any(it.startswith(f"{name}.") for it in names)]
    found = dict.fromkeys(_numbers(measured))
    return [n for n in found if not any(f"{n}.".startswith(f"{each}.") for each in whole)]


def _numbers(place: Any, name: str = "") -> Iterator[str]:
    """Yield the dotted name of each number, without positions in lists."""
    if isinstance(place, Mapping):
        for key, inner in place.items():
            yield from _numbers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(place, list | tuple):
        for inner in place:
            yield from _numbers(inner, name)
    elif isinstance(place, int | float) and not isinstance(place, bool):
        yield name
