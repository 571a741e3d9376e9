"""What a rule owes to the loss that a batch brings: its targets, and which classes it masks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.errors import UsageError
from bnnlab.interfaces.batch import TaskLoss, joined
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES, ClassPerPosition, RealNumbers
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.rule_checks import RuleChecks, called


class LossChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about other losses than that of all classes.

    The last parameter of the model, the bias of its output layer, has the loss's own gradient under
    most rules. Where it has, it must have it with each of these losses, too.
    """

    def test_any_loss_is_declared_as_it_is(self) -> None:
        """The capability 'any-loss' says what the attribute `any_loss` says."""
        declared, has = self.provides("any-loss"), self.make().any_loss
        said = f"it {'provides' if declared else 'does not provide'} 'any-loss'"
        assert declared == has, f"{said}, and any_loss is {has}"

    def test_real_numbers_are_learned_from(self) -> None:
        """A rule that takes any loss has the gradient of the squared error at the output layer."""
        self._needs_any_loss()
        self._check(self.make_model, self._with(RealNumbers(), (toy.CLASSES,)))

    def test_a_class_per_position_is_learned_from(self) -> None:
        """So it has that of the loss of logits (B, T, K), with a class at each position."""
        self._needs_any_loss()
        self._check(toy.make_positions_model, self._with(ClassPerPosition(), (6, toy.CLASSES)))

    def test_a_masked_class_is_not_learned(self) -> None:
        """Where a task's loss is among two classes, the output for the third has no gradient."""
        bias = self._check(self.make_model, self._of_two(0))
        assert not bool(bias[2]), "a class that batch.loss masks is learned"

    def test_rows_of_several_tasks_have_the_mean_of_their_losses(self) -> None:
        """With a mask for each row, the loss is finite, and the gradient is that of the mean."""
        self._check(self.make_model, joined([self._of_two(0), self._of_two(1)]))

    def _check(self, make: Callable[[], Model], batch: Batch) -> Tensor:
        """Check loss and output layer against autograd; return the gradient of its bias."""
        self._needs_an_exact_output()
        model, plain = make(), make()
        try:
            loss, logits = called(self.closure(model, batch=batch))
        except UsageError as refusal:
            if batch.mask is None:
                raise
            pytest.skip(f"it refuses masks: {refusal}")
        expected = batch.loss(logits, batch.targets)
        assert bool(expected.isfinite()), "the loss is not finite"
        assert_close([loss], [expected], "the loss is not batch.loss of the logits", rtol=1e-3)
        toy.ToyRule().closure(plain, batch)()
        found, exact = _last(model), _last(plain)
        message = "the output layer has another gradient than that of batch.loss"
        assert_close([found], [exact], message, rtol=1e-3, atol=1e-6)
        return found

    def _needs_an_exact_output(self) -> None:
        """Skip the check where the usual batch does not have the exact gradient, either."""
        model, plain = self.make_model(), self.make_model()
        self.closure(model)()
        toy.ToyRule().closure(plain, self.batch())()
        found, exact = _last(model), _last(plain)
        if exact.shape != (toy.CLASSES,) or not torch.allclose(found, exact, rtol=1e-3, atol=1e-6):
            pytest.skip("the bias of the output layer has not the gradient of the loss")

    def _needs_any_loss(self) -> None:
        if not self.provides("any-loss"):
            pytest.skip("it does not provide 'any-loss'")

    def _of_two(self, first: int) -> Batch:
        """Return the examples of two classes, with the loss of a task of these."""
        inputs, targets, _ = self.batch()
        mask = torch.zeros(toy.CLASSES, dtype=torch.bool)
        mask[first : first + 2] = True
        rows = mask[targets]
        return Batch(inputs[rows], targets[rows], TaskLoss(CLASSES, mask, first))

    def _with(self, objective: Objective, shape: tuple[int, ...]) -> Batch:
        """Return the inputs with targets of an objective, for outputs of a shape."""
        inputs, *_ = self.batch()
        draws = seeds.generator(0, "targets")
        outputs = torch.randn(len(inputs), *shape, generator=draws)
        return Batch(inputs, objective.sample(outputs, draws), TaskLoss(objective))


def _last(model: Model) -> Tensor:
    """Return the gradient of the last parameter."""
    grad = [*model.parameters()][-1].grad
    assert grad is not None, "the output layer has no gradient"
    return grad
