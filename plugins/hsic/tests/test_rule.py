"""The rule against objectives, their gradients and networks written out by hand in NumPy."""

import math
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import by_hand
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnnlab import Batch, BatchNorm, BinaryConv2d, BinaryLinear, Model, Sign, UsageError
from bnnlab_hsic.rule import HSICBottleneck
from bnnlab_testing import equations
from bnnlab_testing.equations import Array, draws
from bnnlab_testing.memory import peak_bytes

Back = Callable[[Array], Array]
CLASSES = 4
FORMS = ("zz", "xz")
ESTIMATORS = ("biased", "plausible", "normalised")
KERNELS = ("cosine", "gaussian", "linear")


def attached(model: Model, **options: Any) -> HSICBottleneck:
    return equations.attached(HSICBottleneck(**options), model)


def make_batch(*shape: int, size: int = 7, dtype: torch.dtype = torch.float64) -> Batch:
    """Targets leave a class out: C is the model's."""
    x = torch.randn(size, *shape, generator=draws(3), dtype=dtype)
    return Batch(x, torch.arange(size) % (CLASSES - 1))


# ------------------------------------------------------------- the objective in NumPy
# Each part returns its value and a function from the objective's gradient there to that before.


def spread(Z: Array, groups: int, p: float) -> tuple[Array, Back]:
    order = (0, 2, 1) if Z.ndim == 3 else tuple(range(Z.ndim))  # an involution
    channels = Z.transpose(order)
    z = channels.reshape(len(Z), groups, -1)
    z = z - z.mean(2, keepdims=True)
    c = z.shape[2]
    v = (1 + (z**2).sum(2)) / c

    def back(d: Array) -> Array:
        dz = (d * (1 - p) * v**-p)[:, :, None] * 2 * z / c  # with mean 0 over the group already
        return dz.reshape(channels.shape).transpose(order)

    return v ** (1 - p), back


def flat(Z: Array) -> tuple[Array, Back]:
    return Z.reshape(len(Z), -1), lambda d: d.reshape(Z.shape)


def centred(f: Array) -> tuple[Array, Back]:
    return f - f.mean(1, keepdims=True), lambda d: d - d.mean(1, keepdims=True)


def cosine(f: Array) -> tuple[Array, Back]:
    norm = np.sqrt((f**2).sum(1, keepdims=True))
    norm = np.where(norm < 1e-12, np.inf, norm)  # signs: all groups may be spread alike
    u = f / norm

    def back(d: Array) -> Array:
        du = (d + d.T) @ u
        return (du - u * (u * du).sum(1, keepdims=True)) / norm

    return u @ u.T, back


def linear(f: Array) -> tuple[Array, Back]:
    return f @ f.T, lambda d: (d + d.T) @ f


def gaussian(f: Array, sigma: float | str) -> tuple[Array, Back]:
    apart = f[:, None] - f[None]  # (B, B, d)
    if sigma == "median":
        distances = np.sqrt((apart**2).sum(2))[np.triu_indices(len(f), 1)]
        width = np.sort(distances)[(len(distances) - 1) // 2]  # no gradient flows through it
        square = float(width or distances.mean()) ** 2
    else:
        square = float(sigma) ** 2 * f.shape[1]
    K = np.exp(-(apart**2).sum(2) / (2 * square))
    return K, lambda d: -(((d + d.T) * K)[:, :, None] * apart).sum(1) / square


def dependence(estimator: str, A: Array, B: Array) -> tuple[float, Array]:
    """M(A, B) and its gradient at B."""
    m = len(A)
    H = np.eye(m) - 1 / m
    if estimator == "biased":
        return np.trace(H @ A @ H @ B) / m**2, H @ A @ H / m**2
    if estimator == "plausible":
        return ((A - A.mean()) * B).mean(), (A - A.mean()) / m**2
    ridge = 1e-5 * m
    S_A, S = (np.linalg.inv(H @ K @ H + ridge * np.eye(m)) for K in (A, B))
    R_A = np.eye(m) - ridge * S_A
    return np.trace(R_A @ (np.eye(m) - ridge * S)), H @ (ridge * S @ R_A @ S) @ H


def objective(
    Z: Array, X: Array, y: Array, *, form: str = "zz", estimator: str = "biased",
    gamma: float = 2.0, kernel: str = "cosine", class_kernel: str = "cosine",
    sigma: float | str = 5.0, centre: bool = True, groups: int = 1, power: float = 0.5,
) -> tuple[float, Array]:  # fmt: skip
    """The local loss of a segment and its gradient at Z."""

    def of_features(kernel: str) -> Callable[[Array], tuple[Array, Back]]:
        kernels = {"cosine": cosine, "linear": linear, "gaussian": lambda f: gaussian(f, sigma)}
        return kernels[kernel]

    def compare(value: Array, first: Callable[[Array], tuple[Array, Back]]) -> tuple[Array, Back]:
        backs = []
        for part in (
            first,
            *([centred] if centre else []),
            of_features(kernel),
        ):
            value, back = part(value)
            backs.append(back)

        def all_back(d: Array) -> Array:
            for back in reversed(backs):
                d = back(d)
            return d

        return value, all_back

    K_Y = np.where(y[:, None] == y, 1, -1 / (CLASSES - 1))  # of centred codes
    if class_kernel != "cosine":
        K_Y, _ = of_features(class_kernel)(centred(np.eye(CLASSES)[y])[0])
    K_Z, back = compare(Z, flat if groups == 1 else lambda Z: spread(Z, groups, power))
    K_X, _ = compare(X, flat)
    of_class, d_class = dependence(estimator, K_Y, K_Z)
    if form == "zz":
        of_itself, d_itself = dependence(estimator, K_Z, K_Z)
        d_itself = 2 * d_itself  # it is symmetric
    else:
        of_itself, d_itself = dependence(estimator, K_X, K_Z)
    return of_itself - gamma * of_class, back(d_itself - gamma * d_class)


OPTIONS = [
    dict(zip(("form", "estimator", "kernel", "centre", "groups"), values, strict=True))
    for values in product(FORMS, ESTIMATORS, KERNELS, (False, True), (1, 3))
]

OPTIONS += [
    {"form": form, "estimator": estimator, "kernel": "gaussian", "sigma": "median"} | more
    for form, estimator in product(FORMS, ESTIMATORS)
    for more in ({"class_kernel": "gaussian"}, {"class_kernel": "linear", "centre": False})
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_the_signal_is_the_gradient_of_the_objective(options: dict[str, Any]) -> None:
    options = {"gamma": 3.0, "sigma": 0.6, "power": 0.3} | options
    rule = HSICBottleneck(**options)
    rule.classes = CLASSES
    batch = make_batch(2, 8)
    for shape in ((6,), (5, 6), (6, 2, 3)):
        Z = torch.randn(7, *shape, generator=draws(5), dtype=torch.float64)
        wanted, gradient = objective(
            Z.numpy(), batch.inputs.numpy(), batch.targets.numpy(), **options
        )
        assert rule.objective(Z, batch).item() == pytest.approx(wanted, rel=1e-9, abs=1e-11)
        found = rule.signal(1, Z, batch).numpy()
        close = {"rtol": 1e-6, "atol": 1e-8 * np.abs(gradient).max()}
        np.testing.assert_allclose(found, gradient, **close, err_msg=str(shape))
        assert not Z.requires_grad


# ------------------------------------------------------------- whole networks in NumPy


class Net:
    """Layers by hand; `grads` is filled in on the way back, as torch's names have it."""

    def __init__(self, model: Model) -> None:
        self.p = {name: p.detach().numpy() for name, p in model.named_parameters()}
        self.grads: dict[str, Array] = {}

    def linear(self, name: str, x: Array) -> tuple[Array, by_hand.Back]:
        W = self.p[f"{name}.weight"]
        s = np.full(len(W), 1 / math.sqrt(W.shape[1]))
        return self._noted(name, *by_hand.linear(x, W, s, self.p[f"{name}.bias"]))

    def conv(self, name: str, x: Array, padding: int) -> tuple[Array, by_hand.Back]:
        W = self.p[f"{name}.weight"]
        return self._noted(name, *by_hand.conv(x, W, 1 / math.sqrt(W[0].size), padding))

    def _noted(self, name: str, y: Array, back: by_hand.Back) -> tuple[Array, by_hand.Back]:
        def noting(d: Array) -> tuple[Array, dict[str, Array]]:
            dx, grads = back(d)
            self.grads |= {f"{name}.{part}": grad for part, grad in grads.items()}
            return dx, grads

        return y, noting


def normalise(x: Array) -> tuple[Array, by_hand.Back]:
    return by_hand.normalise(x, (0, 2, 3)[: x.ndim - 1])


def dense_model() -> Model:
    g = draws(1)
    first, second, last = (
        BinaryLinear(*sizes, bias=True, generator=g) for sizes in ((12, 12), (12, 9), (9, CLASSES))
    )
    model = Model(
        [
            nn.Sequential(first, BatchNorm(12, affine=False), Sign()),
            nn.Sequential(second, nn.Hardtanh()),
            last,
        ],
        (12,),
    ).double()
    with torch.no_grad():
        for layer in (first, second, last):
            layer.bias.normal_(0, 0.3, generator=g)
    return model


def conv_model() -> Model:
    g = draws(1)
    output = BinaryLinear(12, CLASSES, bias=True, generator=g)
    return Model(
        [
            nn.Sequential(
                BinaryConv2d(2, 6, 3, padding=1, generator=g),
                nn.MaxPool2d(2),
                BatchNorm(6, affine=False),
                Sign(),
            ),
            nn.Sequential(BinaryConv2d(6, 3, 3, generator=g), nn.Hardtanh()),
            nn.Sequential(nn.Flatten(), output),
        ],
        (2, 8, 8),
    ).double()


Layers = list[list[Callable[[Array], tuple[Array, by_hand.Back]]]]
NETS: dict[str, tuple[Callable[[], Model], Callable[[Net], Layers]]] = {
    "dense": (
        dense_model,
        lambda net: [
            [lambda x: net.linear("segments.0.0", x), normalise, by_hand.sign],
            [lambda x: net.linear("segments.1.0", x), by_hand.hardtanh],
            [lambda x: net.linear("segments.2", x)],
        ],
    ),
    "convolution and pooling": (
        conv_model,
        lambda net: [
            [lambda x: net.conv("segments.0.0", x, 1), by_hand.max_pool, normalise, by_hand.sign],
            [lambda x: net.conv("segments.1.0", x, 0), by_hand.hardtanh],
            [by_hand.flat, lambda x: net.linear("segments.2.1", x)],
        ],
    ),
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"estimator": "plausible", "groups": 3, "power": 0.2, "gamma": 20.0},
        {"form": "xz", "estimator": "normalised", "kernel": "gaussian", "centre": False},
        {"form": "xz", "estimator": "biased", "kernel": "gaussian", "sigma": 1.0, "groups": 3},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "defaults",
)
@pytest.mark.parametrize("net", NETS)
def test_gradients_agree_with_numpy(net: str, options: dict[str, Any]) -> None:
    make, layers_of = NETS[net]
    model = make()
    assert model.input_shape is not None
    batch = make_batch(*model.input_shape)
    closure = attached(model, **options).closure(model, batch)
    found = closure()

    twin = Net(model)
    X, y = batch.inputs.numpy(), batch.targets.numpy()
    x, segments = X, layers_of(twin)
    for number, layers in enumerate(segments, start=1):
        backs = []
        for layer in layers:
            x, back = layer(x)
            backs.append(back)
        if number < len(segments):
            _, d = objective(x, X, y, **options)
        else:
            loss, d = by_hand.cross_entropy(x, y)  # exact
        for back in reversed(backs):
            d, _ = back(d)
    assert found.item() == pytest.approx(loss, rel=1e-9)
    assert closure.logits is not None
    np.testing.assert_allclose(closure.logits.numpy(), x, rtol=1e-9)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        wanted = twin.grads[name]
        # A normalised layer's bias has no gradient; what is left of it is rounding.
        np.testing.assert_allclose(
            parameter.grad.numpy(), wanted, rtol=1e-6, atol=1e-12, err_msg=name
        )
    assert all(model.segments[n][0].weight.grad.any() for n in (0, 1))


# ------------------------------------------------------------- what the signal is not


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_example_twice_changes_no_gradient(estimator: Any) -> None:
    once, twice = dense_model(), dense_model()
    x, y, _ = make_batch(12)
    attached(once, estimator=estimator).closure(once, (x, y))()
    attached(twice, estimator=estimator).closure(twice, (torch.cat([x, x]), torch.cat([y, y])))()
    for one, two in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("estimator", ["biased", "plausible"])
def test_another_kernel_of_the_classes_is_another_gamma(estimator: Any) -> None:
    """Of Ma et al. exp(-1 / (sigma^2 C)) between two classes, and 1 within one."""
    batch = make_batch(3)
    Z = torch.randn(7, 6, generator=draws(5), dtype=torch.float64)
    gaussian_factor = (1 - math.exp(-1 / (5**2 * CLASSES))) / (1 + 1 / (CLASSES - 1))
    for class_kernel, factor in (("gaussian", gaussian_factor), ("linear", 1 - 1 / CLASSES)):
        one = HSICBottleneck(estimator=estimator, gamma=20.0, class_kernel=class_kernel)
        two = HSICBottleneck(estimator=estimator, gamma=20.0 * factor)
        one.classes = two.classes = CLASSES
        torch.testing.assert_close(one.signal(1, Z, batch), two.signal(1, Z, batch))


def test_at_gamma_2_kernels_are_fitted_to_the_classes() -> None:
    """HSIC(Z, Z) - 2 HSIC(Y, Z) + HSIC(Y, Y) is the mean square of H (K_Z - K_Y) H."""
    rule = HSICBottleneck()
    rule.classes = CLASSES
    batch = make_batch(3)
    y, Z = batch.targets.numpy(), torch.randn(7, 6, generator=draws(5), dtype=torch.float64)
    K_Y, H = np.where(y[:, None] == y, 1, -1 / (CLASSES - 1)), np.eye(7) - 1 / 7
    K_Z, _ = cosine(centred(Z.numpy())[0])
    wanted = ((H @ (K_Z - K_Y) @ H) ** 2).mean() - ((H @ K_Y @ H) ** 2).mean()
    assert rule.objective(Z, batch).item() == pytest.approx(wanted, rel=1e-9)


DEGENERATE = pytest.mark.parametrize(
    ("estimator", "kernel", "groups"), list(product(ESTIMATORS, KERNELS, (1, 3)))
)


@DEGENERATE
def test_a_batch_of_one_example_teaches_the_last_segment_alone(
    estimator: Any, kernel: Any, groups: int
) -> None:
    g = draws(1)
    model = Model([nn.Sequential(BinaryLinear(5, 9, generator=g), Sign()),
                   BinaryLinear(9, CLASSES, generator=g)], (5,))  # fmt: skip
    rule = attached(model, estimator=estimator, kernel=kernel, groups=groups)
    rule.closure(model, make_batch(5, size=1, dtype=torch.float32))()
    hidden, last = (p.grad for p in model.parameters())
    assert hidden is not None
    assert last is not None
    assert not hidden.any()
    assert last.any()


@DEGENERATE
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("centre", [False, True])
def test_a_constant_output_has_a_finite_signal(
    centre: bool, value: float, estimator: Any, kernel: Any, groups: int
) -> None:
    rule = HSICBottleneck(estimator=estimator, kernel=kernel, groups=groups, centre=centre)
    rule.classes = CLASSES
    batch = make_batch(3, size=8, dtype=torch.float32)
    signal = rule.signal(1, torch.full((8, 9), value), batch)
    assert signal.isfinite().all()
    assert signal.abs().max() < 1
    if centre or value == 0:
        assert not signal.any()


def test_an_example_without_a_direction_is_left_out() -> None:
    """Its groups are equally spread up to rounding: magnified, that would be noise."""
    rule = HSICBottleneck(groups=5)
    rule.classes = CLASSES
    batch = make_batch(3, size=8, dtype=torch.float32)
    Z = torch.randn(8, 5, 7, generator=draws(2))
    Z[0] = torch.stack([Z[0, 0, torch.randperm(7, generator=draws(n))] for n in range(5)])
    signal = rule.signal(1, Z.flatten(1), batch)
    assert not signal[0].any()
    assert signal[1:].any(1).all()
    assert signal.abs().max() < 1


@DEGENERATE
def test_under_autocast_kernels_are_in_float32(estimator: Any, kernel: Any, groups: int) -> None:
    rule = HSICBottleneck("xz", estimator, kernel=kernel, groups=groups)
    rule.classes = CLASSES
    batch = make_batch(3, size=8, dtype=torch.float32)
    Z = torch.randn(8, 9, generator=draws(2)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        signal = rule.signal(1, Z, batch)
    assert signal.dtype == torch.bfloat16
    torch.testing.assert_close(signal, rule.signal(1, Z.float(), batch).bfloat16())


# ------------------------------------------------------------- memory


def test_one_segments_activations_are_held_at_a_time() -> None:
    def work(depth: int) -> Callable[[], object]:
        g = draws(1)
        hidden = [
            nn.Sequential(BinaryConv2d(4, 4, 3, padding=1, generator=g), Sign())
            for _ in range(depth)
        ]
        output = nn.Sequential(nn.Flatten(), BinaryLinear(4 * 16 * 16, CLASSES, generator=g))
        model = Model([*hidden, output], (4, 16, 16))
        batch = make_batch(4, 16, 16, size=32, dtype=torch.float32)
        return attached(model).closure(model, batch)

    assert peak_bytes(work(12)) < 1.1 * peak_bytes(work(2))


# ------------------------------------------------------------- what is refused


def chain(*widths: int) -> Model:
    layers = [nn.Linear(*pair) for pair in pairwise(widths)]
    return Model(layers, (widths[0],))


@pytest.mark.parametrize(
    ("options", "widths", "words"),
    [
        ({"groups": 7}, (5, 24, 36, 3), r"segment 1, which has 24 channels.*groups=6"),
        ({"groups": 8}, (5, 24, 36, 3), r"segment 2, which has 36 channels.*groups=6"),
        ({"groups": 24}, (5, 24, 3), r"at least 3 and leave two units to a group.*groups=12"),
        ({"groups": 2}, (5, 24, 3), r"be at least 3 .*groups=1 \(none\)"),
        ({"groups": 5}, (5, 24, 35, 3), r"groups=1 \(none\)"),
    ],
)
def test_groups_that_do_not_suit_are_refused_with_the_nearest_that_do(
    options: dict[str, Any], widths: tuple[int, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        attached(chain(*widths), **options)


def test_groups_may_have_a_single_channel_of_several_places() -> None:
    attached(conv_model(), groups=3)


@pytest.mark.parametrize("options", [{"centre": False}, {"kernel": "gaussian"}])
def test_two_groups_tell_examples_apart_unless_a_centred_cosine_compares_them(
    options: dict[str, Any],
) -> None:
    model = chain(5, 8, CLASSES)
    batch = make_batch(5, dtype=torch.float32)
    attached(model, groups=2, **options).closure(model, batch)()
    assert model.segments[0].weight.grad.any()


def test_a_model_of_one_segment_is_refused() -> None:
    with pytest.raises(UsageError, match="hsic needs a model of at least two segments"):
        attached(chain(5, 3))


def test_the_batchs_own_loss_teaches_the_last_segment_and_no_other() -> None:
    grads = []
    for factor in (1, 3):
        model = dense_model()
        x, y, _ = make_batch(12)
        batch = Batch(x, y, lambda a, b, factor=factor: factor * F.cross_entropy(a, b))
        attached(model).closure(model, batch)()
        grads.append([segment.get_parameter(name).grad for segment, name in zip(
            model.segments, ("0.weight", "0.weight", "weight"), strict=True)])  # fmt: skip
    for number, (one, three) in enumerate(zip(*grads, strict=True)):
        torch.testing.assert_close(three, one * (3 if number == 2 else 1))
