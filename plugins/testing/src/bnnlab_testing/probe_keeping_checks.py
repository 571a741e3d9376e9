"""What a probe owes to memory: it holds little, and what it holds stays as it was."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bnnlab.engine.probes import Probes, ProbeStop
from bnnlab.engine.training import Trainer
from bnnlab.interfaces.probe import Control
from bnnlab_testing.asserting import differing
from bnnlab_testing.keeping_checks import kept_by
from bnnlab_testing.lives import run_of
from bnnlab_testing.probe_checks import ProbeChecks

LITTLE = 16
"""Bytes that a probe may add in every step: two numbers."""


class ProbeKeepingChecks(ProbeChecks):
    """The part of `ProbeContract` that is about what the probe keeps."""

    def test_two_in_one_process_do_not_meet(self) -> None:
        """It measures the same if another one measures another run meanwhile.

        A process may hold many runs. Keep settings and what changes in `self`, not in the class or
        the module.
        """
        usual, live_another = self._live(), self._live

        class Beside(list[dict[str, Any]]):
            def append(self, line: dict[str, Any]) -> None:
                super().append(line)
                if len(self) == 1:
                    with torch.enable_grad():
                        live_another()

        places = differing(usual, self._live(lines=Beside()))
        assert not places, (
            f"where another one measures beside it, the run differs at {', '.join(places[:5])}: "
            "keep in `self` what changes, not in the class or the module"
        )

    def test_it_keeps_nothing_of_every_step(self) -> None:
        """With three times the training data, what it holds grows as slowly from epoch to epoch.

        Keep sums or the last batch in place of every batch: a run makes millions of steps. Two
        numbers a step are overlooked.
        """
        few, many = (self._growth(times) for times in (1, 3))
        added = (many - few) / 4  # steps more in an epoch
        assert added <= LITTLE, f"in every step it holds {added:g} bytes more: keep sums"

    def test_it_keeps_no_view_of_the_weights(self) -> None:
        """No tensor that it keeps shares memory with a weight or buffer, but these themselves.

        `weight.detach()` changes with the weight: compared with it later, it is always equal. Keep
        `weight.detach().clone()`, or the parameter itself.
        """
        learner, probe, views = self.make_learner(), self.make(), dict[str, Tensor]()
        learner.progress.untrained = [None]  # not evaluated before it learns: that takes time
        run, model = run_of(learner, self.make_tasks()[:1], epochs=1), learner.model
        weights = [*model.parameters(), *model.buffers()]
        others = run, run.optimizer, run.rule, *model.modules(), *weights
        storages = {_storage(each) for each in weights if each.numel()}

        def look() -> None:
            kept = kept_by(probe, others).items()
            views.update({at: it for at, it in kept if _storage(it) in storages})

        with suppress(ProbeStop):
            control = Control(is_due=lambda: True, save=look)
            Trainer(run, learner.progress, control, Probes({"it": probe}, run)).run()
        assert not views, (
            f"it keeps what changes with the model's weights: {', '.join([*views][:5])}. Keep "
            "`.detach().clone()` of them"
        )

    def _growth(self, times: int) -> float:
        """Return the bytes that it holds more after each epoch but the first two."""
        learner, task, probe = self.make_learner(), self.learned.make_task(), self.make()
        learner.progress.untrained = [None]  # not evaluated before it learns: that takes time
        train = replace(task.train, rows=task.train.rows.repeat(times))
        run = run_of(learner, [replace(task, train=train)], epochs=4)
        held = list[int]()

        def save() -> None:
            held.append(sum(each.numel() * each.itemsize for each in kept_by(probe).values()))
            if len(held) == run.epochs:
                raise _EnoughError

        with suppress(_EnoughError, ProbeStop):
            Trainer(run, learner.progress, Control(save=save), Probes({"it": probe}, run)).run()
        return (held[-1] - held[1]) / (len(held) - 2) if len(held) > 2 else 0.0


class _EnoughError(Exception):
    """Nothing else of the run is looked at."""


def _storage(tensor: Tensor) -> int | None:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else None
