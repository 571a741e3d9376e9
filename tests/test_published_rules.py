"""docs/results/rules/published.toml against the protocol of Crulis et al. (2023), in NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from by_hand import Array, linear, normalise, sign
from scripts import script

from bnnlab import Batch, PluginHost, create
from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.objectives import Classes
from bnnlab_testing.equations import draws, float64

study, _ = script("generated.studies").study_of("rules/published")
BATCH, CLASSES, STEPS = 128, 10, 5
Layers = list[dict[str, Array]]


def step(layers: Layers, x: Array, y: Array, lr: float, rule: str, feedback: list[Array]) -> None:
    """Make one step of the published code: gradients are sums over the batch and the outputs."""
    backs, one = [], np.ones(1)
    for layer in layers:
        is_last = layer is layers[-1]
        weight = layer["weight"] if is_last else np.where(layer["weight"] >= 0, 1.0, -1.0)
        x, through = linear(x, weight, one, 0 * one)
        parts = [through]
        if "gamma" in layer:
            x, through = normalise(x, (0,), layer["gamma"], layer["beta"], 1e-3)
            parts.append(through)
        if not is_last:
            x, through = sign(x)
            parts.append(through)
        backs.append(parts)
    outputs = np.tanh(x)
    codes = 2 * np.eye(CLASSES)[y] - 1
    error = 2 * (outputs - codes)
    found: list[dict[str, Array]] = []
    d = error * (1 - outputs**2)
    for number in reversed(range(len(layers))):
        if number < len(feedback):
            d = (error if rule == "dfa" else (codes > 0)) @ feedback[number]
        grads: dict[str, Array] = {}
        for back in reversed(backs[number]):
            d, its = back(d)
            grads |= {{"g": "gamma", "b": "beta"}.get(name, name): g for name, g in its.items()}
        found.insert(0, grads)
    for layer, grads in zip(layers, found, strict=True):
        for name, value in layer.items():
            value -= lr * grads[name]
        layer["weight"].clip(-1, 1, out=layer["weight"])


@pytest.mark.parametrize("cell", study.cells, ids=lambda cell: cell.name)
def test_steps_are_those_of_the_published_code(cell: Any) -> None:
    host, its, name_of_rule = PluginHost(), cell.settings, cell.name.rpartition("-")[2]
    kinds = {kind: dict(its[kind]) for kind in ("model", "rule", "optimizer")}
    kinds["model"] |= {"hidden": [8, 6, 4], "input_shape": (12,), "classes": CLASSES}
    model = create("model", kinds["model"].pop("name"), host=host, **kinds["model"]).double()
    rule, optimizer = (
        create(kind, kinds[kind].pop("name"), model, host=host, **kinds[kind])
        for kind in ("rule", "optimizer")
    )
    feedback = [float64(B) for name, B in rule.named_buffers() if name.startswith("B")]
    if name_of_rule == "drtp":
        feedback = [-CLASSES * B for B in feedback]
    assert all(0.9 < abs(B).max() <= 1.001 for B in feedback)  # uniform within 1
    layers: Layers = []
    for segment in model.segments:
        names = dict(segment.named_parameters())
        layers.append({name.rpartition(".")[2]: float64(p) for name, p in names.items()})
        (weight,) = (p for name, p in names.items() if name.endswith("weight"))
        layers[-1]["weight"] = float64(optimizer.latent(weight))
        assert abs(layers[-1]["weight"]).max() <= its["model"]["init_scale"]
    loss = TaskLoss(Classes(its["loss"]))
    for number in range(STEPS):
        x = torch.randn(BATCH, 12, generator=draws(number), dtype=torch.float64)
        y = torch.randint(0, CLASSES, (BATCH,), generator=draws(100 + number))
        optimizer.step(rule.closure(model, Batch(x, y, loss)))
        lr = its["optimizer"]["lr"] / (BATCH * CLASSES)
        step(layers, float64(x), y.numpy(), lr, name_of_rule, feedback)
        for layer, segment in zip(layers, model.segments, strict=True):
            for name, parameter in segment.named_parameters():
                latent = parameter if parameter.ndim == 1 else optimizer.latent(parameter)
                wanted = layer[name.rpartition(".")[2]]
                np.testing.assert_allclose(float64(latent), wanted, rtol=1e-5, atol=1e-9)
