"""A file predicts what the model predicts: layer by layer, and with random networks."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnlab
import bnnlab_runtime
from bnnlab import (
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    Examples,
    Model,
    Sign,
    Task,
    TaskStream,
)
from bnnlab.nn.activations import make_activation
from bnnlab_export import Exported, export

CLASSES = 7


class Made(TaskStream):
    """Random images of uint8, whose sums float32 holds exactly: rounding changes nothing."""

    classes = CLASSES
    class_names = tuple("abcdefg")

    def __init__(self, shape: Sequence[int], count: int = 20, std: float = 1.0) -> None:
        self.input_shape = tuple(shape)
        draws = torch.Generator().manual_seed(1)
        pixels = torch.randint(0, 256, (count, *shape), generator=draws, dtype=torch.uint8)
        mean, std_ = torch.tensor(128.0), torch.tensor(std)
        self.part = Examples(pixels, torch.arange(count) % CLASSES, torch.arange(count), mean, std_)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Task:
        if index:
            raise IndexError
        return Task(0, "made", self.part, self.part)

    def protocol(self) -> dict[str, Any]:
        return {}


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rand(low: float, high: float, *shape: int, seed: int = 0) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=gen(seed))


def norm(channels: int, seed: int = 0, size: float = 1.0) -> BatchNorm:
    """Batch normalisation with gains of both signs, and 0."""
    made = BatchNorm(channels)
    made.mean.copy_(rand(-size, size, 1, channels, seed=seed))
    made.variance.copy_(rand(0.1, 2, 1, channels, seed=seed + 1))
    gains = torch.tensor([1.0, -0.5, 0.0, 2.0, -1.5])
    made.gamma.data.copy_(gains.repeat(channels)[:channels])
    made.beta.data.copy_(rand(-0.5, 0.5, channels, seed=seed + 2))
    return made


def linear(inputs: int, outputs: int, seed: int = 0, **options: Any) -> BinaryLinear:
    made = BinaryLinear(inputs, outputs, generator=gen(seed), **options)
    if made.bias is not None:
        made.bias.data.copy_(rand(-1, 1, outputs, seed=seed))
    if options.get("scale") == "learned":
        made.scale.data.copy_(rand(-0.5, 0.5, outputs, seed=seed))
    return made


def conv(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> BinaryConv2d:
    return BinaryConv2d(inputs, outputs, kernel, generator=gen(), **options)


class Residual(nn.Module):
    """x + f(x), and of another width g(x) + f(x)."""

    def __init__(self, *layers: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = nn.Sequential(*layers)
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        y += self.shortcut(x)
        return y


class Branches(nn.Module):
    """Two branches, whose channels are joined."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.other(x)], 1)


class Functional(nn.Module):
    """What is called as functions and methods."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 8), conv(8, 16, padding=1)
        self.sign, self.last = Sign(), linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.sign(F.relu(self.first(x)) - 0.5), 2, ceil_mode=True)
        x = torch.relu(self.second(x)) * 0.5 + 1
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.last(self.sign(x.view(x.size(0), -1).flatten(1) * x.mean([2, 3]) - 0.3))


class Zeros(nn.Module):
    """Signs of -0: of sums of 0 times a negative scale, and of hardswish."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = linear(4, 64), linear(64, 64, scale="learned")
        self.sign, self.last = Sign(), linear(5 * 64, CLASSES)
        self.second.scale.data.copy_(-self.second.scale.data.abs())

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y, z = self.second(self.sign(x)), F.hardswish(x)
        signs = [self.sign(each) for each in (y + y, y + sum([y]), z, F.hardtanh(z), z * -2)]
        return self.last(torch.cat(signs, 1))


def checked(model: nn.Module, stream: TaskStream, file: Path, **more: Any) -> Exported:
    """Export a model, and compare logits with torch's: both backends, and batches of any size."""
    found = export(model, file, stream=stream, **more)
    part = stream[0].test
    everything = torch.arange(len(part))
    model.eval()
    with torch.no_grad():
        expected = model(part.batch(everything)[0]).numpy()
    images = part.raw(everything)[0].numpy()
    for backend in ("numpy", "numba"):
        runtime = bnnlab_runtime.load(file, backend)
        np.testing.assert_allclose(runtime.logits(images), expected, rtol=1e-4, atol=1e-4)
        assert np.array_equal(runtime.predict(images), expected.argmax(1))
        assert np.array_equal(runtime.predict(images[:1]), expected[:1].argmax(1))
        assert runtime.predict(images[:0]).shape == (0,)
    assert found.differing == 0
    return found


ROWS: dict[str, Callable[[], list[nn.Module]]] = {
    "no norm": lambda: [linear(70, 130), Sign(), linear(130, 65), Sign()],
    "batch norm": lambda: [
        linear(70, 130), norm(130), Sign(), linear(130, 65), norm(65), Sign(),
    ],
    "biases and learned scales": lambda: [
        linear(70, 130, bias=True), norm(130), Sign(),
        linear(130, 65, scale="learned", bias=True), norm(65), Sign(),
    ],
    "layer norm after biases": lambda: [
        linear(70, 130, bias=True), nn.LayerNorm(130, elementwise_affine=False), Sign(),
        linear(130, 65, bias=True), nn.GroupNorm(5, 65, affine=False), Sign(),
    ],
    "layer norm with gain and shift": lambda: [
        linear(70, 64), norm(64), nn.LayerNorm(64), Sign(),
        linear(64, 65, scale="learned"), nn.GroupNorm(5, 65), norm(65), Sign(),
    ],
    "hardtanh and dropout": lambda: [
        linear(70, 130), nn.Dropout(), norm(130), nn.Hardtanh(), Sign(),
        linear(130, 65), nn.Tanh(), norm(65), nn.Identity(), Sign(),
    ],
    "no scale": lambda: [
        linear(70, 64, scale="none"), Sign(), linear(64, 65, scale="none"), Sign(),
    ],
    "gates": lambda: [
        linear(70, 64), norm(64), make_activation("gate", width=0.8), linear(64, 65), norm(65),
        Sign(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("layers", ROWS.values(), ids=ROWS)
def test_rows(layers: Callable[[], list[nn.Module]], tmp_path: Path) -> None:
    model = Model([nn.Sequential(nn.Flatten(), *layers(), linear(65, CLASSES))], (2, 5, 7))
    checked(model, Made((2, 5, 7)), tmp_path / "model.bnn")


@pytest.mark.parametrize(
    "name",
    ["relu", "leaky-relu", "softplus", "silu", "heaviside", "ternary", "reverse-binary-gate"],
)
def test_real_activations_are_computed(name: Any, tmp_path: Path) -> None:
    layers = [linear(70, 64), norm(64), Sign(), linear(64, 65), norm(65, 3)]
    last = [make_activation(name, width=0.7), linear(65, CLASSES)]
    found = checked(nn.Sequential(*layers, *last), Made((70,)), tmp_path / "model.bnn")
    assert [each.why for each in found.layers] == ["", "", "its inputs are real numbers"]


MAPS: dict[str, Callable[[], list[nn.Module]]] = {
    "max pooling before the norm": lambda: [
        conv(8, 20, padding=1), nn.MaxPool2d(2), norm(20, size=4), Sign(),
    ],
    "max pooling of signs": lambda: [
        conv(8, 20, 2, stride=2), norm(20), Sign(), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    ],
    "negative scales before pooling": lambda: [
        BinaryConv2d(8, 20, 3, scale="learned", bias=True, generator=gen()),
        nn.MaxPool2d(2, padding=1), norm(20), nn.MaxPool2d(2), Sign(),
    ],
    "average pooling": lambda: [
        conv(8, 20, padding=2), norm(20), nn.AvgPool2d(3, 2, 1, count_include_pad=False), Sign(),
    ],
    "dilation and strides": lambda: [conv(8, 20, 3, dilation=2, padding=2, stride=2), Sign()],
    "padding by name": lambda: [
        conv(8, 20, 3, padding="same"), Sign(), conv(20, 9, padding="valid"), Sign(),
    ],
    "groups": lambda: [
        conv(8, 128, padding=1), norm(128), Sign(), conv(128, 6, padding=1, groups=2), Sign(),
        conv(6, 6, padding=1, groups=6), norm(6), Sign(),
    ],
    "group norm of maps": lambda: [
        BinaryConv2d(8, 20, 3, bias=True, generator=gen()), nn.GroupNorm(4, 20, affine=False),
        Sign(), conv(20, 9, padding=1), nn.GroupNorm(1, 9), norm(9), Sign(),
    ],
    "a residual block": lambda: [
        Residual(conv(8, 8, padding=1), norm(8), Sign(), conv(8, 8, padding=1), norm(8, 5)),
        Sign(),
        Residual(
            conv(8, 12, padding=1, stride=2), norm(12, 7),
            shortcut=nn.Sequential(conv(8, 12, 1, stride=2), norm(12, 9)),
        ),
        Sign(),
    ],
    "joined branches": lambda: [
        Branches(nn.Sequential(conv(8, 5, padding=1), norm(5), Sign()), nn.Identity()),
        conv(13, 9, padding=1), Sign(),
    ],
    "no pooling where there is nothing left": lambda: [nn.AdaptiveAvgPool2d((8, 6)), Sign()],
}  # fmt: skip


@pytest.mark.parametrize("layers", MAPS.values(), ids=MAPS)
def test_maps(layers: Callable[[], list[nn.Module]], tmp_path: Path) -> None:
    before = [nn.Conv2d(3, 8, 3, padding=1), norm(8, size=100), Sign()]
    before[0].weight.data.round_()
    before[0].bias.data.round_()
    convolutions = [*before, *layers(), nn.Flatten()]
    with torch.no_grad():
        size = nn.Sequential(*convolutions).eval()(torch.zeros(1, 3, 8, 6)).shape[1]
    model = Model([nn.Sequential(*convolutions, linear(size, CLASSES))], (3, 8, 6))
    checked(model, Made((3, 8, 6)), tmp_path / "model.bnn")


def test_functions_and_methods(tmp_path: Path) -> None:
    checked(Functional(), Made((3, 8, 6)), tmp_path / "model.bnn")


def test_signs_of_zeros(tmp_path: Path) -> None:
    checked(Zeros(), Made((4,)), tmp_path / "model.bnn")


@pytest.mark.slow
def test_logits_of_a_deep_network_of_real_numbers(tmp_path: Path) -> None:
    """With signs, one that rounding turns changes all logits. Without, they are near float64's."""
    options = {"activations": "real", "input_shape": (3, 32, 32), "classes": CLASSES}
    model = bnnlab.create("model", "mobilenet_v2", **options).eval()
    stream = Made((3, 32, 32), std=64)
    export(model, tmp_path / "model.bnn", stream=stream, weights_only=True)
    images, inputs = stream.part.raw(torch.arange(20))[0], stream.part.batch(torch.arange(20))[0]
    with torch.no_grad():
        exact = deepcopy(model).double()(inputs.double()).numpy()
    for backend in ("numpy", "numba"):
        found = bnnlab_runtime.load(tmp_path / "model.bnn", backend).logits(images.numpy())
        assert np.abs(found - exact).max() < 1e-4 * np.abs(exact).max()
