"""Scales that are the mean sizes of latent weights: the optimizer keeps them, or is refused."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnlab
from bnnlab import BinaryConv2d, BinaryConvTranspose2d, BinaryLinear, Model, UsageError
from bnnlab.interfaces.signs import sign


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make() -> Model:
    g, same = draws(), {"scale": "latent"}
    images: Any = [
        BinaryConv2d(2, 6, 3, generator=g, **same),
        BinaryConvTranspose2d(6, 4, 2, groups=2, generator=g, **same),
        nn.Flatten(),
    ]
    last = BinaryLinear(100, 3, generator=g, scale="latent")
    return Model([nn.Sequential(*images), nn.Sequential(last, nn.LayerNorm(3))], (2, 6, 6))


def expected(model: Model, optimizer: Any) -> dict[str, np.ndarray]:
    """Return alpha = mean |latent| of each output."""
    found = {}
    for name, parameter in model.binary_parameters().items():
        latent = optimizer.latent(parameter).double().abs().numpy()
        if name == "segments.0.1.weight":  # (inputs, outputs / groups, ...), in two groups
            latent = np.concatenate([half.swapaxes(0, 1) for half in np.split(latent, 2)])
        found[name.replace("weight", "scale")] = latent.reshape(len(latent), -1).mean(1)
    return found


def assert_follows(model: Model, optimizer: Any) -> None:
    state = model.state_dict()
    for name, alpha in expected(model, optimizer).items():
        np.testing.assert_allclose(state[name].numpy(), alpha, rtol=1e-5)


def learn(model: Model, optimizer: Any, steps: int) -> None:
    rule = bnnlab.create("rule", "bp", model)
    for _ in range(steps):
        x, y = torch.randn(6, 2, 6, 6, generator=draws(1)), torch.arange(6) % 3
        optimizer.step(rule.closure(model, (x, y)))


@pytest.mark.parametrize(("name", "options"), [
    ("adam", {"lr": 0.05}), ("sgd", {"lr": 0.5, "latent_clip": 0.04}), ("meta", {"lr": 0.05}),
    ("ewc", {"base": "adam"}),
])  # fmt: skip
def test_the_scale_is_the_mean_size_of_the_latent_weights(name: str, options: Any) -> None:
    model = make()
    optimizer = bnnlab.create("optimizer", name, model, **options)
    before = {key: alpha.copy() for key, alpha in expected(model, optimizer).items()}
    assert_follows(model, optimizer)
    learn(model, optimizer, 2)
    assert_follows(model, optimizer)
    assert any(not np.allclose(before[key], a) for key, a in expected(model, optimizer).items())


def test_outputs_and_gradients_are_those_of_scaled_signs() -> None:
    """As with a weight alpha sign(W), of which alpha is a constant and sign is passed through."""
    g = draws(3)
    layer = BinaryLinear(5, 4, scale="latent", generator=g)
    latent, x = torch.randn(4, 5, generator=g), torch.randn(7, 5, generator=g)
    with torch.no_grad():
        layer.weight.copy_(sign(latent))
    layer.follow(latent)
    target = torch.randn(7, 4, generator=g)
    F.mse_loss(layer(x), target).backward()
    W = latent.clone().requires_grad_()
    through: Tensor = W + (sign(W) - W).detach()
    F.mse_loss(F.linear(x, W.abs().mean(1, keepdim=True).detach() * through), target).backward()
    torch.testing.assert_close(layer.weight.grad, W.grad)


def test_a_model_and_its_optimizer_go_on_from_their_states() -> None:
    model, other = make(), make()
    optimizer = bnnlab.create("optimizer", "adam", model, lr=0.05)
    learn(model, optimizer, 2)
    again = bnnlab.create("optimizer", "adam", other, lr=0.05, seed=1)
    other.load_state_dict(model.state_dict())
    again.load_state_dict(optimizer.state_dict())
    for each in ((model, optimizer), (other, again)):
        learn(*each, 2)
    assert_follows(other, again)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize("name", ["bop", "bayesbinn", "bimu"])
def test_an_optimizer_without_latent_weights_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"scale 'latent'\), and \w+ writes none"):
        bnnlab.create("optimizer", name, make())
    with pytest.raises(UsageError, match=r"model\.scale"):
        bnnlab.run(rule="bp", optimizer=name, model={"name": "mlp", "scale": "latent"})
