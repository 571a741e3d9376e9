"""What a rule owes to what a batch brings: its targets, which classes it masks, its inputs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.errors import UsageError, explain
from bnnlab.interfaces.batch import TaskLoss, joined
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES, Classes, ClassPerPosition, RealNumbers
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.rule_checks import RuleChecks, assert_gradients, called


class LossChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about other targets, masks and inputs.

    The last parameter of the model, the bias of its output layer, has the loss's own gradient under
    most rules. Where it has, it must have it with each of these losses, too.
    """

    def test_any_loss_is_declared_as_it_is(self) -> None:
        """The capability 'any-loss' says what the attribute `any_loss` says."""
        declared, has = self.provides("any-loss"), self.make().any_loss
        said = f"it {'provides' if declared else 'does not provide'} 'any-loss'"
        assert declared == has, f"{said}, and any_loss is {has}"

    def test_another_loss_of_classes_is_learned(self) -> None:
        """A rule that takes other losses has the squared hinge's gradient at the output layer."""
        if not (self.provides("any-loss") or self.provides("class-losses")):
            pytest.skip("it provides neither 'any-loss' nor 'class-losses'")
        rule = self.make()
        assert rule.any_loss or rule.class_losses, (
            "it provides 'class-losses', and class_losses is False"
        )
        batch = self.batch()._replace(loss=TaskLoss(Classes("squared-hinge")))
        self._check(self.make_model, batch)

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

    def test_token_ids_are_learned_from(self) -> None:
        """On inputs that are token ids, every parameter has a gradient, or they are refused."""
        if self.needs("real-weights"):
            pytest.skip("it needs real weights, and the toy of token ids is binary")
        model, task = toy.tokens.make_model(), toy.tokens.make_task()
        batch = Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)
        try:
            self.closure(model, batch=batch)()
        except UsageError as refusal:
            pytest.skip(f"it refuses token ids: {refusal}")
        except Exception as error:
            raise AssertionError(
                f"with token ids: {explain(error)}. Refuse in attach() a model that has `tokens`"
            ) from error
        assert_gradients(model)

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
