"""The comparison of a rule's gradient with the exact one leaves no trace, and is right."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import Batch, BatchNorm, BinaryLinear, LearningRule, Model, Sign
from bnnlab.interfaces.rule import Loss
from bnnlab_analysis.diagnosis import diagnose
from bnnlab_testing import toy


class Turned(LearningRule):
    """Gives the exact gradient to the last segment, and to the first one turned by some angle."""

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.radians = math.radians(degrees)
        self.register_buffer("calls", torch.zeros(()))

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        self.get_buffer("calls").add_(1)
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        (weight,) = model.segments[0].parameters()
        assert weight.grad is not None
        exact = weight.grad.flatten()
        other = torch.randn(exact.shape, generator=torch.Generator().manual_seed(2))
        other -= (other @ exact) / (exact @ exact) * exact
        other *= exact.norm() / other.norm()
        turned = math.cos(self.radians) * exact + math.sin(self.radians) * other
        weight.grad = 3 * turned.view_as(weight)
        return loss, logits


def model(surrogate: Any = "saturating") -> Model:
    g = torch.Generator().manual_seed(1)
    first, last = BinaryLinear(12, 40, generator=g), BinaryLinear(40, 4, generator=g)
    return Model([nn.Sequential(first, Sign(surrogate)), nn.Identity(), last], (12,))


def batch() -> Batch:
    return Batch(
        torch.randn(50, 12, generator=torch.Generator().manual_seed(3)), torch.arange(50) % 4
    )


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 150.0])
def test_the_angle_and_the_norms_are_those_of_the_gradients(degrees: float) -> None:
    first, none, last = diagnose(Turned(degrees), model(), batch())
    assert first["angle"] == pytest.approx(degrees, abs=0.1)
    assert first["exact_norm"] is not None
    assert first["norm"] == pytest.approx(3 * first["exact_norm"], rel=1e-4)
    assert last["angle"] == pytest.approx(0, abs=0.1)
    assert none == {"angle": None, "norm": None, "exact_norm": None, "window": None}


@pytest.mark.parametrize("surrogate", ["saturating", "polynomial", "identity"])
def test_the_window_is_the_share_of_sums_that_the_surrogate_lets_through(surrogate: str) -> None:
    net = model(surrogate)
    x = batch().inputs
    sums = net.segments[0][0](x)  # type: ignore[index]
    expected = 1.0 if surrogate == "identity" else float((sums.abs() <= 1).float().mean())
    assert 0.3 < expected <= 1
    rows = diagnose(Turned(0), net, batch())
    assert rows[0]["window"] == pytest.approx(expected)
    assert rows[2]["window"] is None


def test_a_gradient_of_length_0_has_no_angle() -> None:
    net = model()
    with torch.no_grad():
        net.segments[2].weight.zero_()  # nothing comes back to the first segment
    first, _, last = diagnose(toy.ToyRule(), net, batch())
    assert first["angle"] is None
    assert first["norm"] == first["exact_norm"] == 0
    assert last["angle"] is not None


def test_no_trace_is_left() -> None:
    net = Model([BinaryLinear(12, 9), BatchNorm(9), nn.Dropout(), BinaryLinear(9, 4)], (12,))
    net.segments[0].eval()
    rule = toy.ToyRule()
    rule.register_buffer("calls", torch.zeros(()))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    random = torch.get_rng_state()
    diagnose(rule, net, batch())
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_rules_own_state_is_put_back() -> None:
    rule = Turned(10)
    diagnose(rule, model(), batch())
    assert rule.get_buffer("calls") == 0


def run(tmp_path: Path, name: str, **settings: Any) -> tuple[bnnlab.Result, list[dict[str, Any]]]:
    result = bnnlab.run(
        model={"name": "mlp", "hidden": [32]},
        optimizer="adam",
        stream={"name": "permuted-digits", "tasks": 2},
        epochs=2,
        out=tmp_path,
        name=name,
        device="cpu",
        **settings,
    )
    lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    return result, [json.loads(line) for line in lines]


def test_a_run_logs_it_in_every_epoch_and_is_not_changed_by_it(tmp_path: Path) -> None:
    result, metrics = run(tmp_path, "with", rule="dfa", diagnose=True)
    plain, _ = run(tmp_path, "without", rule="dfa")
    assert result.accuracy == plain.accuracy
    assert plain.diagnosis == []
    logged = [each for each in metrics if each["event"] == "diagnosis"]
    assert [(each["task"], each["epoch"]) for each in logged] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert result.diagnosis == [logged[1]["segments"], logged[3]["segments"]]
    for each in logged:
        hidden, last = each["segments"]
        assert 0 < hidden["angle"] < 90  # aligned, and not equal
        assert last["angle"] == pytest.approx(0, abs=0.1)
        assert 0.3 < hidden["window"] < 1


def squared(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - nn.functional.one_hot(targets, logits.shape[1])).square().mean()


class Squared(toy.ToyRule):
    """Learns by another loss than the batch's."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().differentiate(model, batch._replace(loss=squared))


class SquaredAndSaysSo(Squared):
    def objective(self, batch: Batch) -> Loss:
        return squared


def test_a_rule_is_compared_with_the_gradient_of_its_own_objective() -> None:
    for rule, is_exact in ((Squared(), False), (SquaredAndSaysSo(), True)):
        first, _, last = diagnose(rule, model(), batch())
        for row in (first, last):
            assert row["angle"] is not None
            assert (row["angle"] < 0.1) == is_exact
            assert (row["norm"] == pytest.approx(row["exact_norm"])) == is_exact


def test_the_exact_gradient_goes_through_the_models_inference() -> None:
    net = model()
    net.inference = lambda each, x: each.segments[2](3 * each.segments[0](x))
    first, _, last = diagnose(toy.ToyRule(), net, batch())
    inputs, targets, loss = batch()
    wanted = torch.autograd.grad(
        loss(net.segments[2](3 * net.segments[0](inputs)), targets), [*net.parameters()]
    )
    for row, grad in zip((first, last), wanted, strict=True):
        assert row["exact_norm"] == pytest.approx(float(grad.norm()), rel=1e-5)


# ------------------------------------------------------------- precision and compilation


@pytest.mark.rounding
@pytest.mark.parametrize("rule", ["bp", "dfa", "drtp"])
def test_with_bfloat16_gradients_keep_their_direction_and_their_type(rule: str) -> None:
    net = toy.make_model()
    made = bnnlab.create("rule", rule, net)
    inputs, targets = next(toy.make_task().train.batches(20))
    grads = []
    for precision in (None, torch.bfloat16):
        made.precision = precision
        closure = made.closure(net, (inputs, targets))
        loss = closure()
        assert loss.dtype == torch.float32
        assert closure.logits is not None
        assert closure.logits.dtype == torch.float32
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())
        grads.append([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    exact, cast = (torch.cat(each) for each in grads)
    assert not torch.equal(exact, cast), "nothing was cast"
    # Sums near the surrogate's edge fall on its other side, so single elements may differ.
    assert float(torch.cosine_similarity(exact, cast, dim=0)) > 0.98


@pytest.mark.rounding
def test_a_run_with_bfloat16_learns_as_well(tmp_path: Path) -> None:
    """Five seeds gave losses that differ by at most 3 %, and fall by a tenth and more."""
    losses = []
    for precision in ("float32", "bfloat16"):
        _, lines = run(tmp_path, precision, rule="dfa", precision=precision)
        losses.append([line["loss"] for line in lines if line["event"] == "epoch"])
    plain, cast = losses
    assert cast != plain, "nothing was cast"
    assert cast == pytest.approx(plain, rel=0.1)


def test_what_looks_into_segments_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(bnnlab.UsageError, match=r"compile: rule:dfa looks into the segments"):
        run(tmp_path, "refused", rule={"name": "dfa", "skip": "leak"}, compile=True)
    assert not (tmp_path / "refused").exists()


# What torch's compiler does itself, the last two in torch 2.6.
WARNED_OF = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor",
    "ignore:<class 'torch.autograd.function.Function'> should not be instantiated",
    "ignore:Skipping serialization of",
)


@pytest.mark.slow
@WARNED_OF
def test_all_segments_of_a_deep_model_are_compiled_and_can_be_diagnosed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.utils import counters

    with_inductor = nn.Module.compile  # which needs a C++ compiler
    monkeypatch.setattr(nn.Module, "compile", lambda module: with_inductor(module, backend="eager"))
    counters.clear()
    model = {"name": "vgg-binaryconnect", "width": 0.02, "activations": "binary"}
    result = bnnlab.run(
        model=model, stream="digits", device="cpu", out=tmp_path, compile=True, diagnose=True
    )
    assert counters["stats"]["unique_graphs"] > 9
    assert not counters["unimplemented"], "what torch says when it gives up"
    assert all(segment["window"] is not None for segment in result.diagnosis[0][:-1])


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["bp", "dfa", "drtp"])
@WARNED_OF
def test_compiled_segments_give_equal_gradients(rule: str) -> None:
    """Needs a C++ compiler. Stated tolerance: 1e-5 relative in float32."""
    grads = []
    for compiled in (False, True):
        net = toy.make_model()
        made = bnnlab.create("rule", rule, net)
        if compiled:
            for segment in net.segments:
                segment.compile()
        made.closure(net, next(toy.make_task().train.batches(20)))()
        grads.append([p.grad for p in net.parameters()])
    for exact, other in zip(*grads, strict=True):
        torch.testing.assert_close(exact, other, rtol=1e-5, atol=1e-7)
