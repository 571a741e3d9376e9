"""PEPITA and signal propagation against both passes written out in NumPy."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import activation

from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, Model, Sign, UsageError, create
from bnnlab.errors import RunError
from bnnlab_pepita.passes import CleanPass
from bnnlab_pepita.rule import InputModulation
from bnnlab_testing.equations import Array, draws, float64
from bnnlab_testing.memory import peak_bytes

KINDS = ["modulated", "clean"]


def attached(model: Model, kind: Any = "modulated", seed: int = 3, **options: Any) -> Any:
    rule = InputModulation(kind, **options)
    rule.attach(model, draws(seed))
    return rule


def some(model: Model, seed: int = 0, count: int = 6) -> tuple[Tensor, Tensor]:
    assert model.input_shape is not None
    like = next(model.parameters())
    x = torch.randn(count, *model.input_shape, generator=draws(seed)).to(like)
    return x, torch.randint(0, 3, (count,), generator=draws(seed + 1000))


def gradients(model: Model) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def in_numbers(*segments: nn.Module, shape: tuple[int, ...]) -> Model:
    """Return a model in float64 with nothing at its special starting value."""
    model = Model(segments, shape).double()
    with torch.no_grad():
        binary = set(model.binary_parameters())
        for seed, (name, parameter) in enumerate(model.named_parameters()):
            if name not in binary:
                noise = torch.randn(parameter.shape, generator=draws(seed), dtype=torch.float64)
                is_gain = parameter.ndim == 1 and not name.endswith("bias")
                parameter.copy_(0.4 * noise + is_gain)
    return model


# ------------------------------------------------------------- the transcription's parts
# A layer returns its output; a `Trace` notes what it was given and how its parameters learn.


class Trace:
    """One pass: for each weight layer its name, input, gradients given d, and activity."""

    def __init__(self, p: dict[str, Array], statistics: Iterator[Any] | None = None) -> None:
        self.p, self.layers = p, []
        self.given, self.statistics = statistics, []

    def linear(self, name: str, x: Array) -> Array:
        W, b, s = (self.p.get(f"{name}.{part}") for part in ("weight", "bias", "scale"))
        s = np.ones(len(W)) if s is None else s

        def learn(x: Array, d: Array) -> dict[str, Array]:
            x, d = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])  # tokens are summed
            return {"weight": (d * s).T @ x, "scale": (d * (x @ W.T)).sum(0), "bias": d.sum(0)}

        self.layers.append([name, x, learn, None])
        return s * (x @ W.T) + (0 if b is None else b)

    def conv(self, name: str, x: Array, padding: int, stride: int, groups: int, s: float) -> Array:
        W = self.p[f"{name}.weight"]
        k, outputs, inputs = W.shape[-1], len(W) // groups, W.shape[1]

        def windows(x: Array) -> Iterator[tuple[int, int, int, int, int, Array]]:
            x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
            H, V = ((n - k) // stride + 1 for n in x.shape[2:])
            for o in range(len(W)):
                for c in range(inputs):
                    for u in range(k):
                        for v in range(k):
                            part = x[:, o // outputs * inputs + c, u:, v:]
                            yield o, c, u, v, H, part[:, ::stride, ::stride][:, :H, :V]

        def learn(x: Array, d: Array) -> dict[str, Array]:
            dW = np.zeros_like(W)
            for o, c, u, v, _, part in windows(x):
                dW[o, c, u, v] = s * (d[:, o] * part).sum()
            return {"weight": dW, "bias": d.sum((0, 2, 3))}

        self.layers.append([name, x, learn, None])
        y: Any = [0.0] * len(W)
        for o, c, u, v, _, part in windows(x):
            y[o] = y[o] + s * W[o, c, u, v] * part
        b = self.p.get(f"{name}.bias")
        return np.stack(y, 1) + (0 if b is None else b[:, None, None])

    def is_activity(self, h: Array) -> Array:
        self.layers[-1][3] = h
        return h

    def batch_norm(self, x: Array, g: Array | float = 1.0, b: Array | float = 0.0) -> Array:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        if self.given is None:
            self.statistics.append((x.mean(axes, keepdims=True), x.var(axes, keepdims=True)))
            mean, variance = self.statistics[-1]
        else:
            mean, variance = next(self.given)  # those of the clean pass
        return g * (x - mean) / np.sqrt(variance + 1e-5) + b


def layer_norm(x: Array) -> Array:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def sign(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def max_pool(x: Array) -> Array:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


def two_passes(
    net: Callable[[Trace, Array], Array],
    p: dict[str, Array],
    modulate: Array,
    x: Array,
    y: Array,
    kind: str,
) -> tuple[float, dict[str, Array]]:
    """Return the clean loss and all weight layers' gradients; `modulate` is the gain times F."""
    clean = Trace(p)
    logits = net(clean, x)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    e = softmax - np.eye(logits.shape[1])[y]  # not divided by the batch
    modulated = Trace(p, iter(clean.statistics))
    net(modulated, x + (e @ modulate.T).reshape(x.shape))
    found = {}
    for (name, x0, learn, h0), (_, x1, _, h1) in zip(clean.layers, modulated.layers, strict=True):
        d = e if name == clean.layers[-1][0] else h0 - h1
        for part, grad in learn(x0 if kind == "clean" else x1, d).items():
            if f"{name}.{part}" in p:
                found[f"{name}.{part}"] = grad / len(x)
    return float(-np.log(softmax[np.arange(len(y)), y]).mean()), found


# ------------------------------------------------------------- the networks


def dense(norm: str) -> Model:
    g = draws(1)
    between = nn.LayerNorm(7, elementwise_affine=False) if norm == "layer" else BatchNorm(7)
    return in_numbers(
        BinaryLinear(12, 9, bias=True, scale="learned", generator=g),
        nn.BatchNorm1d(9) if norm == "batch" else nn.Identity(),
        Sign(),
        nn.Linear(9, 7),
        between,
        nn.Tanh(),
        nn.Linear(7, 4, bias=False),
        shape=(12,),
    )


def dense_in_numpy(norm: str) -> Callable[[Trace, Array], Array]:
    def net(trace: Trace, x: Array) -> Array:
        p, layers = trace.p, norm == "layer"
        a = trace.linear("segments.0", x)
        a = a if layers else trace.batch_norm(a, p["segments.1.weight"], p["segments.1.bias"])
        h = trace.is_activity(sign(a))
        a = trace.linear("segments.3", h)
        a = (
            layer_norm(a)
            if layers
            else trace.batch_norm(a, p["segments.4.gamma"], p["segments.4.beta"])
        )
        h = trace.is_activity(np.tanh(a))
        return trace.linear("segments.6", h)

    return net


def conv() -> Model:
    """Pooling, a depthwise, and a grouped strided convolution with its own output as activity."""
    g = draws(1)
    return in_numbers(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Hardtanh(),
        BinaryConv2d(4, 6, 3, stride=2, groups=2, generator=g),
        nn.MaxPool2d(2),
        nn.ReLU(),  # its shape is not the layer's
        nn.Flatten(),
        nn.Linear(6, 3),
        shape=(2, 12, 12),
    )


def conv_in_numpy(trace: Trace, x: Array) -> Array:
    a = trace.batch_norm(trace.conv("segments.0", x, 1, 1, 1, 1.0))
    h = max_pool(trace.is_activity(relu(a)))
    h = trace.is_activity(np.clip(trace.conv("segments.4", h, 1, 1, 4, 1.0), -1, 1))
    a = trace.is_activity(trace.conv("segments.6", h, 0, 2, 2, 1 / math.sqrt(18)))
    return trace.linear("segments.10", relu(max_pool(a)).reshape(len(x), -1))


class Blocks(nn.Module):
    """Tokens (B, T, 5): an in-place residual block, then their mean; one activation for all."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ELU(inplace=True)
        self.embed, self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 8)
        self.mixed, self.head = nn.Linear(4, 4, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.embed(x))
        x = x + self.second(self.act(self.first(x)))
        x = self.act(self.mixed(x.mT).mT + x)
        return torch.as_tensor(self.head(x.mean(1)))


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def blocks_in_numpy(trace: Trace, x: Array) -> Array:
    x = trace.is_activity(elu(trace.linear("segments.0.embed", x)))
    h = trace.is_activity(elu(trace.linear("segments.0.first", x)))
    x = x + trace.is_activity(trace.linear("segments.0.second", h))
    mixed = trace.is_activity(trace.linear("segments.0.mixed", x.transpose(0, 2, 1)))
    x = elu(mixed.transpose(0, 2, 1) + x)  # (B, T, 8), and the layer's output is (B, 8, T)
    return trace.linear("segments.0.head", x.mean(1))


NETS: dict[str, tuple[Callable[[], Model], Callable[[Trace, Array], Array]]] = {
    "dense with layer norm": (lambda: dense("layer"), dense_in_numpy("layer")),
    "dense with batch norm": (lambda: dense("batch"), dense_in_numpy("batch")),
    "convolutions": (conv, conv_in_numpy),
    "tokens and skips": (
        lambda: in_numbers(Blocks(), shape=(4, 5)),
        blocks_in_numpy,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("net", NETS)
def test_gradients_agree_with_numpy(net: str, kind: Any) -> None:
    make, transcription = NETS[net]
    model = make()
    rule = attached(model, kind, gain=30.0, decay=0.5)
    p = {name: float64(parameter) for name, parameter in model.named_parameters()}
    for step in range(1, 4):
        x, y = some(model, step, 30)
        loss = rule.closure(model, (x, y))()
        modulate = 30.0 * 0.5**step * float64(rule.F)
        wanted, grads = two_passes(transcription, p, modulate, float64(x), y.numpy(), kind)
        assert loss.item() == pytest.approx(wanted, rel=1e-9)
        found = gradients(model)
        assert found.keys() == grads.keys()  # norms learn nothing
        for name, grad in grads.items():
            assert np.abs(grad).max() > 1e-6, name
            error = np.abs(float64(found[name]) - grad).max() / np.abs(grad).max()
            assert error < 1e-6, name


# ------------------------------------------------------------- the projection of the error


def linear_net() -> Model:
    return in_numbers(nn.Linear(8, 6), nn.Linear(6, 5), nn.Linear(5, 3), shape=(8,))


def test_hidden_updates_are_proportional_to_the_gain() -> None:
    """In a linear net: exactly at clean presynaptic activities, else to first order."""
    found: dict[tuple[str, float], dict[str, Tensor]] = {}
    for kind in KINDS:
        for gain in (1e-4, 2e-4, 4.0):
            model = linear_net()
            attached(model, kind, gain=gain).closure(model, some(model))()
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
    rule = attached(model)
    bound = 0.05 * math.sqrt(6 / 300)
    assert rule.F.shape == (300, 100)
    assert rule.F.abs().max() <= bound
    assert rule.F.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert rule.F.mean().abs() < 0.02 * bound
    assert torch.equal(rule.F, attached(model).F)
    assert not torch.equal(rule.F, attached(model, seed=4).F)


def test_a_resumed_run_goes_on_with_the_decayed_gain() -> None:
    def steps(rule: Any, numbers: range) -> list[Tensor]:
        model = linear_net()
        seen = []
        for number in numbers:
            rule.closure(model, some(model, number))()
            seen += gradients(model).values()
        return seen

    whole = attached(linear_net(), decay=0.9)
    wanted = steps(whole, range(5))
    first, resumed = (attached(linear_net(), seed=seed, decay=0.9) for seed in (3, 4))
    found = steps(first, range(3))
    resumed.load_state_dict(first.state_dict())
    found += steps(resumed, range(3, 5))
    assert all(map(torch.equal, wanted, found))


def test_a_closure_is_one_step_however_often_it_is_called() -> None:
    model = linear_net()
    rule = attached(model, decay=0.5)
    closure = rule.closure(model, some(model))
    closure()
    once = gradients(model)
    closure()
    assert all(torch.equal(grad, once[name]) for name, grad in gradients(model).items())
    rule.closure(model, some(model))()
    assert not torch.equal(gradients(model)["segments.0.weight"], once["segments.0.weight"])


# ------------------------------------------------------------- what is the same in both passes


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
    x, y = some(model)
    rule = attached(model, kind, gain=0.0)
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
    x, y = some(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attached(model, gain=100.0).closure(model, (x, y))()
        torch.manual_seed(0)
        plain(x)
    for (name, one), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert model.segments[0][1].num_batches_tracked == 1
    assert all(module.training for module in model.modules())


def test_in_evaluation_mode_running_averages_are_used_and_kept() -> None:
    model = Torn().eval()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    closure = attached(model).closure(model, some(model))
    closure()
    assert closure.logits is not None
    torch.testing.assert_close(closure.logits, model(some(model)[0]).detach())
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


# ------------------------------------------------------------- activities


def activity(*modules: nn.Module) -> Tensor:
    """Return that of a linear layer (6, 5) before these modules."""
    model = in_numbers(nn.Linear(4, 5), *modules, nn.Linear(5, 3), shape=(4,))
    clean = CleanPass(2, keep_graphs=False)
    clean.run(model, {}, some(model)[0])
    return clean.h.popleft()


def layer_output() -> Tensor:
    model = in_numbers(nn.Linear(4, 5), shape=(4,))
    return torch.as_tensor(model(some(model)[0])).detach()


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


@pytest.mark.parametrize("kind", KINDS)
def test_in_place_changes_make_no_difference(kind: Any) -> None:
    found = []
    for inplace in (False, True):
        model = in_numbers(InPlace(inplace), shape=(4,))
        attached(model, kind, gain=5.0).closure(model, some(model))()
        found.append(gradients(model))
    assert len(found[0]) == 6
    for name, grad in found[0].items():
        assert grad.any(), name
        assert torch.equal(grad, found[1][name]), name


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
    closure = attached(model).closure(model, some(model, count=count))
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
        rule = attached(model, kind)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        create("optimizer", "adam", model).step(rule.closure(model, some(model)))
    layers = ("block.linear1", "block.linear2", "head")
    taught = {f"segments.0.{at}.{part}" for at in layers for part in ("weight", "bias")}
    assert gradients(model).keys() == taught
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == taught


def test_a_layer_that_is_called_twice_learns_from_both() -> None:
    shared, twin = nn.Linear(4, 4), nn.Linear(4, 4)
    head = nn.Linear(4, 3)
    one = in_numbers(shared, nn.Tanh(), shared, nn.Tanh(), head, shape=(4,))
    two = in_numbers(nn.Linear(4, 4), nn.Tanh(), twin, nn.Tanh(), nn.Linear(4, 3), shape=(4,))
    state = one.state_dict()
    two.load_state_dict(state)
    for model in (one, two):
        attached(model).closure(model, some(model))()
    assert twin.weight.grad is not None
    first = gradients(two)["segments.0.weight"]
    torch.testing.assert_close(shared.weight.grad, first + twin.weight.grad)


def test_no_hook_stays_behind_even_after_an_error() -> None:
    model = linear_net()
    rule = attached(model)
    with pytest.raises(RunError, match=r"cannot take \(B, 7\)"):
        rule.closure(model, (torch.ones(2, 7).double(), torch.tensor([0, 1])))()
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# ------------------------------------------------------------- what is refused


def test_a_model_that_does_not_know_its_inputs_shape_is_refused_and_told_how_to() -> None:
    with pytest.raises(UsageError, match="input_shape="):
        attached(Model([nn.Linear(4, 2)]))


@pytest.mark.parametrize("empty", [nn.Flatten(), nn.Bilinear(2, 2, 2)])
def test_a_model_without_a_weight_layer_is_refused(empty: nn.Module) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = empty

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(empty(x, x) if isinstance(empty, nn.Bilinear) else empty(x))

    with pytest.raises(UsageError, match="calls none"):
        attached(Model([Twice()], (2,)))


def test_a_model_that_calls_other_layers_in_training_is_an_error() -> None:
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.last(self.first(x) if self.training else x))

    model = Model([Fickle()], (4,))
    with pytest.raises(RunError, match="2 weight layers in training, and 1"):
        attached(model).closure(model, some(model))()


def test_every_kind_of_convolution_is_taught() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.ConvTranspose1d(3, 2, 3), nn.ReLU(),
                            nn.Flatten(), nn.Linear(16, 4))  # fmt: skip
        model = Model([net], (2, 8))
        x = torch.randn(5, 2, 8)
    create("rule", "pepita", model).closure(model, (x, torch.arange(5) % 4))()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
