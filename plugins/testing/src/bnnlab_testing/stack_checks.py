"""What a rule or an optimizer owes that says it is `stackable`: a stack learns as each alone."""

import pytest
import torch

from bnnlab.engine.learner import Learner
from bnnlab.errors import UsageError
from bnnlab.families.stack import Stack, obstacle
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from bnnlab_testing.asserting import tensors_in
from bnnlab_testing.component_contract import ComponentContract

MODELS = 3
NEAR = 1e-3
"""How far results may be apart, per unit of the largest: sums are rounded in another order."""


class StackChecks(ComponentContract):
    """The part of the contracts of rules and optimizers that is about stacks."""

    def stackable(self, seed: int) -> Learner:
        """Make a smooth network, and what learns it."""
        raise NotImplementedError

    def test_a_stack_learns_as_each_alone(self) -> None:
        """What says `stackable` makes the steps of three networks in one as it makes each alone.

        So it is in two steps, of batches that differ, in losses, logits, weights and state.
        """
        try:
            stacked, alone = ([*map(self.stackable, range(MODELS))] for _ in range(2))
        except UsageError as error:
            pytest.skip(f"it does not learn a network of linear layers: {error}")
        if obstacle(stacked[0].rule) or obstacle(stacked[0].optimizer):
            pytest.skip("it does not say that it is stackable")
        stack = Stack(*zip(*((its.model, its.rule, its.optimizer) for its in stacked), strict=True))
        task = toy.make_task()
        batches = [Batch(*each, task.loss) for each in task.train.batches(toy.BATCH_SIZE)]
        for step in range(2):
            own = [batches[(step + number) % len(batches)] for number in range(MODELS)]
            closures = [
                its.rule.closure(its.model, batch) for its, batch in zip(stacked, own, strict=True)
            ]
            answers = stack.step(closures)
            for its, batch, answer in zip(alone, own, answers, strict=True):
                closure = its.rule.closure(its.model, batch)
                loss = its.optimizer.step(closure)
                assert closure.logits is not None
                self._expect_near("loss and logits", [loss, closure.logits], [*answer])
        stack.release()
        for one, other in zip(alone, stacked, strict=True):
            mine, others = (
                tensors_in([each.model.state_dict(), each.optimizer.state_dict()])
                for each in (one, other)
            )
            assert mine.keys() == others.keys(), "a stack leaves other state than each alone"
            for name, value in mine.items():
                self._expect_near(name, [value], [others[name]])

    def _expect_near(
        self, what: str, alone: list[torch.Tensor], stacked: list[torch.Tensor]
    ) -> None:
        for one, other in zip(alone, stacked, strict=True):
            assert one.shape == other.shape, f"{what}: {tuple(other.shape)} in a stack"
            apart = (one.double() - other.double()).abs()
            most = NEAR * max(1e-3, float(one.abs().max()))
            assert float((apart > most).double().mean()) <= 0.01, (
                f"in a stack of three, {what} differs from that of each alone by up to "
                f"{float(apart.max()):.3g}: do not say `stackable`"
            )
