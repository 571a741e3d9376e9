"""What a rule owes of its closure: it tells of the present weights and batch alone."""

import pytest
import torch

from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.keeping_checks import kept_by, overlap
from bnnlab_testing.rule_checks import RuleChecks, called, gradients_of, negate


class ClosureChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about its closure."""

    def test_the_closure_overwrites_gradients(self) -> None:
        """What was in `.grad` before does not matter, nor what others make of it later.

        Every `.grad` is None when `differentiate` is called. Add to no gradient that you kept from
        before; what you keep is a `.clone()`, as an optimizer may clip gradients in place.
        """
        clean, dirty = self.make_model(), self.make_model()
        rules = self.make(0, clean), self.make(0, dirty)
        for parameter in dirty.parameters():
            parameter.grad = torch.full_like(parameter, 100.0)
        for when in ("are added to old ones", *["depend on what others made of earlier ones"] * 2):
            for rule, model in zip(rules, (clean, dirty), strict=True):
                rule.closure(model, self.batch())()
            assert_close(gradients_of(clean), gradients_of(dirty), f"gradients {when}")
            for parameter in dirty.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(100.0)

    def test_the_closure_evaluates_at_the_weights_as_they_are(self) -> None:
        """Weights that change between making the closure and calling it are the ones that count."""
        early, late = self.twins(), self.twins()
        closure = self.closure(early)
        for model in (early, late):
            negate(model)
            with torch.no_grad():
                for parameter in {*model.parameters()} - {*model.binary_parameters().values()}:
                    parameter.mul_(1.5).add_(0.125)
        (loss, logits), (its_loss, its_logits) = called(closure), called(self.closure(late))
        message = "the closure remembers older weights"
        assert_close([loss, logits], [its_loss, its_logits], message)
        assert_close(gradients_of(early), gradients_of(late), message)

    def test_a_batch_is_known_by_its_numbers(self) -> None:
        """Where other numbers are written into the tensors of a batch, these are learned.

        Do not remember a tensor by its `id` or its address: both come again. A rule that keeps the
        tensors themselves is left out.
        """
        found = []
        for again in (True, False):
            model = self.make_model()
            rule, first = self.make(0, model), self.batch()
            rule.closure(model, first)()
            if any(overlap(first.inputs, each) for each in kept_by(rule).values()):
                pytest.skip("it keeps inputs as they are")
            inputs, targets = first.inputs.flip(0) / 2, first.targets.roll(1)
            if again:
                inputs, targets = first.inputs.copy_(inputs), first.targets.copy_(targets)
            loss = rule.closure(model, first._replace(inputs=inputs, targets=targets))()
            found.append([loss, *gradients_of(model)])
        message = "of a batch in the memory of an earlier one, loss or gradients are others"
        assert_close(found[0], found[1], message)

    def test_the_closure_returns_the_loss_and_keeps_the_logits(self) -> None:
        """A finite scalar and logits (B, K), both cut off from autograd."""
        loss, logits = called(self.closure(self.make_model()))
        assert loss.shape == (), f"the loss has shape {tuple(loss.shape)}"
        assert bool(loss.isfinite()), "the loss is not finite"
        assert logits.shape == (toy.BATCH_SIZE, toy.CLASSES)
        assert not loss.requires_grad, "the loss holds the graph"
        assert not logits.requires_grad, "the logits hold the graph"

    def test_a_reevaluable_closure_repeats_itself(self) -> None:
        """Called again at the same weights it gives the same, also after others."""
        if not self.provides("reevaluable"):
            pytest.skip("it does not provide 'reevaluable'")
        model = self.make_model()
        closure = self.closure(model)
        first, gradients = closure(), gradients_of(model)
        negate(model)
        closure()
        negate(model)
        for loss in (closure(), closure()):
            assert_close([first], [loss], "called again, the closure gives another loss")
            assert_close(gradients, gradients_of(model), "called again, other gradients")
