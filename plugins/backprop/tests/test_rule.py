"""The rule bp against autograd over the whole network."""

import torch
import torch.nn.functional as F
from torch import nn

from bnnlab import Batch, BinaryLinear, Model, Sign
from bnnlab_backprop.rule import Backpropagation


def make_model() -> Model:
    draws = torch.Generator().manual_seed(0)
    hidden = nn.Sequential(BinaryLinear(6, 5, bias=True, generator=draws), Sign())
    return Model([hidden, BinaryLinear(5, 3, scale="learned", generator=draws)])


INPUTS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
TARGETS = torch.arange(8) % 3


def test_gradients_and_loss_are_those_of_autograd() -> None:
    model = make_model()
    closure = Backpropagation().closure(model, (INPUTS, TARGETS))
    loss = closure()
    expected = F.cross_entropy(model(INPUTS), TARGETS)
    grads = torch.autograd.grad(expected, list(model.parameters()))
    assert torch.equal(loss, expected.detach())
    assert not loss.requires_grad
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, grad)


def test_a_closure_overwrites_gradients_and_keeps_its_last_logits() -> None:
    model = make_model()
    closure = Backpropagation().closure(model, (INPUTS, TARGETS))
    assert closure.logits is None
    closure()
    once = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    closure()
    assert all(map(torch.equal, once, (p.grad for p in model.parameters())))
    assert closure.logits is not None
    assert torch.equal(closure.logits, model(INPUTS).detach())


def test_a_closure_sees_the_weights_as_they_are_when_it_is_called() -> None:
    model = make_model()
    closure = Backpropagation().closure(model, (INPUTS, TARGETS))
    before = closure()
    with torch.no_grad():
        model.binary_parameters()["segments.1.weight"].neg_()
    after = closure()
    assert before != after
    assert torch.equal(after, F.cross_entropy(model(INPUTS), TARGETS).detach())


def test_the_batchs_own_loss_is_used() -> None:
    model = make_model()

    def squared_hinge(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        signs = 2.0 * F.one_hot(targets, 3) - 1
        return (1 - signs * logits).clamp_min(0).square().mean()

    loss = Backpropagation().closure(model, Batch(INPUTS, TARGETS, squared_hinge))()
    assert torch.equal(loss, squared_hinge(model(INPUTS), TARGETS).detach())
