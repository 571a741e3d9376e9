"""What a learning rule owes: gradients at the weights that the model holds now."""

import pickle
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab.engine.learner import Learner
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.rule_checks import RuleChecks, called, gradients_of, negate, other_loss


class LearningRuleContract(RuleChecks):
    """Checks a learning rule. Override `make_model` where it needs a model of another make.

    Attributes:
        steps: Training steps within which the loss on each of three separable toys must fall.
        falls_to: To which part of its first value, in the mean.
        own_objective: Whether it minimises something of its own, not the batch's mean loss.
    """

    steps: ClassVar[int] = 60
    falls_to: ClassVar[float] = 0.7
    own_objective: ClassVar[bool] = False

    def make_normalised_model(self) -> Model:
        """Return a model for the same inputs, with batch normalisation by running averages."""
        return toy.make_normalised_model()

    def learner(self, device: torch.device, seed: int = 0) -> Learner:
        """Make the rule, and a plain optimizer."""
        model = self.make_model().to(device)
        return Learner(model, self.make(seed, model), toy.make_optimizer(model))

    def work_on(self, device: torch.device) -> None:
        """Learn; and be asked at several weight draws at once, where it can be."""
        super().work_on(device)
        if self.provides("reevaluable"):
            learner, task = self.learner(device), toy.to(toy.make_task(), device)
            batch = next(task.train.batches(toy.BATCH_SIZE))
            weights = learner.model.binary_parameters().values()
            closure = learner.rule.closure(learner.model, batch)
            closure.at({each: torch.stack([each.detach(), -each.detach()]) for each in weights})

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Train for three steps."""
        model = self.make_model()
        rule = self.make(seed, model)
        toy.train(model, rule, toy.make_optimizer(model), toy.make_task(), steps=3)
        return [*rule.state_dict().values(), *gradients_of(model)]

    def test_gradients_are_finite_and_fit_their_parameters(self) -> None:
        """The closure leaves a gradient of the right shape in every parameter."""
        model = self.make_model()
        self.closure(model)()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} has no gradient"
            assert parameter.grad.shape == parameter.shape, f"{name}: a gradient of another shape"
            assert bool(parameter.grad.isfinite().all()), f"{name}: the gradient is not finite"

    def test_no_gradient_is_all_zero(self) -> None:
        """On the toy every parameter has something to learn."""
        model = self.make_model()
        self.closure(model)()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} has no gradient"
            assert bool(parameter.grad.any()), f"{name}: the gradient is all zero"

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
        """Every example twice in the batch gives the same gradients."""
        self._needs_the_mean_loss()
        once, twice = self.make_model(), self.make_model()
        inputs, targets, loss = self.batch()
        self.closure(once)()
        doubled = Batch(torch.cat([inputs, inputs]), torch.cat([targets, targets]), loss)
        self.closure(twice, batch=doubled)()
        message = "the same examples twice change the gradients"
        assert_close(gradients_of(once), gradients_of(twice), message, rtol=1e-4, atol=1e-6)

    def _needs_the_mean_loss(self) -> None:
        if self.own_objective or not self.provides("gradients"):
            pytest.skip("it minimises something of its own")

    def test_the_closure_overwrites_gradients(self) -> None:
        """What was in `.grad` before does not matter."""
        clean, dirty = self.make_model(), self.make_model()
        closures = self.closure(clean), self.closure(dirty)
        for parameter in dirty.parameters():
            parameter.grad = torch.full_like(parameter, 100.0)
        for closure in closures:
            closure()
        assert_close(gradients_of(clean), gradients_of(dirty), "gradients are added to old ones")

    def test_the_closure_evaluates_at_the_weights_as_they_are(self) -> None:
        """Weights that change between making the closure and calling it are the ones that count."""
        early, late = self.make_model(), self.make_model()
        closure = self.closure(early)
        negate(early)
        negate(late)
        losses = closure(), self.closure(late)()
        assert_close(losses[:1], losses[1:], "the closure remembers older weights")
        assert_close(gradients_of(early), gradients_of(late), "the closure remembers older weights")

    def test_the_closure_returns_the_loss_and_keeps_the_logits(self) -> None:
        """A finite scalar and logits (B, K), both cut off from autograd."""
        loss, logits = called(self.closure(self.make_model()))
        assert loss.shape == (), f"the loss has shape {tuple(loss.shape)}"
        assert bool(loss.isfinite()), "the loss is not finite"
        assert logits.shape == (toy.BATCH_SIZE, toy.CLASSES)
        assert not loss.requires_grad, "the loss holds the graph"
        assert not logits.requires_grad, "the logits hold the graph"

    def test_the_weights_are_left_to_the_optimizer(self) -> None:
        """Neither attaching nor evaluating changes a parameter."""
        model, untouched = self.make_model(), self.make_model()
        self.closure(model)()
        assert_close([*model.parameters()], [*untouched.parameters()], "the rule changes weights")

    def test_attaching_leaves_the_model_alone(self) -> None:
        """Its mode, parameters and buffers are as before."""
        model, untouched = self.make_normalised_model(), self.make_normalised_model()
        for each in (model, untouched):
            each.segments[-1].eval()
        self._attach(model)
        _assert_same_state(model, untouched, "attaching changes it")
        modes = [[module.training for module in each.modules()] for each in (model, untouched)]
        assert modes[0] == modes[1], "attaching changes the model's mode"

    def test_what_the_model_infers_are_logits_with_a_graph(self) -> None:
        """It maps inputs to (B, K), also when saved; the objective of that is a scalar."""
        model, batch = self.make_model().eval(), self.batch()
        rule = self.make(0, model)
        if model.inference is None:
            pytest.skip("the model infers by the composition of its segments")
        with torch.no_grad():
            logits = model(batch.inputs)
            again = pickle.loads(pickle.dumps(model))(batch.inputs)
        assert logits.shape == (toy.BATCH_SIZE, toy.CLASSES), f"it infers {tuple(logits.shape)}"
        assert_close([logits], [again], "model.inference is other when pickled")
        loss = rule.objective(batch)(model(batch.inputs), batch.targets)
        assert loss.ndim == 0, "objective() of the logits is no scalar"
        assert loss.requires_grad, "autograd does not go through model.inference or objective()"

    def test_its_default_model_is_there(self) -> None:
        """`default_model` is an installed model's name."""
        if self.component.default_model is None:
            pytest.skip("it has no default_model")
        self.host.resolve(Kind.MODEL, self.component.default_model)

    def test_running_averages_see_a_batch_once(self) -> None:
        """They move as in a single forward pass in training mode."""
        model, plain = self.make_normalised_model().train(), self.make_normalised_model().train()
        batch = self.batch()
        self._attach(model).closure(model, batch)()
        with torch.no_grad():
            plain(batch.inputs)
        _assert_same_state(model, plain, "other than after one forward pass in training mode")
        assert all(module.training for module in model.modules()), "it changes the model's mode"

    def _attach(self, model: Model) -> LearningRule:
        try:
            return self.make(0, model)
        except UsageError as error:
            pytest.skip(f"make_normalised_model() does not suit it: {error}")

    @pytest.mark.rounding
    def test_the_loss_falls_on_separable_data(self) -> None:
        """With plain descent on latent weights, toys are learned.

        A single short training goes one way or another as the sums of a processor are rounded; over
        the rules of this project, that moves the mean of three by at most a tenth.
        """
        ends = []
        for seed in range(3):
            model = self.make_model()
            rule, optimizer = self.make(seed, model), toy.make_optimizer(model)
            losses = toy.train(model, rule, optimizer, toy.make_task(seed), steps=self.steps)
            ends.append(sum(losses[-10:]) / 10 / losses[0])
        mean = sum(ends) / 3
        assert mean < self.falls_to, f"the loss goes to {mean:.2f} of its first value, in the mean"


def _assert_same_state(model: Model, other: Model, message: str) -> None:
    states = model.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys(), (
        "the model's parameters or buffers are not the same"
    )
    for name, value in states[0].items():
        assert_close([value], [states[1][name]], f"{name}: {message}")
