"""Every operation is what torch (and float64 NumPy) computes, on both backends."""

import numpy as np
import pytest
from programs import conv_weight, map_bits, op, packed_columns, windows

from bnnlab_runtime.backends import operations
from bnnlab_runtime.bits import pack, unpack
from bnnlab_runtime.errors import BadFile
from bnnlab_runtime.functions import FUNCTIONS
from bnnlab_runtime.values import Value

torch = pytest.importorskip("torch")
F = torch.nn.functional


@pytest.fixture(params=["numpy", "numba"])
def known(request):
    return operations(request.param)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def signs_of(rng, *shape):
    return rng.integers(0, 2, shape).astype(np.float32) * 2 - 1


def maps(x):
    """Turn maps between torch's order and ours."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def back(y):
    return np.moveaxis(y.numpy(), 1, -1)


@pytest.mark.parametrize("channels", [1, 63, 64, 65, 130])
def test_bits_are_signs_with_zeros_above(rng, channels):
    positive = rng.integers(0, 2, (3, 2, channels)).astype(bool)
    bits = pack(positive)
    assert bits.shape == (3, 2, -(-channels // 64))
    assert (unpack(bits, channels) == positive).all()
    assert np.bitwise_count(bits).sum() == positive.sum()
    assert (
        bool(bits[1, 1, (channels - 1) // 64] >> np.uint64((channels - 1) % 64) & np.uint64(1))
        == (positive[1, 1, -1])
    )


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(9,), (2, 3, 5)])
def test_permute(known, rng, kind, shape):
    x = rng.integers(0, 256, (4, *shape)).astype(kind)
    index = rng.permutation(int(np.prod(shape))).astype(np.int32)
    found = op(known, "permute", [Value(kind, shape)], {"index": index})(x)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert (found.reshape(4, -1) == np.stack([row.ravel()[index] for row in x])).all()


def test_permute_takes_each_pixel_once(known):
    for index in ([0, 1, 1], [0, 1, 3], [-1, 0, 1]):
        with pytest.raises(BadFile, match="must have each number from 0 to 2 once"):
            op(known, "permute", [Value("uint8", (3,))], {"index": np.array(index, np.int32)})


@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(1, 5, 3), (4, 64, 70), (7, 200, 130)])
def test_bit_linear(known, rng, batch, inputs, outputs):
    x, w = signs_of(rng, batch, inputs), signs_of(rng, outputs, inputs)
    weight = {"weight": packed_columns(w > 0)}
    layer = op(known, "bit_linear", [Value.bits((inputs,))], weight)
    assert (layer(pack(x > 0)) == x @ w.T).all()


@pytest.mark.parametrize(("batch", "shape", "outputs"), [(1, (70,), 5), (6, (3, 5, 7), 65)])
def test_plane_linear(known, rng, batch, shape, outputs):
    x = rng.integers(0, 256, (batch, *shape)).astype(np.uint8)
    w = signs_of(rng, outputs, int(np.prod(shape)))
    layer = op(known, "plane_linear", [Value("uint8", shape)], {"weight": packed_columns(w > 0)})
    assert (layer(x) == x.reshape(batch, -1).astype(float) @ w.T).all()


@pytest.mark.parametrize(
    ("batch", "channels", "outputs", "groups", "sides"),
    [
        (1, 3, 5, 1, windows()),
        (2, 70, 66, 1, windows(padding=1)),
        (3, 130, 9, 1, windows(5, 2, 2)),
        (2, 128, 12, 2, windows(3, 1, 1)),
        (1, 192, 6, 3, windows(2, 3, 1, 2)),
        (2, 64, 4, 1, windows(3, 2, 4, 3)),
        (5, 65, 7, 1, windows(1)),
    ],
)
def test_bit_conv(known, rng, batch, channels, outputs, groups, sides):
    x = signs_of(rng, batch, 9, 8, channels)
    w = signs_of(rng, outputs, *sides["kernel"], channels // groups)
    bits, value = map_bits(x)
    layer = op(known, "bit_conv", [value], {"weight": conv_weight(w)}, groups=groups, **sides)
    told = (sides["stride"], sides["padding"], sides["dilation"], groups)
    expected = back(F.conv2d(maps(x).double(), maps(w).double(), None, *told))
    found = layer(bits)
    assert found.dtype == np.int32
    assert found.shape[1:] == layer.output.shape
    assert (found == expected).all()


@pytest.mark.parametrize("shape", [(70,), (3, 4, 64), (2, 2, 5)])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_threshold(known, rng, shape, dtype):
    x = rng.integers(-9, 9, (4, *shape)).astype(dtype)
    t = rng.integers(-9, 9, shape[-1]).astype(dtype)
    flip = rng.integers(0, 2, shape[-1]).astype(bool)
    tensors = {"t": t, "flip": pack(flip)}
    layer = op(known, "threshold", [Value("sums" if dtype is np.int32 else "real", shape)], tensors)
    assert (layer(x) == pack((x >= t) ^ flip)).all()


def test_minus_zero_is_below_plus_zero(known):
    x = np.array([-1, -0.0, 0.0, 1, -np.inf, np.inf], np.float32)
    real, flip = Value("real", (1,)), np.zeros(1, np.uint64)
    for t, above in ((0.0, 2), (-0.0, 1), (-1, 0), (1, 3)):
        layer = op(known, "threshold", [real], {"t": np.array([t], np.float32), "flip": flip})
        assert layer(x[:, None]).ravel().tolist() == [*[0] * above, *[1] * (4 - above), 0, 1]
    bits = op(known, "sign", [real])(x[:, None])
    assert bits.ravel().tolist() == [0, 0, 1, 1, 0, 1]
    negated = op(known, "affine", [real], {"a": np.array([-1], np.float32)})(x[:, None])
    assert (np.signbit(negated) != np.signbit(x[:, None])).all()


@pytest.mark.parametrize(
    ("shape", "groups"), [((70,), 1), ((6,), 3), ((3, 4, 8), 1), ((2, 2, 130), 2)]
)
@pytest.mark.parametrize("shifted", [False, True])
def test_row_threshold(known, rng, shape, groups, shifted):
    x = rng.integers(-3, 3, (5, *shape)).astype(np.int32)
    t = rng.integers(-9, 9, shape[-1]).astype(np.int32) * shifted
    tensors = {"t": t} if shifted else {}
    layer = op(known, "row_threshold", [Value("sums", shape)], tensors, groups=groups)
    grouped = x.astype(float).reshape(5, -1, groups, shape[-1] // groups)
    above = grouped * grouped[0, :, 0].size - grouped.sum((1, 3), keepdims=True)
    assert (layer(x) == pack(above.reshape(x.shape) >= t)).all()


@pytest.mark.parametrize("sides", [windows(2, 2), windows(3, 2, 1), windows(3, 2, 1, 2)])
@pytest.mark.parametrize("ceil", [False, True])
def test_or_pool(known, rng, sides, ceil):
    x, flip = signs_of(rng, 3, 7, 8, 70), rng.integers(0, 2, 70).astype(bool)
    bits, value = map_bits(x)
    layer = op(known, "or_pool", [value], {"flip": pack(flip)}, ceil=ceil, **sides)
    turned = np.where(flip, -x, x)
    told = (sides["kernel"], sides["stride"], sides["padding"], sides["dilation"], ceil)
    pooled = back(F.max_pool2d(maps(turned), *told))
    assert (layer(bits) == pack(np.where(flip, -pooled, pooled) > 0)).all()


@pytest.mark.parametrize("shape", [(70,), (3, 4, 65)])
def test_sign_and_unpack(known, rng, shape):
    x = rng.standard_normal((3, *shape)).astype(np.float32)
    x[0] = [0.0, *x[0].ravel()[1:]] if len(shape) == 1 else x[0]
    bits = op(known, "sign", [Value("real", shape)])(x)
    assert (bits == pack(x >= 0)).all()
    found = op(known, "unpack", [Value.bits(shape)])(bits)
    assert found.dtype == np.float32
    assert (found == np.where(x >= 0, 1, -1)).all()


def test_flattened_bits_keep_their_padding(known, rng):
    x = signs_of(rng, 2, 3, 2, 70)
    bits, value = map_bits(x)
    flatten = op(known, "flatten", [value])
    flat = flatten(bits)
    assert flatten.output.signs == (420,)
    assert (op(known, "unpack", [flatten.output])(flat) == x.reshape(2, -1)).all()
    w = signs_of(rng, 5, 3, 2, 70)
    layer = op(known, "bit_linear", [flatten.output], {"weight": conv_weight(w)})
    assert (layer(flat) == x.reshape(2, -1) @ w.reshape(5, -1).T).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_normalise(known, rng, dtype):
    x = rng.integers(0, 256, (3, 2, 4, 5)).astype(dtype)
    mean, std = rng.random((2, 2)).astype(np.float32) * 100 + 1
    layer = op(known, "normalise", [Value(dtype, (2, 4, 5))], {"mean": mean, "std": std})
    told = torch.from_numpy(x).float().sub(torch.from_numpy(mean)[:, None, None])
    assert (layer(x) == back(told.div(torch.from_numpy(std)[:, None, None]))).all()
    whole = {"mean": rng.random((4, 5, 2)).astype(np.float32)}
    layer = op(known, "normalise", [Value(dtype, (2, 4, 5))], whole)
    assert (layer(x) == np.moveaxis(x, 1, -1).astype(np.float32) - whole["mean"]).all()


@pytest.mark.parametrize("packed", [False, True])
def test_linear(known, rng, packed):
    x, w = rng.standard_normal((3, 70)), signs_of(rng, 5, 70)
    weight = pack(w > 0) if packed else w
    layer = op(known, "linear", [Value("real", (70,))], {"weight": weight})
    np.testing.assert_allclose(layer(x.astype(np.float32)), x @ w.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("sides", [windows(padding=1), windows(3, 2, 3, 2), windows(1)])
def test_conv(known, rng, packed, groups, sides):
    x = rng.standard_normal((2, 7, 8, 6)).astype(np.float32)
    w = signs_of(rng, 12, *sides["kernel"], 6 // groups)
    weight = pack((w > 0).reshape(len(w), -1)) if packed else w
    layer = op(
        known, "conv", [Value("real", (7, 8, 6))], {"weight": weight}, groups=groups, **sides
    )
    told = (sides["stride"], sides["padding"], sides["dilation"], groups)
    expected = back(F.conv2d(maps(x).double(), maps(w).double(), None, *told))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("shift", [False, True])
def test_affine(known, rng, dtype, shift):
    x = rng.integers(-99, 99, (3, 2, 4, 70)).astype(dtype)
    a, b = rng.standard_normal((2, 70)).astype(np.float32)
    value = Value("sums" if dtype is np.int32 else "real", (2, 4, 70))
    layer = op(known, "affine", [value], {"a": a, "b": b} if shift else {"a": a})
    expected = torch.from_numpy(x).float() * torch.from_numpy(a)
    expected = expected + torch.from_numpy(b) if shift else expected
    assert (layer(x) == expected.numpy()).all()


@pytest.mark.parametrize(
    ("shape", "groups"), [((12,), 1), ((12,), 4), ((3, 4, 12), 1), ((3, 4, 12), 3)]
)
def test_norm_rows(known, rng, shape, groups):
    x = rng.integers(-99, 99, (3, *shape)).astype(np.int32)
    gain, shift = rng.standard_normal((2, 12)).astype(np.float32)
    tensors = {"gain": gain, "shift": shift}
    layer = op(known, "norm_rows", [Value("sums", shape)], tensors, groups=groups, eps=0.1)
    given = maps(x.astype(np.float32)) if len(shape) == 3 else torch.from_numpy(x).float()
    told = (torch.from_numpy(gain), torch.from_numpy(shift), 0.1)
    expected = np.moveaxis(F.group_norm(given, groups, *told).numpy(), 1, -1)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


TORCH = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky-relu": lambda x: F.leaky_relu(x, 0.25),
    "hardtanh": F.hardtanh,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "heaviside": lambda x: (x > 0).float(),
    "ternary": lambda x: torch.where(x >= 0, 1, -1) * (x.abs() > 0.5),
    "gate": lambda x: (x.abs() < 0.5).float() * 2 - 1,
    "reverse-binary-gate": lambda x: (x.abs() > 0.5).float(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activate(known, name):
    x = np.array(
        [[-200, -30, -3, -0.5, -0.1, 0, 0.1, 0.5, 0.7, 3, 19.9, 20.1, 30, 200]], np.float32
    )
    taken = {"width": {"width": 0.5}, "slope": {"slope": 0.25}}
    (given,) = [taken[each] for each in FUNCTIONS[name][1]] or [{}]
    found = op(known, "activate", [Value("real", x.shape[1:])], function=name, **given)(x)
    assert found.dtype == np.float32
    expected = TORCH[name](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("sides", [windows(2, 2), windows(3, 2, 1), windows(4, 3, 2)])
def test_pool(known, rng, kind, ceil, outside, sides):
    x = rng.standard_normal((2, 7, 8, 3)).astype(np.float32)
    more = {"kind": kind, "ceil": ceil, "count_outside": outside}
    layer = op(known, "pool", [Value("real", (7, 8, 3))], **more, **sides)
    told = (sides["kernel"], sides["stride"], sides["padding"])
    pooled = (
        F.max_pool2d(maps(x), *told, ceil_mode=ceil)
        if kind == "max"
        else F.avg_pool2d(maps(x), *told, ceil, outside)
    )
    np.testing.assert_allclose(layer(x), back(pooled), rtol=1e-5, atol=1e-6)


def test_what_joins_values(known, rng):
    x, y = rng.standard_normal((2, 3, 4, 5, 6)).astype(np.float32)
    real, row = Value("real", (4, 5, 6)), Value("real", (6,))
    assert (op(known, "add", [real, real])(x, y) == x + y).all()
    assert (op(known, "multiply", [real, real])(x, y) == x * y).all()
    gain = y[:, 0, 0]
    assert (op(known, "multiply", [real, row])(x, gain) == x * gain[:, None, None]).all()
    assert (op(known, "multiply", [row, real])(gain, x) == x * gain[:, None, None]).all()
    joined = op(known, "concat", [real, real])
    assert (joined(x, y) == np.concatenate([x, y], -1)).all()
    assert joined.output.shape == (4, 5, 12)
    np.testing.assert_allclose(op(known, "mean", [real])(x), x.mean((1, 2)), rtol=1e-6, atol=1e-7)
