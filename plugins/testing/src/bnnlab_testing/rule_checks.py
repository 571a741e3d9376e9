"""What the parts of `LearningRuleContract` share: a rule to check, and its closure."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.engine import building
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Closure, LearningRule
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
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
