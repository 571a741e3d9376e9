"""Initial weights against torch's initialisations, and what latent weights begin with."""

import math
from typing import Any

import pytest
import torch
from torch import nn

import bnnlab
from bnnlab import BinaryConv2d, BinaryLinear, Model, UsageError
from bnnlab.interfaces.signs import sign
from bnnlab.nn.initialisation import initialise
from bnnlab.nn.layers import Linear


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make() -> Model:
    """Return a model of real and binary layers: 75 to 80, 720 to 40, 1000 to 120 numbers."""
    first = nn.Conv2d(3, 80, 5, padding=2)
    return Model(
        [
            nn.Sequential(first, BinaryConv2d(80, 40, 3, generator=draws()), nn.Flatten()),
            BinaryLinear(1000, 120, bias=True, generator=draws(1)),
            Linear(120, 90),
        ],
        (3, 7, 7),
    )


REFERENCES: dict[str, Any] = {
    "he-normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he-uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "xavier-normal": nn.init.xavier_normal_,
    "xavier-uniform": nn.init.xavier_uniform_,
    "lecun-normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "lecun-uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"),
    "normal": nn.init.normal_,
    "uniform": lambda w: nn.init.uniform_(w, -1, 1),
    "uniform-fan-in": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
}


@pytest.mark.parametrize("init", REFERENCES)
def test_real_and_latent_weights_have_the_law_of_torchs(init: Any) -> None:
    model = make()
    initialise(model, init, 0.5, draws(2))
    binary = model.binary_parameters()
    assert model.initial_latents.keys() == binary.keys()
    weights = {n: p for n, p in model.named_parameters() if p.ndim > 1}
    assert len(weights) == 4
    for name, weight in weights.items():
        found = model.initial_latents.get(name, weight.detach())
        with torch.random.fork_rng():
            torch.manual_seed(3)
            expected = 0.5 * REFERENCES[init](torch.empty_like(weight))
        count = found.numel()
        assert found.std().item() == pytest.approx(expected.std().item(), rel=5 / count**0.5)
        assert abs(found.mean()) < 5 * found.std() / count**0.5
        if "uniform" in init:
            assert found.abs().max().item() == pytest.approx(expected.abs().max().item(), rel=0.01)
        else:
            assert found.abs().max() > 2.5 * found.std()
        if name in binary:
            assert torch.equal(weight, sign(found))


def test_the_default_draws_nothing() -> None:
    model, generator = make(), draws(2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    state = generator.get_state()
    initialise(model, "default", 1.0, generator)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert not model.initial_latents
    assert torch.equal(generator.get_state(), state)
    with pytest.raises(UsageError, match=r"set model\.init, too"):
        initialise(model, "default", 2.0, generator)


@pytest.mark.parametrize("name", ["mlp", "convnet", "vgg-binaryconnect"])
def test_a_model_hands_its_latent_weights_to_the_optimizer(name: str) -> None:
    given: dict[str, Any] = {"input_shape": (1, 8, 8), "classes": 3}
    small = {"width": 0.05} if name.startswith("vgg") else {"hidden": [9]}
    plain = bnnlab.create("model", name, **given, **small)
    model = bnnlab.create("model", name, init="normal", init_scale=0.007, **given, **small)
    assert not plain.initial_latents
    optimizer = bnnlab.create("optimizer", "adam", model)
    latents = {n: optimizer.latent(p) for n, p in model.binary_parameters().items()}
    assert latents.keys() == model.initial_latents.keys()
    for key, latent in latents.items():
        assert torch.equal(latent, model.initial_latents[key])
        assert 0 < latent.abs().max() < 0.05
