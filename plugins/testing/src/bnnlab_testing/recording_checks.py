"""What a rule or an optimizer owes that says it is `capturable`: a step may be recorded."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from bnnlab.families.around import OptimizerAround
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.saying import says
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, flat
from bnnlab_testing.device_checks import CPU, LearnerChecks
from bnnlab_testing.device_process import call_with_device


class RecordingChecks(LearnerChecks):
    """The part of the contracts of rules and optimizers that is about recorded steps."""

    def test_a_recorded_step_can_be_repeated(self) -> None:
        """What says `capturable` learns the same if a step is recorded on a device, and repeated.

        So it is with other batches, and at other learning rates.
        """
        learner = self.learner(CPU)
        if not says(getattr(learner, self.kind), "capturable"):
            pytest.skip("it does not say that it is capturable")
        if not all(says(each, "capturable") for each in (learner.rule, learner.optimizer)):
            pytest.skip("what it is tried with does not say that it is capturable")
        call_with_device(self, "repeat")

    def repeat(self, device: torch.device) -> None:
        """Make four steps; of others, make two and repeat the second one twice."""
        from bnnlab_testing.device_recording import Recording
        from bnnlab_testing.device_rules import waits

        (own, task), (its, _) = self.begun(device), self.begun(device)
        recording, (x, y) = Recording(), next(task.train.batches(toy.BATCH_SIZE))
        here = Batch(x.clone(), y.clone(), task.loss)
        for step in range(4):
            rows = (torch.arange(toy.BATCH_SIZE) + 5 * step).to(device)
            batch = Batch(*task.train.batch(rows), task.loss)
            here.inputs.copy_(batch.inputs)
            here.targets.copy_(batch.targets)
            for optimizer in (own.optimizer, its.optimizer):
                for group in optimizer.param_groups:
                    group.update({name: 0.8 * group[name] for name in optimizer.rates})
            own.optimizer.step(own.rule.closure(own.model, batch))
            if step > 1:
                its.rule.step_started()
                with _begun(its.optimizer):
                    recording.repeat()
                continue
            closure = its.rule.closure(its.model, here)
            with _begun(its.optimizer), recording if step else nullcontext():
                waits.clear()
                its.optimizer.step(closure)
                assert not step or not waits, (
                    f"a step that waits cannot be recorded: {', '.join(waits)}"
                )
        one, other = (
            flat([each.model.state_dict(), each.rule.state_dict(), each.optimizer.state_dict()])
            for each in (own, its)
        )
        assert_same(
            "recorded and repeated, a step learns otherwise: a number of Python keeps the value "
            "that it had then. Give it by step_numbers() of an optimizer; in step_started() of a "
            "rule, write it into a buffer, in place. It differs in",
            *(one, other),
        )


@contextmanager
def _begun(optimizer: Optimizer) -> Iterator[None]:
    """Do what a step begins with on the host, also of a base, and leave it out of a step."""
    optimizer.step_begins()
    optimizer._in_step = True
    try:
        if isinstance(optimizer, OptimizerAround):
            with _begun(optimizer.base):
                yield
        else:
            yield
    finally:
        optimizer._in_step = False
