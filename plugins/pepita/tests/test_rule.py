"""The projection of the error, what is the same in both passes, memory, and what is refused."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pepita_nets import arbitrary, gradients, noise_for
from torch import Tensor, nn

from bnnlab import BatchNorm, Model, UsageError, create
from bnnlab.errors import RunError
from bnnlab.nn.dropout import Dropout
from bnnlab_pepita.rule import InputModulation
from bnnlab_testing.equations import attached, draws
from bnnlab_testing.memory import peak_bytes

KINDS = ["modulated", "clean"]


def modulation(model: Model, kind: Any = "modulated", seed: int = 3, **options: Any) -> Any:
    return attached(InputModulation(kind, **options), model, seed)


# ------------------------------------------------------------- the projection of the error


def linear_net() -> Model:
    return arbitrary(nn.Linear(8, 6), nn.Linear(6, 5), nn.Linear(5, 3), shape=(8,))


def test_hidden_updates_are_proportional_to_the_gain() -> None:
    """In a linear net: exactly at clean presynaptic activities, else to first order."""
    found: dict[tuple[str, float], dict[str, Tensor]] = {}
    for kind in KINDS:
        for gain in (1e-4, 2e-4, 4.0):
            model = linear_net()
            modulation(model, kind, gain=gain).closure(model, noise_for(model))()
            found[kind, gain] = gradients(model)
    for name in ("segments.0.weight", "segments.1.weight", "segments.1.bias"):
        small, double, large = (found["clean", gain][name] for gain in (1e-4, 2e-4, 4.0))
        torch.testing.assert_close(double, 2 * small)
        torch.testing.assert_close(large, 40000 * small)
        small, double, large = (found["modulated", gain][name] for gain in (1e-4, 2e-4, 4.0))
        torch.testing.assert_close(double, 2 * small, rtol=1e-3, atol=1e-9)
        assert small.any()
        if name.endswith("weight"):
            assert not torch.allclose(large, 40000 * small, rtol=1e-3)


def test_the_projection_is_uniform_and_of_the_papers_size() -> None:
    model = Model([nn.Flatten(), nn.Linear(300, 100)], (3, 10, 10))
    rule = modulation(model)
    bound = 0.05 * math.sqrt(6 / 300)
    assert rule.F.shape == (300, 100)
    assert rule.F.abs().max() <= bound
    assert rule.F.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert rule.F.mean().abs() < 0.02 * bound
    assert torch.equal(rule.F, modulation(model).F)
    assert not torch.equal(rule.F, modulation(model, seed=4).F)


def test_a_resumed_run_goes_on_with_the_decayed_gain() -> None:
    def steps(rule: Any, numbers: range) -> list[Tensor]:
        model = linear_net()
        seen = []
        for number in numbers:
            rule.closure(model, noise_for(model, number))()
            seen += gradients(model).values()
        return seen

    whole = modulation(linear_net(), decay=0.9)
    wanted = steps(whole, range(5))
    first, resumed = (modulation(linear_net(), seed=seed, decay=0.9) for seed in (3, 4))
    found = steps(first, range(3))
    resumed.load_state_dict(first.state_dict())
    found += steps(resumed, range(3, 5))
    assert all(map(torch.equal, wanted, found))


def test_a_closure_is_one_step_however_often_it_is_called() -> None:
    model = linear_net()
    rule = modulation(model, decay=0.5)
    closure = rule.closure(model, noise_for(model))
    closure()
    once = gradients(model)
    closure()
    assert all(torch.equal(grad, once[name]) for name, grad in gradients(model).items())
    rule.closure(model, noise_for(model))()
    assert not torch.equal(gradients(model)["segments.0.weight"], once["segments.0.weight"])


# ------------------------------------------------------------- what is the same in both passes


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_bnnlab_has_the_same_masks_in_both_passes_and_others_in_the_next(
    kind: Any,
) -> None:
    dropout = Dropout(0.5, draws(0))
    first, second = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), dropout), nn.Linear(40, 9)
    model = Model([first, nn.Sequential(second, nn.Tanh()), nn.Linear(9, 3)], (6,)).double()
    x, y = noise_for(model)
    rule = modulation(model, kind, gain=0.0)
    for number in (1, 2):
        rule.closure(model, (x, y))()
        assert dropout.drawn == number
        found = gradients(model)
        assert {n for n, grad in found.items() if grad.any()} == {
            "segments.2.weight",
            "segments.2.bias",
        }


class Torn(Model):
    """Dropout, batch statistics of torch and of ours, and a normalised output."""

    def __init__(self) -> None:
        segments = [
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(0.3), nn.ReLU()),
            nn.Sequential(nn.Flatten(), nn.Linear(64, 9), BatchNorm(9), nn.Tanh(), nn.Dropout()),
            nn.Sequential(nn.Linear(9, 3), BatchNorm(3)),
        ]
        super().__init__(segments, (1, 6, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_without_gain_hidden_layers_learn_nothing_and_the_output_layer_exactly(kind: Any) -> None:
    model = Torn().double()
    x, y = noise_for(model)
    rule = modulation(model, kind, gain=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rule.closure(model, (x, y))()
        after = torch.get_rng_state()
        found = gradients(model)
        torch.manual_seed(0)
        expected = F.cross_entropy(model(x), y)  # one forward pass
        assert torch.equal(torch.get_rng_state(), after)
    layer = model.segments[2][0]
    exact = torch.autograd.grad(expected, [layer.weight, layer.bias])
    torch.testing.assert_close([found.pop("segments.2.0.weight"), found.pop("segments.2.0.bias")],
                               list(exact), rtol=1e-9, atol=1e-12)  # fmt: skip
    assert found.keys() == {f"segments.{at}.{part}" for at in ("0.0", "1.1")
                            for part in ("weight", "bias")}  # fmt: skip
    for name, grad in found.items():
        assert grad.abs().max() < 1e-13, name


def test_running_averages_and_the_mode_are_those_of_one_clean_forward_pass() -> None:
    model, plain = Torn(), Torn()
    plain.load_state_dict(model.state_dict())
    x, y = noise_for(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modulation(model, gain=100.0).closure(model, (x, y))()
        torch.manual_seed(0)
        plain(x)
    for (name, one), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert model.segments[0][1].num_batches_tracked == 1
    assert all(module.training for module in model.modules())


def test_in_evaluation_mode_running_averages_are_used_and_kept() -> None:
    model = Torn().eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    closure = modulation(model).closure(model, noise_for(model))
    closure()
    assert closure.logits is not None
    torch.testing.assert_close(closure.logits, model(noise_for(model)[0]).detach())
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


# ------------------------------------------------------------- memory


class Skip(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.Sigmoid())
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.act(x + self.inside(x)))


def test_one_activity_a_layer_is_held() -> None:
    """Also where skip connections pass by everything, and norms have parameters."""
    width, depth, count = 64, 16, 512
    segments = [*(Skip(width) for _ in range(depth)), nn.Linear(width, 4)]
    model = Model(segments, (width,))
    closure = modulation(model).closure(model, noise_for(model, count=count))
    activation = 4 * count * width
    assert depth < peak_bytes(closure) / activation < depth + 12


# ------------------------------------------------------------- any architecture


class Attention(nn.Module):
    """A transformer, whose attention multiplies by weights that no layer is called for."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8, generator=draws(0)))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return torch.as_tensor(self.head(self.block(x)[:, 0]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_called_layer_gets_no_gradient_and_optimizers_leave_it(kind: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model([Attention()], (5, 8))
        rule = modulation(model, kind)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        create("optimizer", "adam", model).step(rule.closure(model, noise_for(model)))
    layers = ("block.linear1", "block.linear2", "head")
    taught = {f"segments.0.{at}.{part}" for at in layers for part in ("weight", "bias")}
    assert gradients(model).keys() == taught
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == taught


def test_a_layer_that_is_called_twice_learns_from_both() -> None:
    shared, twin = nn.Linear(4, 4), nn.Linear(4, 4)
    head = nn.Linear(4, 3)
    one = arbitrary(shared, nn.Tanh(), shared, nn.Tanh(), head, shape=(4,))
    two = arbitrary(nn.Linear(4, 4), nn.Tanh(), twin, nn.Tanh(), nn.Linear(4, 3), shape=(4,))
    state = one.state_dict()
    two.load_state_dict(state)
    for model in (one, two):
        modulation(model).closure(model, noise_for(model))()
    assert twin.weight.grad is not None
    first = gradients(two)["segments.0.weight"]
    torch.testing.assert_close(shared.weight.grad, first + twin.weight.grad)


def test_no_hook_stays_behind_even_after_an_error() -> None:
    model = linear_net()
    rule = modulation(model)
    with pytest.raises(RunError, match=r"cannot take \(B, 7\)"):
        rule.closure(model, (torch.ones(2, 7).double(), torch.tensor([0, 1])))()
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# ------------------------------------------------------------- what is refused


def test_a_model_that_does_not_know_its_inputs_shape_is_refused_and_told_how_to() -> None:
    with pytest.raises(UsageError, match="input_shape="):
        modulation(Model([nn.Linear(4, 2)]))


@pytest.mark.parametrize("empty", [nn.Flatten(), nn.Bilinear(2, 2, 2)])
def test_a_model_without_a_weight_layer_is_refused(empty: nn.Module) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = empty

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(empty(x, x) if isinstance(empty, nn.Bilinear) else empty(x))

    with pytest.raises(UsageError, match="calls none"):
        modulation(Model([Twice()], (2,)))


def test_a_model_that_calls_other_layers_in_training_is_an_error() -> None:
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.last(self.first(x) if self.training else x))

    model = Model([Fickle()], (4,))
    with pytest.raises(RunError, match="2 weight layers in training, and 1"):
        modulation(model).closure(model, noise_for(model))()


def test_every_kind_of_convolution_is_taught() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.ConvTranspose1d(3, 2, 3), nn.ReLU(),
                            nn.Flatten(), nn.Linear(16, 4))  # fmt: skip
        model = Model([net], (2, 8))
        x = torch.randn(5, 2, 8)
    create("rule", "pepita", model).closure(model, (x, torch.arange(5) % 4))()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
