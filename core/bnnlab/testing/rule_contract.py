"""What a learning rule owes: gradients at the weights that the model holds now."""

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab import building
from bnnlab.components import Kind
from bnnlab.model import Model
from bnnlab.rule import Batch, Closure, LearningRule
from bnnlab.testing import toy
from bnnlab.testing.component_contract import ComponentContract


class LearningRuleContract(ComponentContract):
    """Checks a learning rule. Override `make_model` where it needs a model of another make.

    Attributes:
        steps: Training steps within which the loss on a separable toy must fall.
        falls_to: To which part of its first value.
    """

    kind = Kind.RULE
    steps: ClassVar[int] = 200
    falls_to: ClassVar[float] = 0.7

    def make_model(self) -> Model:
        """Return the model to learn with, for inputs (B, 1, 6, 6) of three classes."""
        return toy.make_model()

    def make(self, seed: int = 0, model: Model | None = None) -> LearningRule:
        """Make the rule and attach it to a model."""
        model = self.make_model() if model is None else model
        return building.make_rule(self.host, self.choice, model, seed=seed)

    def batch(self) -> Batch:
        """Return a batch of 20 examples."""
        task = toy.make_task()
        return Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)

    def closure(self, model: Model, seed: int = 0) -> Closure:
        """Return the closure of a fresh rule on the batch."""
        return self.make(seed, model).closure(model, self.batch())

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Train for three steps."""
        model = self.make_model()
        rule = self.make(seed, model)
        toy.train(model, rule, toy.make_optimizer(model), toy.make_task(), steps=3)
        return [*rule.state_dict().values(), *_gradients(model)]

    def test_gradients_are_finite_and_fit_their_parameters(self) -> None:
        """The closure leaves a gradient of the right shape in every parameter."""
        model = self.make_model()
        self.closure(model)()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} has no gradient"
            assert parameter.grad.shape == parameter.shape, f"{name}: a gradient of another shape"
            assert bool(parameter.grad.isfinite().all()), f"{name}: the gradient is not finite"

    def test_the_closure_overwrites_gradients(self) -> None:
        """What was in `.grad` before does not matter."""
        clean, dirty = self.make_model(), self.make_model()
        closures = self.closure(clean), self.closure(dirty)
        for parameter in dirty.parameters():
            parameter.grad = torch.full_like(parameter, 100.0)
        for closure in closures:
            closure()
        _assert_equal(_gradients(clean), _gradients(dirty), "gradients are added to old ones")

    def test_the_closure_evaluates_at_the_weights_as_they_are(self) -> None:
        """Weights that change between making the closure and calling it are the ones that count."""
        early, late = self.make_model(), self.make_model()
        closure = self.closure(early)
        _negate(early)
        _negate(late)
        losses = closure(), self.closure(late)()
        _assert_equal(losses[:1], losses[1:], "the closure remembers older weights")
        _assert_equal(_gradients(early), _gradients(late), "the closure remembers older weights")

    def test_a_reevaluable_closure_repeats_itself(self) -> None:
        """Called again at the same weights it gives the same, also after others."""
        if not self.provides("reevaluable"):
            pytest.skip("it does not provide 'reevaluable'")
        model = self.make_model()
        closure = self.closure(model)
        first, gradients = closure(), _gradients(model)
        _negate(model)
        closure()
        _negate(model)
        for loss in (closure(), closure()):
            _assert_equal([first], [loss], "called again, the closure gives another loss")
            _assert_equal(gradients, _gradients(model), "called again, other gradients")

    def test_the_closure_returns_the_loss_and_keeps_the_logits(self) -> None:
        """A finite scalar and logits (B, K), both cut off from autograd."""
        closure = self.closure(self.make_model())
        loss = closure()
        assert loss.shape == (), f"the loss has shape {tuple(loss.shape)}"
        assert bool(loss.isfinite()), "the loss is not finite"
        assert closure.logits is not None, "closure.logits is not set"
        assert closure.logits.shape == (toy.BATCH_SIZE, toy.CLASSES)
        assert not loss.requires_grad, "the loss holds the graph"
        assert not closure.logits.requires_grad, "the logits hold the graph"

    def test_the_weights_are_left_to_the_optimizer(self) -> None:
        """Neither attaching nor evaluating changes a parameter."""
        model, untouched = self.make_model(), self.make_model()
        self.closure(model)()
        _assert_equal([*model.parameters()], [*untouched.parameters()], "the rule changes weights")

    def test_the_loss_falls_on_separable_data(self) -> None:
        """With plain descent on latent weights, the toy is learned."""
        model = self.make_model()
        rule, optimizer = self.make(0, model), toy.make_optimizer(model)
        losses = toy.train(model, rule, optimizer, toy.make_task(), steps=self.steps)
        end = sum(losses[-10:]) / 10
        assert end < self.falls_to * losses[0], f"the loss went from {losses[0]:.3f} to {end:.3f}"

    def test_its_state_survives_saving(self) -> None:
        """A rule with another seed that loads the state gives the same gradients."""
        model = self.make_model()
        rule, other = self.make(0, model), self.make(1, model)
        other.load_state_dict(rule.state_dict())
        rule.closure(model, self.batch())()
        gradients = _gradients(model)
        other.closure(model, self.batch())()
        _assert_equal(
            gradients, _gradients(model), "the state holds less than the gradients depend on"
        )


def _gradients(model: Model) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@torch.no_grad()
def _negate(model: Model) -> None:
    for parameter in model.binary_parameters().values():
        parameter.neg_()


def _assert_equal(some: Sequence[Tensor], others: Sequence[Tensor], message: str) -> None:
    torch.testing.assert_close(list(some), list(others), msg=lambda why: f"{message}: {why}")
