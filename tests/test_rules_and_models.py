"""Every rule teaches every model, on real images."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

import bnnlab
from bnnlab import Kind, PluginHost
from bnnlab.interfaces.stream import Task
from bnnlab.registry.components import Component

HOST = PluginHost()
RULES = sorted({component.name for _, component in HOST.components(Kind.RULE)} - {"distill"})
"""`distill`, which differentiates as `bp` does, needs a teacher on the model's own inputs."""
OTHERS = {"torchvision", "vgg19", "resnet18", "resnet50", "mobilenet_v2"}
"""Those below, and twins of one that is here; residual blocks are in `mobilenet_v3_small`, too."""
MODELS = {c.name: c for _, c in HOST.components(Kind.MODEL) if c.name not in OTHERS}
SMALL: dict[str, Any] = {"width": 0.125, "hidden": [32, 32], "dim": 32, "depth": 2, "patch": 2}
"""Options that make a model small, for those that have them."""


def small(component: Component) -> dict[str, Any]:
    """Return the options that make a model small: the test is of how they fit."""
    return {o.name: SMALL[o.name] for o in component.options if o.name in SMALL}


@cache
def digits() -> Task:
    """Return the handwritten digits; they are parsed and checked once for all tests."""
    (task,) = bnnlab.create("stream", "digits", host=HOST)
    return task


def batches(count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of handwritten digits, (B, 1, 8, 8)."""
    yield from digits().train.batches(size, torch.arange(count * size))


def train(model: bnnlab.Model, rule: str, steps: int, by: str = "sgd", size: int = 8) -> None:
    """Train for some steps, and see that weights change and stay what they are."""
    made = bnnlab.create("rule", rule, model, host=HOST)
    # Latent weights so small that any step turns their signs.
    optimizer = bnnlab.create("optimizer", by, model, lr=0.01, latent_init=1e-9, host=HOST)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.train()
    for inputs, targets in batches(steps, size):
        if model.input_shape != inputs.shape[1:]:
            assert model.input_shape is not None
            scaled = torch.nn.functional.interpolate(inputs, model.input_shape[1:])
            inputs = scaled.expand(-1, *model.input_shape)
        loss = optimizer.step(made.closure(model, (inputs, targets)))
        assert bool(loss.isfinite())
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert all(bool((p.abs() == 1).all()) for p in model.binary_parameters().values())
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed & (model.binary_parameters().keys() or before.keys()), "no sign has flipped"


RELAXING = {"bptt", "eqprop"}
"""Rules under which states come to rest: no normalisation, no signs."""
SLOW = {"mobilenet_v3_small"}  # its steps take seconds


def pair(rule: str, name: str) -> Any:
    """Return a rule and a model; they are tried always if one of them is a common one."""
    always = name not in SLOW and (rule in ("bp", "dfa") or name.endswith("mlp"))
    return pytest.param(rule, name, marks=[] if always else [pytest.mark.slow])


@pytest.mark.parametrize(("rule", "name"), [pair(rule, name) for rule in RULES for name in MODELS])
def test_every_rule_takes_steps_with_every_model(rule: str, name: str) -> None:
    sizes = {"input_shape": (1, 8, 8), "classes": 10, **small(MODELS[name])}
    model = bnnlab.create("model", name, host=HOST, **sizes)
    if rule in RELAXING and not name.startswith("eqprop-"):
        with pytest.raises(
            bnnlab.UsageError, match=r"segment 1 has .* for a relaxation it must be"
        ):
            bnnlab.create("rule", rule, model, host=HOST)
        return
    # This update of a learned scale grows with the scale, step by step, where nothing bounds it.
    train(model, rule, 2, by="adam" if (rule, name) == ("pepita", "bvit") else "sgd")


TRIED = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_large", "regnet_y_400mf", "resnet50",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11_bn",
    "vit_b_32",
)  # fmt: skip
"""One of each family of torchvision, and both kinds of some."""
SIDES = {"inception_v3": 96, "maxvit_t": 224}
FUNCTIONAL = {"googlenet", "inception_v3"}  # their activations are functions, and stay real


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "architecture"),
    [*(("dfa", each) for each in TRIED), ("drtp", "densenet121"), ("drtp", "swin_v2_t")],
)
def test_torchvisions_networks_learn_by_local_rules_and_by_gradients(
    rule: str, architecture: str
) -> None:
    assert architecture in torchvision.models.list_models(module=torchvision.models)
    side = SIDES.get(architecture, 64)
    model = bnnlab.create(
        "model",
        f"torchvision:{architecture}",
        input_shape=(3, side, side),
        classes=10,
        activations="real" if architecture in FUNCTIONAL else "binary",
    )
    assert len(model.segments) > 1
    assert len(model.binary_parameters()) > 3
    train(model, rule, steps=2, size=2)
    model.zero_grad()
    model(torch.randn(2, 3, side, side)).logsumexp(1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
