"""What the parts of `LearningRuleContract` share: a rule to check, its closure, what it does."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.engine import building
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Closure, LearningRule
from bnnlab.registry.components import Kind
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.asserting import flat, tensors_in
from bnnlab_testing.device_checks import LearnerChecks


class RuleChecks(LearnerChecks):
    """A part of `LearningRuleContract`."""

    kind = Kind.RULE

    def make(self, seed: int = 0, model: Model | None = None) -> LearningRule:
        """Make the rule and attach it to a model."""
        model = self.make_model() if model is None else model
        return building.make_rule(self.host, self.choice, model, seed=seed)

    def batch(self) -> Batch:
        """Return a batch of 20 examples."""
        task = toy.make_task()
        return Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)

    def closure(self, model: Model, seed: int = 0, batch: Batch | None = None) -> Closure:
        """Return the closure of a fresh rule on the batch."""
        return self.make(seed, model).closure(model, self.batch() if batch is None else batch)

    def looks(self, choice: Choice) -> Iterator[Any]:
        """Yield losses, gradients, state and diagnostics after each of two steps of two tasks."""
        model = self.make_model()
        with patch.object(self, "choice", choice):  # which make() makes, also an overridden one
            rule = self.make(0, model)
        optimizer = toy.make_optimizer(model)
        for number in range(4):
            task, done = toy.make_task(number // 2), number % 2
            losses = toy.train(model, rule, optimizer, task, steps=1, done=done, end=done == 1)
            yield flat([losses, gradients_of(model), rule.state_dict(), rule.diagnostics()])


class Training(NamedTuple):
    """What a training showed.

    Attributes:
        losses: Of every step.
        written: What of the batches the rule has written into.
    """

    losses: list[float]
    written: set[str]


def train(model: Model, rule: LearningRule, seed: int, steps: int) -> Training:
    """Train by plain descent on latent weights, on the toy of a seed."""
    seen: dict[int, tuple[str, Tensor, Tensor]] = {}
    closure_of = rule.closure

    def closure(model: Model, batch: Batch) -> Closure:
        for name in ("inputs", "targets"):
            each: Tensor = getattr(batch, name)
            seen.setdefault(id(each), (name, each, each.clone()))
        return closure_of(model, batch)

    with patch.object(rule, "closure", closure):
        optimizer, task = toy.make_optimizer(model), toy.make_task(seed)
        losses = toy.train(model, rule, optimizer, task, steps=steps)
        optimizer.look()  # or a gradient that is NaN at the end would be nobody's
    return Training(losses, {name for name, *both in seen.values() if not torch.equal(*both)})


def called(closure: Closure) -> tuple[Tensor, Tensor]:
    """Call a closure, and return its loss and logits."""
    loss = closure()
    assert closure.logits is not None, "closure.logits is not set"
    return loss, closure.logits


def other_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return a mean loss that no rule expects."""
    return 3 * F.cross_entropy(logits / 2, (targets + 1) % toy.CLASSES)


def gradients_of(model: Model) -> list[Tensor]:
    """Return copies of the gradients that there are."""
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def generators_of(rule: LearningRule) -> dict[str, Tensor]:
    """Return the states of random generators in a rule's state, by place."""
    like, states = torch.Generator().get_state(), tensors_in(rule.state_dict())
    kind = like.dtype, like.shape
    return {name: each for name, each in states.items() if (each.dtype, each.shape) == kind}


def switches_of(model: Model) -> dict[str, bool]:
    """Return which modules are in training mode, and which parameters learn, by name."""
    modes = {f"{name or 'model'}.training": each.training for name, each in model.named_modules()}
    grads = {f"{name}.requires_grad": p.requires_grad for name, p in model.named_parameters()}
    return {**modes, **grads}


def assert_gradients(model: Model) -> None:
    """Check that every parameter has a finite gradient of its shape."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.shape == parameter.shape, f"{name}: a gradient of another shape"
        assert bool(parameter.grad.isfinite().all()), f"{name}: the gradient is not finite"


@torch.no_grad()
def negate(model: Model) -> None:
    """Turn every binary weight around."""
    for parameter in model.binary_parameters().values():
        parameter.neg_()
