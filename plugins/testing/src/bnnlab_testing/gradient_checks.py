"""What a rule owes whenever its closure is called: the loss of the batch, and gradients of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces.batch import Batch
from bnnlab.interfaces.saying import says
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.batch_checks import BatchChecks
from bnnlab_testing.rule_checks import assert_gradients, called, gradients_of, other_loss

SOME = 8
"""Numbers whose signs are not all turned by chance, with each of three seeds."""


class GradientChecks(BatchChecks):
    """The part of `LearningRuleContract` that is about loss and gradients."""

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
        """No parameter has the gradient of the loss with the other sign, exactly or in its signs.

        A rule may approximate gradients; where all numbers have the other sign than the exact ones,
        with three seeds, it goes uphill in one layer, while the others may still learn.
        """
        self._needs_the_mean_loss()
        turned = self._turned(0)
        for seed in (1, 2):
            turned = turned and turned & self._turned(seed)
        assert not turned, f"{', '.join(sorted(turned))}: the gradient has the other sign"

    def test_an_exact_rule_leaves_the_gradient_of_the_loss(self) -> None:
        """The gradients of a rule that says `exact` are those of `batch.loss`, but for rounding.

        For compiled loops make them in its place.
        """
        model, plain = self.make_model(), self.make_model()
        rule = self.make(0, model)
        if not says(rule, "exact"):
            pytest.skip("it does not say that it is exact")
        for index in range(2):
            task = toy.make_task(index)
            batch = Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)
            rule.closure(model, batch)()
            toy.ToyRule().closure(plain, batch)()
            assert_close(
                gradients_of(model),
                gradients_of(plain),
                "the gradient is not that of batch.loss: do not say `exact`",
                rtol=1e-3,
            )

    def _turned(self, seed: int) -> set[str]:
        """Return the parameters whose gradients of a rule with this seed are turned around."""
        model, plain = self.make_model(), self.make_model()
        rule, batch = self.make(seed, model), self.batch()
        rule.closure(model, batch)()
        toy.ToyRule().closure(plain, batch._replace(loss=rule.objective(batch)))()
        return {
            name
            for (name, one), two in zip(model.named_parameters(), plain.parameters(), strict=True)
            if one.grad is not None and two.grad is not None and one.numel() > 2
            if _is_turned(one.grad.flatten(), two.grad.flatten())
        }

    def test_the_loss_is_the_batchs_own(self) -> None:
        """With another `batch.loss` that one is returned, and every weight's gradient follows.

        A rule without `any_loss` may compute the cross-entropy of `batch.masked(logits)` itself. Of
        it, the usual loss alone is compared.
        """
        self._needs_the_mean_loss()
        model, changed = self.make_model(), self.make_model()
        rule, batch = self.make(0, changed), self.batch()
        if rule.any_loss:
            batch = batch._replace(loss=other_loss)
        self.closure(model)()
        loss, logits = called(rule.closure(changed, batch))
        expected = batch.loss(logits, batch.targets)
        assert_close([loss], [expected], "the loss is not batch.loss of the logits", rtol=1e-3)
        if not rule.any_loss:
            return
        for (name, one), two in zip(model.named_parameters(), changed.parameters(), strict=True):
            if one.ndim < 2 or one.grad is None or two.grad is None:
                continue
            same = torch.allclose(one.grad, two.grad, rtol=1e-3)
            assert not same, f"{name}: with another batch.loss the gradient is the same"

    def _needs_the_mean_loss(self) -> None:
        if self.own_objective or not self.provides("gradients"):
            pytest.skip("it minimises something of its own")


def _is_turned(grad: Tensor, exact: Tensor) -> bool:
    """Return whether a gradient is the exact one with the other sign, or has the other signs."""
    signs = (grad.sign() * exact.sign())[exact != 0]
    is_against = len(signs) >= SOME and float(signs.mean()) < -0.98
    return is_against or float(F.cosine_similarity(grad, exact, dim=0)) < -0.999
