"""After every task, metrics.jsonl says what became of the weights of every layer."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import BinaryLinear, Kind, Model, PluginHost, RunError
from bnnlab.engine.building import make_optimizer
from bnnlab.settings.layers import choose
from bnnlab_analysis import weights
from bnnlab_testing import toy


class Keeps:
    """Stands for an optimizer that keeps one thing behind every weight."""

    def __init__(self, latent: Any) -> None:
        self.kept = latent

    def latent(self, parameter: Tensor) -> Any:
        return self.kept


def linear(scale: Any = "none") -> Model:
    return Model([BinaryLinear(30, 20, scale=scale, generator=torch.Generator().manual_seed(0))])


def described(latent: Any, model: Model | None = None) -> dict[str, Any]:
    model = model or linear()
    (layer,) = weights.describe(model, Keeps(latent), weights.signs(model))  # type: ignore[arg-type]
    json.dumps(layer, allow_nan=False)
    return layer


def trained(name: str) -> tuple[Model, Any, list[dict[str, Any]], float | None]:
    host = PluginHost()
    choice = choose(host, Kind.OPTIMIZER, name, {})
    real = "real-weights" in choice.component.requires
    model = toy.make_real_model() if real else toy.make_model()
    optimizer = make_optimizer(host, choice, model, seed=0)
    before = weights.signs(model)
    toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=5, end=True)
    layers = weights.describe(model, optimizer, before)
    return model, optimizer, layers, weights.flipped(model, before)


OPTIMIZERS = [
    f"{plugin.distribution}/{component.name}"
    for plugin, component in PluginHost().components()
    if component.kind is Kind.OPTIMIZER
]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_says_what_it_keeps_behind_each_weight(name: str) -> None:
    model, optimizer, layers, _ = trained(name)
    learned = weights.learned_weights(model)
    assert [layer["name"] for layer in layers] == list(learned)
    for layer, parameter in zip(layers, learned.values(), strict=True):
        latent = optimizer.latent(parameter)
        if latent is None:
            assert layer["latent"] is None
            continue
        histogram = layer["latent"]
        values = latent.detach().double().numpy()
        assert histogram["high"] == -histogram["low"] == np.abs(values).max()
        counts, _ = np.histogram(values, 41, (histogram["low"], histogram["high"]))
        assert histogram["counts"] == counts.tolist()
        assert sum(histogram["counts"]) == parameter.numel()


@pytest.mark.parametrize(
    ("name", "key"),
    [("adam", "latent"), ("ewc", "latent"), ("bimu", "lambda"), ("bop", None)],
)
def test_what_is_kept_is_the_latent_weight_the_natural_parameter_or_nothing(
    name: str, key: str | None
) -> None:
    model, optimizer, _, _ = trained(name)
    binary = model.binary_parameters()
    for parameter in model.parameters():
        if any(parameter is each for each in binary.values()):
            expected = None if key is None else optimizer.state[parameter][key]
            assert optimizer.latent(parameter) is expected
        else:
            assert torch.equal(optimizer.latent(parameter), parameter)


def test_flips_of_layers_average_to_the_runs() -> None:
    model, _, layers, share = trained("adam")
    sizes = [parameter.numel() for parameter in model.binary_parameters().values()]
    shares = [layer["flips"] for layer in layers]
    assert len(set(shares)) > 1
    assert share == pytest.approx(np.average(shares, weights=sizes), rel=1e-12)


def test_the_sign_of_a_weight_that_changed_counts_as_a_flip() -> None:
    model = linear()
    before = weights.signs(model)
    with torch.no_grad():
        next(iter(model.parameters()))[0, :12].neg_()
    (layer,) = weights.describe(model, Keeps(None), before)  # type: ignore[arg-type]
    assert layer["flips"] == weights.flipped(model, before) == 12 / 600


def test_scales_are_the_quantiles_of_what_the_layer_learned() -> None:
    model = linear("learned")
    scale = model.get_parameter("segments.0.scale")
    with torch.no_grad():
        scale.copy_(torch.linspace(-1, 3, 20).square())
    quantiles = np.quantile(scale.detach().double().numpy(), [0, 0.25, 0.5, 0.75, 1])
    assert described(None, model)["scale"] == pytest.approx(quantiles, rel=1e-6)
    assert described(None, linear("fan-in"))["scale"] is None


def test_a_model_of_real_weights_is_described_by_its_matrices() -> None:
    model = Model([nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)])
    assert list(weights.learned_weights(model)) == ["segments.0.weight", "segments.2.weight"]
    assert weights.flipped(model, weights.signs(model)) is None


def test_a_histogram_is_exact_across_chunks_and_of_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_CHUNK", 7)
    values = torch.randn(20, 30, generator=torch.Generator().manual_seed(0)).double()
    largest = values.float().abs().max().item()
    expected, _ = np.histogram(values.numpy(), 41, (-largest, largest))
    assert described(values)["latent"]["counts"] == expected.tolist()
    zeros = described(torch.zeros(20, 30))["latent"]
    assert zeros == {"low": -1.0, "high": 1.0, "counts": [0] * 20 + [600] + [0] * 20}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_null_and_the_log_says_so(
    bad: float, caplog: pytest.LogCaptureFixture
) -> None:
    latent = torch.ones(20, 30)
    latent[3, 4] = bad
    model = linear("learned")
    with torch.no_grad():
        model.get_parameter("segments.0.scale")[5] = bad
    with caplog.at_level(logging.WARNING):
        layer = described(latent, model)
    assert (layer["latent"], layer["scale"]) == (None, None)
    assert [record.message for record in caplog.records] == [
        "what is kept behind segments.0.weight is not finite",
        "the learned scale of segments.0.weight is not finite",
    ]


@pytest.mark.parametrize(
    ("latent", "found"),
    [(torch.zeros(3), r"torch.float32 of shape \(3,\)"), (0.5, "float")],
    ids=["shape", "type"],
)
def test_a_latent_of_another_shape_or_type_names_the_optimizer(latent: Any, found: str) -> None:
    with pytest.raises(RunError, match=rf"Keeps\.latent\(\) of .*\(20, 30\), not {found}"):
        described(latent)


def test_a_run_logs_a_line_before_each_evaluation(tmp_path: Path) -> None:
    result = bnnlab.run(
        model={"name": "mlp", "hidden": [16], "scale": "learned"},
        rule="bp",
        optimizer="meta",
        stream={"name": "permuted-digits", "tasks": 2},
        epochs=1,
        out=tmp_path,
        name="run",
        device="cpu",
    )
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    told = [each for each in metrics if each["event"] == "weights"]
    evaluated = [each for each in metrics if each["event"] == "evaluation"]
    for line, evaluation in zip(told, evaluated, strict=True):
        assert metrics.index(line) + 1 == metrics.index(evaluation)
        assert (line["task"], line["step"]) == (evaluation["task"], evaluation["step"])
        sizes = [sum(layer["latent"]["counts"]) for layer in line["layers"]]
        shares = [layer["flips"] for layer in line["layers"]]
        assert evaluation["flips"] == pytest.approx(np.average(shares, weights=sizes), rel=1e-12)
    for layer in told[-1]["layers"]:
        owner = result.model.get_submodule(layer["name"].removesuffix(".weight"))
        scale = owner.get_parameter("scale").detach().numpy()
        assert [layer["scale"][0], layer["scale"][-1]] == [scale.min(), scale.max()]
