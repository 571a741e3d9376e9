"""What a rule owes whenever its closure is called: the loss of the batch, and gradients of it."""

from contextlib import suppress
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, flat
from bnnlab_testing.rule_checks import (
    RuleChecks,
    assert_gradients,
    called,
    generators_of,
    gradients_of,
    other_loss,
)


class GradientChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about loss and gradients.

    Attributes:
        own_objective: Whether it minimises something of its own, not the batch's mean loss.
    """

    own_objective: ClassVar[bool] = False

    def test_gradients_are_finite_and_fit_their_parameters(self) -> None:
        """The closure leaves a gradient of the right shape in every parameter."""
        model = self.make_model()
        self.closure(model)()
        assert_gradients(model)

    def test_no_gradient_is_all_zero(self) -> None:
        """On the toy every parameter has something to learn, and one at least in a second task."""
        model = self.make_model()
        rule, optimizer = self._started(model), toy.make_optimizer(model)
        rule.closure(model, self.batch())()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} has no gradient"
            assert bool(parameter.grad.any()), f"{name}: the gradient is all zero"
        toy.train(model, rule, optimizer, toy.make_task(), steps=1, done=1, end=True)
        toy.train(model, rule, optimizer, toy.make_task(1), steps=1)
        found = any(bool(each.any()) for each in gradients_of(model))
        assert found, "in a second task, the gradient is all zero"

    def test_no_gradient_is_turned_around(self) -> None:
        """No parameter has the exact gradient of the loss, but with the other sign.

        A rule may approximate gradients; what is exact but for its sign goes uphill in one layer,
        while the others may still learn.
        """
        self._needs_the_mean_loss()
        model, plain = self.make_model(), self.make_model()
        rule, batch = self.make(0, model), self.batch()
        rule.closure(model, batch)()
        toy.ToyRule().closure(plain, batch._replace(loss=rule.objective(batch)))()
        for (name, one), two in zip(model.named_parameters(), plain.parameters(), strict=True):
            if one.grad is not None and two.grad is not None and one.numel() > 2:
                like = float(F.cosine_similarity(one.grad.flatten(), two.grad.flatten(), dim=0))
                assert like > -0.999, f"{name}: the gradient has the other sign"

    def test_the_loss_is_the_batchs_own(self) -> None:
        """With another `batch.loss` that one is returned, and every weight's gradient follows."""
        self._needs_the_mean_loss()
        model, changed = self.make_model(), self.make_model()
        batch = self.batch()._replace(loss=other_loss)
        self.closure(model)()
        loss, logits = called(self.closure(changed, batch=batch))
        expected = other_loss(logits, batch.targets)
        assert_close([loss], [expected], "the loss is not batch.loss of the logits", rtol=1e-3)
        for (name, one), two in zip(model.named_parameters(), changed.parameters(), strict=True):
            if one.ndim < 2 or one.grad is None or two.grad is None:
                continue
            same = torch.allclose(one.grad, two.grad, rtol=1e-3)
            assert not same, f"{name}: with another batch.loss the gradient is the same"

    def test_gradients_are_those_of_the_batch_mean(self) -> None:
        """Every example twice in the batch gives the same gradients.

        So it is after the start of a task, which says how large batches are as a rule. Where a step
        leaves a trace in the state, as a count or a random generator does, each row may have noise
        of its own: then gradients are compared in their size.
        """
        self._needs_the_mean_loss()
        models = self.make_model(), self.make_model()
        inputs, targets, loss = self.batch()
        doubled = Batch(torch.cat([inputs, inputs]), torch.cat([targets, targets]), loss)
        for model, batch in zip(models, (self.batch(), doubled), strict=True):
            rule = self._started(model)
            before = flat(rule.state_dict())
            rule.closure(model, batch)()
        once, twice = map(gradients_of, models)
        if flat(rule.state_dict()) != before:
            sizes = [float(torch.cat([g.flatten() for g in each]).norm()) for each in (once, twice)]
            assert max(sizes) < 1.4 * min(sizes), (
                f"with the same examples twice, gradients have the norm {sizes[1]:.3g} in place of "
                f"{sizes[0]:.3g}"
            )
            return
        message = "the same examples twice change the gradients"
        assert_close(once, twice, message, rtol=1e-4, atol=1e-6)

    def _started(self, model: Model) -> LearningRule:
        """Return a rule that has heard of the start of a task."""
        rule = self.make(0, model)
        rule.task_started(toy.context(toy.make_task(), model, rule, toy.GOES_ON))
        return rule

    def test_the_order_of_examples_does_not_matter(self) -> None:
        """With the rows of a batch in reverse, the loss and all gradients are the same.

        The mean loss knows no order, and a stream shuffles. Use each row alike. A rule that draws
        in a step is left out.
        """
        self._needs_the_mean_loss()
        model, turned = self.make_model(), self.make_model()
        rule, batch = self.make(0, model), self.batch()
        before = flat(generators_of(rule))
        loss = rule.closure(model, batch)()
        if not self.provides("reevaluable") or flat(generators_of(rule)) != before:
            pytest.skip("what it draws may follow the order")
        reverse = batch._replace(inputs=batch.inputs.flip(0), targets=batch.targets.flip(0))
        other = self.closure(turned, batch=reverse)()
        message = "with the rows in another order,"
        assert_close([loss], [other], f"{message} the loss is another", rtol=1e-3)
        grads = gradients_of(model), gradients_of(turned)
        assert_close(*grads, f"{message} gradients are others", rtol=1e-3, atol=1e-6)

    def _needs_the_mean_loss(self) -> None:
        if self.own_objective or not self.provides("gradients"):
            pytest.skip("it minimises something of its own")

    def test_a_last_batch_of_another_size_is_learned_from(self) -> None:
        """After 20 examples, 7 give finite gradients, and not all of them are zero; one alone, too.

        If the 20 have left no trace in its state, those of the 7 are as if these came first: the
        last batch of an epoch is learned like the others. Ask each batch for its size; that of one
        example keeps its first dimension, and has no spread. It may have a gradient of zero, or be
        refused by a UsageError.
        """
        model, other = self.make_model(), self.make_model()
        rule, batch = self._started(model), self.batch()
        before = flat(rule.state_dict())
        first, last = (
            batch._replace(inputs=batch.inputs[:rows], targets=batch.targets[:rows])
            for rows in (1, 7)
        )
        with suppress(UsageError):
            self._learned_from(rule, model, first)
        for each in (batch, last):
            self._learned_from(rule, model, each)
        found = gradients_of(model)
        assert any(bool(each.any()) for each in found), (
            "of 7 examples, after 20, all gradients are zero"
        )
        if self.provides("reevaluable") and flat(rule.state_dict()) == before:
            self._started(other).closure(other, last)()
            message = "of 7 examples, after 20, gradients are others than of these 7 alone"
            assert_close(found, gradients_of(other), message, rtol=1e-4, atol=1e-6)

    def _learned_from(self, rule: LearningRule, model: Model, batch: Batch) -> None:
        """Check the logits and gradients of a batch."""
        size, rows = len(batch.targets), len(called(rule.closure(model, batch))[1])
        assert rows == size, f"for {size} examples there are {rows} rows of logits"
        assert_gradients(model)
