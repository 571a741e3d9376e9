"""What the error passes, what is refused, and what the rules keep."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import BinaryConvTranspose2d, BinaryLinear, Model, RunError, Sign, UsageError
from bnnlab.interfaces.rule import Batch
from bnnlab_analysis.diagnosis import diagnose
from bnnlab_feedback.alignment import FeedbackAlignment
from bnnlab_feedback.kolen_pollack import KolenPollack
from bnnlab_feedback.passage import passages
from bnnlab_feedback.rule import FeedbackRule, key
from bnnlab_feedback.sign_symmetric import SignSymmetry
from bnnlab_testing.equations import attached, draws

create = partial(bnnlab.create, host=bnnlab.PluginHost())


class Itself(FeedbackRule):
    """Sends the error back through the weights themselves."""

    name = "itself"

    def start(self, _name: str, weight: Tensor, _generator: torch.Generator) -> Tensor:
        return weight

    def feedback(self, _name: str, weight: Tensor) -> Tensor:
        return weight


def gradients(rule: str | FeedbackRule, model: Model, **options: Any) -> dict[str, Tensor]:
    """Return the gradients of a batch of noise, for a rule by its name or a rule."""
    if isinstance(rule, str):
        rule = create("rule", rule, model, **options)
    else:
        attached(rule, model)
    return learned(rule, model)


def learned(rule: Any, model: Model) -> dict[str, Tensor]:
    assert model.input_shape is not None
    x = torch.randn(6, *model.input_shape, generator=draws(7)).to(next(model.parameters()))
    rule.closure(model, (x, torch.arange(6) % 3))()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# ------------------------------------------------------------- with B = W it is backpropagation


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(5, 4), (5,)),
    "tokens": (BinaryLinear(5, 4, bias=True, scale="learned"), (3, 5)),
    "1-d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (4, 9)),
    "2-d": (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(2, 0), dilation=2), (2, 8, 7)),
    "2-d, same": (nn.Conv2d(2, 4, 3, padding="same", dilation=(2, 1)), (2, 8, 7)),
    "2-d, valid": (nn.Conv2d(2, 4, 2, padding="valid"), (2, 5, 5)),
    "3-d": (nn.Conv3d(2, 3, 2, padding=1), (2, 4, 3, 4)),
    "transposed": (
        BinaryConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, bias=True, scale="learned"),
        (4, 4, 5),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_passes_the_error_as_autograd_does(name: str) -> None:
    layer, shape = LAYERS[name]
    layer.double()
    x = torch.randn(3, *shape, generator=draws(0), dtype=torch.float64, requires_grad=True)
    exact = torch.autograd.grad(layer(x).sin().sum(), [x, *layer.parameters()])
    with passages(layer, {"": lambda weight: weight}):
        y = layer(x)
    found = torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


class Residual(nn.Module):
    """x + f(x), whose f works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), BinaryLinear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.inner(x)
        return y


def residual_model() -> Model:
    shared = nn.Linear(6, 6)
    first = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True))
    return Model([first, Residual(), shared, Sign(), shared, nn.Linear(6, 3)], (4,))


SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [16, 16], "norm": "batch"},
    "vgg-binaryconnect": {"width": 0.05},
    "mlp-mixer": {"dim": 8, "depth": 1},
    "bvit": {"dim": 8, "depth": 1, "heads": 2, "patch": 4},
}
MODELS: dict[str, Callable[[], Model]] = {
    "residual": residual_model,
    **{
        name: partial(create, "model", name, input_shape=(1, 8, 8), classes=3, **options)
        for name, options in SMALL.items()
    },
}


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_with_the_weights_as_feedback_a_model_has_exact_gradients(
    name: str, precision: torch.dtype | None
) -> None:
    model = MODELS[name]()
    bp, own = create("rule", "bp", model), attached(Itself(), model)
    bp.precision = own.precision = precision
    exact, found = learned(bp, model), learned(own, model)
    assert exact.keys() == found.keys()
    near = {} if precision is None else {"rtol": 0.05, "atol": 0.05}
    for parameter, wanted in exact.items():
        size = wanted.abs().max().clamp_min(1e-8)
        torch.testing.assert_close(found[parameter] / size, wanted / size, **near)


def test_uniform_magnitudes_of_binary_weights_would_be_backpropagation() -> None:
    """So they are refused where all layers are binary; else they are those of the real ones."""
    with pytest.raises(UsageError, match=r"it would be rule=bp.*magnitude=fixed or batch"):
        create("rule", "sign-symmetric", MODELS["mlp"](), magnitude="uniform")
    model = create("model", "mlp", input_shape=(4,), classes=3, hidden=[8, 8], real_output=True)
    found, exact = gradients(SignSymmetry("uniform"), model), gradients("bp", model)
    differs = [not torch.allclose(found[name], exact[name]) for name in exact]
    assert differs == [True, True, False]  # what is before the real layer


# ------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("feedback", ["normal", "uniform", "sign"])
def test_fixed_feedback_has_the_size_of_the_initial_weights(feedback: Any, scale: float) -> None:
    layers = [nn.Linear(3, 400), nn.Linear(400, 300), nn.Linear(300, 200), BinaryLinear(200, 300)]
    nn.init.zeros_(layers[2].weight)
    model = Model(layers, (3,))
    rule = attached(FeedbackAlignment(feedback, scale), model)
    uniform = 1 / math.sqrt(3 * 400)  # torch's own initialisation: uniform in +-1 / sqrt(fan-in)
    sizes = {"segments.1": uniform, "segments.2": 1 / math.sqrt(300), "segments.3": 1.0}
    assert rule.layers.keys() == sizes.keys()
    for name, a in sizes.items():
        B = rule.get_buffer(key(name))
        assert B.std() == pytest.approx(scale * a, rel=0.02)
        assert abs(B.mean()) < 5 * scale * a / math.sqrt(B.numel())


def test_magnitudes_are_drawn_once_or_in_every_step() -> None:
    model = Model([nn.Linear(3, 200), nn.Linear(200, 300), nn.Linear(300, 3)], (3,))
    W, name = model.segments[1].weight, "segments.1"
    fixed, batch = (attached(SignSymmetry(kind, 0.7), model) for kind in ("fixed", "batch"))
    seen = []
    for rule in (fixed, batch):
        for begins in (True, False, True):
            if begins:
                rule.step_started()
            seen.append(rule.feedback(name, W.detach()))
    for B in seen:
        assert torch.equal(B.sign(), W.sign())
        rms = B.square().mean().sqrt()
        assert rms == pytest.approx(0.7 * W.square().mean().sqrt().item(), rel=0.02)
        assert B.abs().max() <= math.sqrt(3) * rms * 1.03
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[3], seen[4])
    assert not torch.equal(seen[4], seen[5])
    other = batch.feedback("segments.2", model.segments[2].weight.detach())
    assert not torch.equal(other.abs().flatten()[:9], seen[5].abs().flatten()[:9])


# ------------------------------------------------------------- what Kolen-Pollack learns


def test_a_step_is_learned_once_from_the_mean_of_its_calls() -> None:
    """Each call counts as its rows; a frozen layer's B stays as it is."""
    model = Model([nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 3)], (4,)).double()
    model.segments[2].weight.requires_grad_(False)
    rule = attached(KolenPollack(0.3, 0.2), model)
    B, frozen = (rule.get_buffer(key(f"segments.{n}")).clone() for n in (1, 2))
    x = torch.randn(5, 4, generator=draws(0), dtype=torch.float64)
    y = torch.arange(5) % 3
    found = []
    closure = rule.closure(model, (x, y))
    for rows in (slice(0, 5), slice(0, 2), slice(2, 5)):  # a batch, and its pieces
        batch = closure.batch._replace(inputs=x[rows], targets=y[rows])
        rule.differentiate(model.zero_grad() or model, batch)
        assert torch.equal(rule.get_buffer(key("segments.1")), B)
        found.append(model.segments[1].weight.grad.clone())
    torch.testing.assert_close(found[0], 0.4 * found[1] + 0.6 * found[2])
    rule.step_started()
    rule.step_started()
    torch.testing.assert_close(rule.get_buffer(key("segments.1")), 0.8 * B - 0.3 * found[0])
    assert torch.equal(rule.get_buffer(key("segments.2")), frozen)


def test_the_diagnosis_shows_how_far_feedback_is_from_the_weights() -> None:
    model = Model([nn.Linear(4, 9), nn.Linear(9, 8), nn.Linear(8, 3)], (4,))
    rule = create("rule", "kolen-pollack", model)
    batch = Batch(torch.randn(6, 4, generator=draws(0)), torch.arange(6) % 3)

    def angles() -> list[float | None]:
        return [each["angle"] for each in diagnose(rule, model, batch)]

    *first, last = angles()
    assert all(angle is not None and angle > 1 for angle in first)
    assert last == pytest.approx(0, abs=0.1)  # always exact
    for name in rule.layers:
        rule.get_buffer(key(name)).copy_(model.get_parameter(f"{name}.weight"))
    assert angles() == pytest.approx([0, 0, 0], abs=0.1)


# ------------------------------------------------------------- what is refused


def test_a_model_that_does_not_know_its_inputs_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"fa must know.*input_shape="):
        create("rule", "fa", Model([nn.Linear(4, 4), nn.Linear(4, 2)]))


def test_a_model_in_which_no_error_passes_a_layer_is_refused() -> None:
    model = Model([nn.Sequential(nn.Flatten(), BinaryLinear(4, 3, bias=True))], (2, 2))
    with pytest.raises(UsageError, match=r"give it a hidden layer, or take rule=bp"):
        create("rule", "fa", model)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x)[0]
        return y


class Tied(nn.Module):
    """Reads the weight of a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.layer.weight


@pytest.mark.parametrize(("part", "name"), [(Attending(), "attention"), (Tied(), "layer")])
def test_weights_that_functions_read_are_refused(part: nn.Module, name: str) -> None:
    model = Model([nn.Linear(4, 4), part, nn.Flatten(), nn.Linear(12, 3)], (3, 4))
    with pytest.raises(UsageError, match=rf"segments\.1\.{name} \(\w+\) are read by a function"):
        create("rule", "kolen-pollack", model)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(2, 2, (3, 2), padding="same"),
    ],
)
def test_other_paddings_are_refused_where_the_error_passes(layer: nn.Module) -> None:
    first = nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")  # no error passes it
    tail = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    with pytest.raises(UsageError, match=r"segments\.1 does not: give it padding_mode='zeros'"):
        create("rule", "sign-symmetric", Model([first, layer, tail], (2, 4, 4)))
    create("rule", "sign-symmetric", Model([first, tail], (2, 4, 4)))


def test_a_layer_that_the_error_passes_in_training_alone_is_named() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.a(x)
            return y + self.b(y if self.training else y.detach())

    model = Model([Auxiliary(), nn.Linear(5, 3)], (4,))
    rule = create("rule", "fa", model)
    with pytest.raises(RunError, match=r"pass segments\.0\.b in training.* only segments\.1"):
        learned(rule, model)
