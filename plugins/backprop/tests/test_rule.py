"""The rule bp against autograd over the whole network."""

import torch
import torch.nn.functional as F
from torch import nn

from bnnlab import BinaryLinear, Model, Sign
from bnnlab_backprop.rule import Backpropagation
from bnnlab_testing.equations import apart, float64


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
        assert apart(float64(parameter.grad), float64(grad)) == 0
