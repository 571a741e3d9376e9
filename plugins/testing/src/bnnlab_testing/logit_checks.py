"""What a rule owes of its logits: they are the model's, without labels, also at weight draws."""

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import LearningRule, evaluate_draws
from bnnlab.interfaces.signs import random_signs
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.rule_checks import RuleChecks, called, other_loss


class LogitChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about logits, also at several weight draws."""

    def test_the_logits_are_those_that_the_model_infers(self) -> None:
        """It learns the network that is evaluated, with all factors of its layers."""
        model, batch = self.make_model().eval(), self.batch()
        closure = self.closure(model, batch=batch)
        with torch.no_grad():
            inferred = model(batch.inputs)
        _, logits = called(closure)
        assert_close([logits], [inferred], "the logits are not those of the model", rtol=1e-3)

    def test_the_logits_know_no_labels(self) -> None:
        """With other labels they are the same: accuracy in training is counted from them."""
        batch, found = self.batch(), list[Tensor]()
        for targets in (batch.targets, (batch.targets + 1) % toy.CLASSES):
            closure = self.closure(self.make_model(), batch=batch._replace(targets=targets))
            found.append(called(closure)[1])
        assert_close(found[:1], found[1:], "with other labels of the batch, the logits are others")

    def test_draws_at_once_are_those_one_by_one(self) -> None:
        """What `differentiate_draws` finds, if it is there, is what `differentiate` finds."""
        model = self.make_model()
        rule = self.make(0, model)
        if type(rule).differentiate_draws is LearningRule.differentiate_draws:
            pytest.skip("it does not implement differentiate_draws()")
        batch, draws = self.batch()._replace(loss=other_loss), _draws_of(model)
        closure = rule.closure(model, batch)
        logits = []

        def call() -> Tensor:
            loss, found = called(closure)
            logits.append(found)
            return loss

        loss, grads = evaluate_draws(call, draws, model.parameters())
        one_by_one = [grads.get(p, p.grad) for p in model.parameters()]
        loss_at_once, at_once = closure.at(draws)
        assert closure.logits is not None, "closure.logits is not set"
        mean = torch.stack(logits).softmax(-1).mean(0)
        where = "differentiate_draws() against one draw after another"
        assert_close([loss_at_once], [loss], f"{where}: the loss", rtol=1e-3)
        assert_close([closure.logits.exp()], [mean], f"{where}: the probabilities", rtol=1e-3)
        for (name, parameter), other in zip(model.named_parameters(), one_by_one, strict=True):
            one = at_once.get(parameter) if parameter in draws else parameter.grad
            assert one is not None, f"{where}: {name} has no gradient"
            assert other is not None, f"without differentiate_draws(), {name} has no gradient"
            assert_close([one], [other], f"{where}: gradients of {name}", rtol=1e-3)


def _draws_of(model: Model) -> dict[Tensor, Tensor]:
    """Return three draws of every binary weight, or of every matrix where none is binary."""
    generator = seeds.generator(0, "draws")
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    return {
        weight: weight.detach() * random_signs((3, *weight.shape), generator)
        for weight in (model.binary_parameters().values() or matrices)
    }
