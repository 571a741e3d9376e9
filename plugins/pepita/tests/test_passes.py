"""What a pass takes for a layer's activity, whatever follows the layer."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pepita_nets import arbitrary, gradients, noise_for
from torch import Tensor, nn
from torch.nn.modules import activation

from bnnlab import BatchNorm, Sign
from bnnlab_pepita.passes import CleanPass
from bnnlab_pepita.rule import InputModulation
from bnnlab_testing.equations import attached


def activity(*modules: nn.Module) -> Tensor:
    """Return that of a linear layer (6, 5) before these modules."""
    model = arbitrary(nn.Linear(4, 5), *modules, nn.Linear(5, 3), shape=(4,))
    clean = CleanPass(2, keep_graphs=False)
    clean.run(model, {}, noise_for(model)[0])
    return clean.h.popleft()


def layer_output() -> Tensor:
    model = arbitrary(nn.Linear(4, 5), shape=(4,))
    return torch.as_tensor(model(noise_for(model)[0])).detach()


def torch_activations() -> Iterator[nn.Module]:
    for name in activation.__all__:
        made = getattr(activation, name)
        if name == "Threshold":
            yield made(0.1, -1.0)
        elif name == "RReLU":
            yield made().eval()
        elif name in ("Softmin", "Softmax", "LogSoftmax"):
            yield made(dim=1)
        elif name not in ("MultiheadAttention", "GLU", "Softmax2d"):
            yield made()


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


@pytest.mark.parametrize("made", [*torch_activations(), Sign(), Cube()], ids=repr)
def test_the_activity_is_what_an_activation_gives(made: nn.Module) -> None:
    made = made.double()
    torch.testing.assert_close(activity(made), made(layer_output()).detach())
    torch.testing.assert_close(activity(nn.Dropout(0.0), made), made(layer_output()).detach())


@pytest.mark.parametrize("other", [
    nn.Identity(), nn.Dropout(0.0), nn.LayerNorm(5), nn.LayerNorm(5, elementwise_affine=False),
    BatchNorm(5, affine=False), nn.Flatten(), nn.MaxPool1d(1), nn.Sequential(nn.Identity()),
], ids=repr)  # fmt: skip
def test_the_activity_is_the_layers_own_output_without_an_activation(other: nn.Module) -> None:
    torch.testing.assert_close(activity(other.double()), layer_output())


def test_only_the_first_activation_counts() -> None:
    wanted = torch.tanh(layer_output())
    torch.testing.assert_close(activity(nn.Tanh(), nn.ReLU(inplace=True)), wanted)


class InPlace(nn.Module):
    """Everything that is not its own tensor is overwritten."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.first, self.second, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        x = Sign()(self.act(self.first(x)) - 1)
        y = self.second(x)
        y = y.mul_(2) if self.inplace else y * 2
        y = self.last(y)
        return y.mul_(2) if self.inplace else y * 2


@pytest.mark.parametrize("kind", ["modulated", "clean"])
def test_in_place_changes_make_no_difference(kind: Any) -> None:
    found = []
    for inplace in (False, True):
        model = arbitrary(InPlace(inplace), shape=(4,))
        attached(InputModulation(kind, gain=5.0), model).closure(model, noise_for(model))()
        found.append(gradients(model))
    assert len(found[0]) == 6
    for name, grad in found[0].items():
        assert grad.any(), name
        assert torch.equal(grad, found[1][name]), name
