"""Binary equilibrium propagation, flip for flip, against the published training in NumPy.

Laydevant et al., "Training Dynamical Binary Neural Networks with Equilibrium Propagation", CVPR
Workshops 2021, and what its code adds. Layers are numbered as there: 0 is the output, L the input.

What is otherwise here than there, and why that can hide nothing:

- Convolutions' weights flip there where |m| = tau, too. Here no |m| comes within 1e-9 tau of tau,
  so that every weight must agree after every batch.
- A gradient's pooling places are there those of the last step, here those of the states after it.
  The transcription has the former, and refuses to go on where they differ.
- With binary units, a convolutional network's m starts there at noise; here, and in both, at 0.
- The loss shown there is the output units', here that of their means over copies; so in both.
- A scale that learns its way below 0 is not followed: none comes there.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from bnnlab import BinaryConv2d, BinaryLinear, Model, create, seeds
from bnnlab_eqprop.relaxation import Network, Order, States
from bnnlab_testing.equations import Array, float64

BATCHES, SIZE, CLASSES = 20, 16, 4


def patches(x: Array, k: int, P: int) -> Array:
    """x[n, c, i + u - P, j + v - P] as `(n, c, i, j, u, v)`."""
    x = np.pad(x, ((0, 0), (0, 0), (P, P), (P, P)))
    return sliding_window_view(x, (k, k), (2, 3))


def conv(x: Array, W: Array, P: int) -> Array:
    """y[n, o, i, j] = sum_{c, u, v} x[n, c, i + u - P, j + v - P] W[o, c, u, v]."""
    y = np.tensordot(patches(x, W.shape[-1], P), W, ((1, 4, 5), (1, 2, 3)))
    return y.transpose(0, 3, 1, 2)


def conv_transposed(y: Array, W: Array, P: int) -> Array:
    """x[n, c, i + u - P, j + v - P] = sum over o, and all i, u and j, v, of y W."""
    n, _, h, w = y.shape
    k = W.shape[-1]
    x = np.zeros((n, h + k - 1, w + k - 1, W.shape[1]))
    for u in range(k):
        for v in range(k):
            x[:, u : u + h, v : v + w] += np.tensordot(y, W[:, :, u, v], (1, 0))
    return x[:, P : x.shape[1] - P, P : x.shape[2] - P].transpose(0, 3, 1, 2)


def pool(y: Array, F: int) -> tuple[Array, Array, float]:
    """The largest of each F x F square, which it is, row by row, and how near the next comes."""
    squares = sliding_window_view(y, (F, F), (2, 3))[:, :, ::F, ::F]
    squares = squares.reshape(*squares.shape[:4], F * F)
    gaps = np.diff(np.sort(squares)[..., -2:])
    return squares.max(-1), squares.argmax(-1), gaps.min(initial=np.inf)


def unpool(s: Array, ind: Array, F: int, shape: tuple[int, int]) -> Array:
    up = np.zeros((*s.shape[:2], *shape))
    h, w = (F * side for side in s.shape[2:])
    for place in range(F * F):
        up[:, :, place // F : h : F, place % F : w : F] = s * (ind == place)
    return up


class Net(NamedTuple):
    """A network, and how it is trained. As published, lists run from output to input."""

    model: dict[str, Any]
    rule: dict[str, Any]
    tau: list[float]
    lr_bias: list[float]
    lr_alpha: list[float]
    """Empty where alpha is fixed."""
    seed: int = 4
    """Of the data."""

    @property
    def gamma(self) -> list[float]:
        return [0.02, 0.03, 0.04, 0.05][: len(self.tau)]

    @property
    def is_conv(self) -> bool:
        return "channels" in self.model

    @property
    def half(self) -> float:
        """The factor on dalpha that only fully connected networks have."""
        return 1.0 if self.is_conv else 0.5

    @property
    def is_binary(self) -> bool:
        """Whether its units are."""
        return self.model.get("activation") == "binary"

    @property
    def has_ties(self) -> bool:
        """Whether pooling finds equal sums."""
        return self.is_conv and self.model.get("bias") == "zero"

    def make(self) -> tuple[Model, Any, Any]:
        """Our model, rule and optimizer."""
        model = create(
            "model",
            f"bnnlab-eqprop/eqprop-{'conv' if self.is_conv else 'mlp'}",
            classes=CLASSES,
            scale="learned" if self.lr_alpha else "fixed",
            **self.model,
        ).double()
        rule = create(
            "rule",
            "bnnlab-eqprop/eqprop",
            model,
            nudging="random-sign",
            order="synchronous",
            gradient="effective",
            **self.rule,
        )
        optimizer = create(
            "optimizer",
            "bnnlab-bop/bop",
            model,
            gamma=self.gamma[::-1],
            threshold=self.tau[::-1],
            real_optimizer="sgd",
            real_lr=self.lr_bias[::-1],
            scale_lr=[self.half * lr for lr in reversed(self.lr_alpha)] or None,
        )
        return model, rule, optimizer

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs in [0, 1] that differ from class to class."""
        draws = torch.Generator().manual_seed(self.seed)
        shape = self.model["input_shape"]
        means = torch.rand(CLASSES, *shape, generator=draws, dtype=torch.float64).round()
        for _ in range(BATCHES):
            labels = torch.randint(0, CLASSES, (SIZE,), generator=draws)
            noise = torch.rand(SIZE, *shape, generator=draws, dtype=torch.float64)
            yield 0.8 * means[labels] + 0.2 * noise, labels


def layers(model: Model) -> list[BinaryLinear | BinaryConv2d]:
    """From output to input."""
    return [part for part in model.modules() if isinstance(part, BinaryLinear | BinaryConv2d)][::-1]


def alpha(layer: BinaryLinear | BinaryConv2d) -> Array:
    return np.array([layer.fixed_scale]) if layer.scale is None else float64(layer.scale)


def drawn_sign(rule: Any, batch: int) -> int:
    """Return the sign of beta in a batch, by its number from 1."""
    draws = seeds.generator(int(rule.sign_seed), "sign", batch)
    return int(torch.randint(0, 2, (), generator=draws)) * 2 - 1


class Published:
    """W_i = alpha_i w_i maps layer i + 1 to layer i, and a membrane follows its drive by 1/2."""

    def __init__(self, net: Net, model: Model) -> None:
        self.net, own = net, layers(model)
        self.w, self.b = [float64(one.weight) for one in own], [float64(one.bias) for one in own]
        self.alpha, self.m = [alpha(one) for one in own], [np.zeros_like(w) for w in self.w]
        self.P, self.F = net.model.get("padding", 0), [1, *net.model.get("pooling", [])[::-1]]
        self.flips: list[list[int]] = []  # per batch and layer
        self.margin = np.inf  # how near any |m| came to its tau, relative to that
        self.gap = np.inf  # how near pooling came to another place

    def W(self, i: int) -> Array:
        return self.w[i] * self.alpha[i].reshape(-1, *[1] * (self.w[i].ndim - 1))

    def up(self, i: int, below: Array) -> tuple[Array, Any]:
        """W_i s_{i+1}, or pool(conv_i(s_{i+1})) and its places, both without the bias."""
        if self.w[i].ndim == 2:
            return below.reshape(len(below), -1) @ self.W(i).T, None
        y = conv(below, self.W(i), self.P)
        largest, ind, gap = pool(y, self.F[i])
        self.gap = min(self.gap, gap)
        return largest, (ind, self.F[i], y.shape[2:])

    def down(self, i: int, above: Array, ind: Any) -> Array:
        """s_i W_i, or convT_i(unpool(s_i))."""
        if self.w[i].ndim == 2:
            return above @ self.W(i)
        return conv_transposed(unpool(above, *ind), self.W(i), self.P)

    def outputs(self, s: list[Array], x: Array) -> list[Array]:
        """The states, or H(s - 1/2) with H(0) = 1, and below them the input, which stays real."""
        return [*((1.0 * (each >= 0.5) for each in s) if self.net.is_binary else s), x]

    def relax(
        self, s: list[Array], x: Array, steps: int, beta: float, y: Array
    ) -> tuple[list[Array], list[Any]]:
        """All states from those of the step before; with them, pooling's places in the last one."""
        is_conv, o_free = self.net.is_conv, s[0]
        ind: list[Any] = []
        for _ in range(steps):
            z, old = self.outputs(s, x), s
            driven = [self.up(i, z[i + 1]) for i in range(len(old))]
            ind, s = [places for _, places in driven], []
            for i, (a, _) in enumerate(driven):
                p = a + self.b[i].reshape(-1, *[1] * (a.ndim - 2))
                if i:
                    p = p + self.down(i - 1, z[i - 1], ind[i - 1]).reshape(p.shape)
                if self.net.is_binary:
                    if i == 0:
                        p = p + beta * (y - (o_free if is_conv else old[0]))
                    p = p * (np.abs(old[i] - 0.5) <= 0.5)  # the pseudo-derivative, always 1
                    s.append(np.clip(0.5 * old[i] + 0.5 * p, 0, 1))
                elif i == 0 and beta:
                    o = np.clip(p, 0, 1) + beta * (y - old[0])
                    s.append(o if is_conv else np.clip(o, 0, 1))
                else:
                    s.append(np.clip(p, 0, 1))
        return s, ind

    def correlations(self, i: int, z: list[Array], ind: list[Any]) -> list[Array]:
        """What dW_i, db_i and dalpha_i are differences of."""
        above, below = z[i], z[i + 1]
        a, ind_after = self.up(i, below)
        if self.w[i].ndim == 2:
            W = above.T @ below.reshape(len(below), -1)
            return [W, above.sum(0), self.net.half * (above * a).sum(keepdims=True)[0]]
        np.testing.assert_array_equal(ind[i][0], ind_after[0], "pooling has not come to rest")
        local = patches(below, self.w[i].shape[-1], self.P)
        W = np.tensordot(unpool(above, *ind[i]), local, ((0, 2, 3), (0, 2, 3)))
        return [W, above.sum((0, 2, 3)), (above * a).sum((0, 2, 3))]

    def step(self, x: Array, labels: Array, beta: float) -> tuple[Array, float]:
        """Learn from a batch; returns the free outputs' means over copies, and their loss."""
        net, depth = self.net, len(self.w)
        copies = net.model.get("copies", 1)
        y = np.eye(CLASSES)[labels]
        s: list[Array] = []
        for i in reversed(range(depth)):
            shape = self.up(i, s[0] if s else x)[0].shape
            s.insert(0, np.full(shape, net.rule["initial"]))
        target = np.tile(y, copies)
        free, ind_free = self.relax(s, x, net.rule["free_steps"], 0.0, target)
        nudged, ind_nudged = self.relax(free, x, net.rule["nudge_steps"], beta, target)
        z_free, z_nudged = self.outputs(free, x), self.outputs(nudged, x)
        pairs = [
            (self.correlations(i, z_nudged, ind_nudged), self.correlations(i, z_free, ind_free))
            for i in range(depth)
        ]
        self.flips.append([])
        for i, pair in enumerate(pairs):
            dW, db, dalpha = ((b - a) / (beta * len(x)) for b, a in zip(*pair, strict=True))
            gamma, tau = net.gamma[i], net.tau[i]
            m = self.m[i] = (1 - gamma) * self.m[i] + gamma * dW
            against = -np.sign(self.w[i]) * m
            flip = against >= tau if net.is_conv else against > tau
            self.w[i] = np.where(flip, -self.w[i], self.w[i])
            self.b[i] = self.b[i] + net.lr_bias[i] * db
            if net.lr_alpha:
                self.alpha[i] = self.alpha[i] + net.lr_alpha[i] * dalpha
            self.flips[-1].append(int(flip.sum()))
            self.margin = min(self.margin, float(np.abs(np.abs(m) / tau - 1).min()))
        o = free[0].reshape(len(x), copies, CLASSES).mean(1)
        return o, ((o - y) ** 2).sum() / (2 * len(x))


# Where states are equal, at the start or at a bound, so are the sums of a convolution. With alpha
# and biases short binary fractions they are exact, and pooling finds the first of them in both: so
# with binary units, and in EQUAL; elsewhere rounding would decide. So other real units pool only
# what the data drive, which is nowhere equal.
MLP = {"input_shape": (20,), "hidden": [32, 24]}
SHALLOW = {"input_shape": (20,), "hidden": [32]}
CONV = {"input_shape": (2, 7, 7), "channels": [4, 5], "kernel": 3, "padding": 1, "pooling": [2, 1]}
DEEP = {**CONV, "input_shape": (1, 9, 9), "channels": [4, 5, 6], "pooling": [2, 1, 1]}
EQUAL = {"input_shape": (1, 18, 18), "channels": [4, 4], "kernel": 4, "padding": 0,
         "pooling": [2, 2], "bias": "zero"}  # fmt: skip
BINARY_MLP = {**MLP, "activation": "binary", "copies": 3}
BINARY_CONV = {**CONV, "input_shape": (1, 6, 6), "channels": [4, 16], "kernel": 4, "padding": 2,
               "pooling": [3, 3], "bias": "zero", "activation": "binary", "copies": 2}  # fmt: skip

STATES = {"free_steps": 30, "nudge_steps": 10, "beta": 0.3, "nudge": "clamped", "initial": 0.0}
MAPS = {**STATES, "free_steps": 25, "nudge_steps": 20, "nudge": "state"}
MEMBRANES = {"free_steps": 20, "nudge_steps": 10, "beta": 2.0, "nudge": "drive", "initial": 1.0}
MEMBRANE_MAPS = {**MEMBRANES, "nudge_steps": 20, "beta": 1.0, "error": "free"}

BIAS, ALPHA = [0.006, 0.012, 0.024, 0.04], [0.05, 0.1, 0.2, 0.1]
NETS = {
    "fc": Net(MLP, STATES, [0.002, 0.0015, 0.0015], BIAS[:3], []),
    "fc, one hidden layer": Net(SHALLOW, STATES, [0.004, 0.003], BIAS[:2], []),
    "fc, learned alpha": Net(MLP, STATES, [0.002, 0.0015, 0.0015], BIAS[:3], ALPHA[:3]),
    "conv": Net(CONV, {**MAPS, "initial": 0.5}, [0.001, 0.002, 0.004], BIAS[:3], []),
    "conv, learned alpha": Net(DEEP, MAPS, [0.005, 0.002, 0.0015, 0.001], BIAS, ALPHA),
    "conv, equal states": Net(
        EQUAL, {**MAPS, "initial": 0.5}, [0.001, 0.002, 0.004], [2**-10, 2**-9, 2**-8], []
    ),
    "fc, binary units": Net(
        BINARY_MLP, MEMBRANES, [0.0037, 0.0023, 0.0031], [0.001, 0.002, 0.003], ALPHA[:3], 6
    ),
    "conv, binary units": Net(
        BINARY_CONV, MEMBRANE_MAPS, [0.0037, 0.0023, 0.0071], [2**-10, 2**-9, 2**-8], []
    ),
}


SLOW = {"conv", "conv, learned alpha", "conv, equal states", "conv, binary units"}


@pytest.mark.rounding
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETS]
)
def test_20_batches_agree_flip_for_flip(name: str) -> None:
    net = NETS[name]
    model, rule, optimizer = net.make()
    theirs, signs = Published(net, model), set()
    for batch, (x, labels) in enumerate(net.batches(), start=1):
        closure = rule.closure(model, (x, labels))
        loss = optimizer.step(closure)
        sign = drawn_sign(rule, batch)
        signs.add(sign)
        o, wanted = theirs.step(float64(x), labels.numpy(), sign * net.rule["beta"])
        np.testing.assert_allclose(float64(closure.logits), o, rtol=0, atol=1e-9)
        assert float(loss) == pytest.approx(wanted, rel=1e-9)
        assert theirs.margin > 1e-9
        assert theirs.gap == 0 if net.has_ties else theirs.gap > 1e-9
        for i, layer in enumerate(layers(model)):
            where = f"layer {i}, batch {batch}"
            np.testing.assert_array_equal(float64(layer.weight), theirs.w[i], where)
            np.testing.assert_allclose(float64(layer.bias), theirs.b[i], 0, 1e-9, err_msg=where)
            np.testing.assert_allclose(alpha(layer), theirs.alpha[i], 0, 1e-9, err_msg=where)
            assert (theirs.alpha[i] > 0).all()
    assert signs == {-1, 1}
    flips = np.array(theirs.flips)
    assert (flips.sum(0) > 0.02 * np.array([w.size for w in theirs.w])).all()
    assert np.count_nonzero(flips.sum(1)) >= 3  # batches


def unrelaxed(name: str, order: Order, factor: float) -> tuple[Network, States]:
    """A network of a case above before its free phase, with so much of its weights.

    Strong weights keep a place that pooling has chosen, or a binary unit, as it happens to be, and
    may go on for ever in the last bit.
    """
    net = NETS[name]
    model, rule, _ = net.make()
    for layer in layers(model):
        if layer.scale is None:
            layer.fixed_scale *= factor
        else:
            layer.scale.data *= factor
    x, _ = next(net.batches())
    network = Network(rule.relaxation.layers, x, order)
    return network, network.start(net.rule["initial"])


@pytest.mark.rounding
@pytest.mark.parametrize("name", [n for n in NETS if n != "conv, equal states"])  # many rests
@torch.no_grad()
def test_states_at_rest_do_not_depend_on_the_order_of_updates(name: str) -> None:
    ends = []
    for order in get_args(Order):
        network, states = unrelaxed(name, order, 1 / 2)
        for _ in range(100):
            network.step(states)
        ends.append(states.s)
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(float64(one), float64(other), rtol=0, atol=1e-10)


@pytest.mark.rounding
@pytest.mark.parametrize("order", get_args(Order))
@pytest.mark.parametrize(
    "name", ["fc, one hidden layer", "conv, learned alpha", "fc, binary units"]
)
@torch.no_grad()
def test_steps_that_are_left_out_at_rest_would_change_no_bit(name: str, order: Order) -> None:
    # With 1/8, torch's kernels without vector instructions never came to rest.
    network, settled = unrelaxed(name, order, 1 / 64)
    steps, _ = network.settle(settled, 100, tolerance=0.0)
    assert steps < 100
    network, stepped = unrelaxed(name, order, 1 / 64)
    for _ in range(100):
        network.step(stepped)
    for one, other in zip((*settled.s, *settled.z), (*stepped.s, *stepped.z), strict=True):
        assert torch.equal(one, other)
