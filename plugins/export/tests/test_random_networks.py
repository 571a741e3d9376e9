"""Random networks: reference, compiled code and torch predict the same, for any number of images.

Images are whole numbers that float32 sums exactly, and row normalisation has biases before it, so
that no number is at the mean of its row: torch rounds there.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bnnlab_runtime
from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, Examples, Model, Sign
from bnnlab.interfaces.stream import Task
from bnnlab_export.exporting import write
from bnnlab_export.source import Source

OUTPUTS = 5
WIDTHS = (1, 3, 31, 63, 64, 65, 100, 128, 130)


class Drawn:
    """A random network, layer by layer."""

    def __init__(self, seed: int) -> None:
        self.pick, self.draws = random.Random(seed), torch.Generator().manual_seed(seed)
        side = self.pick.randint(4, 9)
        maps = (self.pick.choice((1, 3)), side, self.pick.randint(4, 9))
        self.shape = self.pick.choice((maps, (self.pick.choice(WIDTHS),)))
        self.x, self.layers = torch.zeros(1, *self.shape), list[nn.Module]()

    def network(self) -> Model:
        if len(self.shape) == 3 and self.often(0.7):
            for _ in range(self.pick.randint(1, 3)):
                self.convolution()
        self.add(nn.Flatten())
        for _ in range(self.pick.randint(1, 2)):
            self.linear(self.pick.choice(WIDTHS))
            self.normalise()
            self.add(Sign())
        self.linear(OUTPUTS)
        if self.often(0.3):
            self.batch_norm()
        return Model([nn.Sequential(*self.layers)], self.shape).eval()

    def add(self, layer: nn.Module) -> None:
        self.layers.append(layer.eval())
        with torch.no_grad():
            self.x = layer(self.x)

    def often(self, share: float) -> bool:
        return self.pick.random() < share

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.draws)

    def linear(self, outputs: int) -> None:
        self.weights(BinaryLinear(self.x.shape[1], outputs, **self.options()))

    def convolution(self) -> None:
        channels, *sides = self.x.shape[1:]
        kernel = self.pick.randint(1, min(3, *sides))
        outputs, groups = self.pick.choice(WIDTHS), 1
        if channels in (64, 128) and self.often(0.5):
            groups, outputs = self.pick.choice((2, channels)), channels
        shape = {"stride": self.pick.randint(1, 2), "padding": self.pick.randint(0, kernel - 1)}
        made = BinaryConv2d(channels, outputs, kernel, groups=groups, **shape, **self.options())
        self.weights(made)
        if min(self.x.shape[2:]) > 1 and self.often(0.4):
            self.add(nn.MaxPool2d(2, ceil_mode=self.often(0.5)))
        self.normalise()
        self.add(Sign())
        if min(self.x.shape[2:]) > 1 and self.often(0.2):
            self.add(nn.MaxPool2d(2, 1))

    def options(self) -> dict[str, Any]:
        scale = self.pick.choice(("none", "fan-in", "learned"))
        return {"bias": True, "scale": scale, "generator": self.draws}

    def weights(self, layer: Any) -> None:
        layer.bias.data.copy_(self.uniform(-2, 2, len(layer.bias)))
        self.whole = self.often(0.3)
        if self.whole:
            layer.bias.data.round_()
        if layer.scale is not None:
            layer.scale.data.copy_(self.uniform(-1, 1, len(layer.scale)))
        self.add(layer)

    def normalise(self) -> None:
        """Add what is in front of a sign."""
        channels = self.x.shape[1]
        kinds = ("none", "batch", "batch") if self.whole else ("none", "batch", "layer", "group")
        kind = self.pick.choice(kinds)
        if kind == "batch":
            self.batch_norm()
        elif kind == "layer" and self.x.ndim == 2 and channels > 1:
            self.add(nn.LayerNorm(channels, elementwise_affine=self.often(0.5)))
        elif kind == "group" and channels % 5 == 0:
            self.add(nn.GroupNorm(5, channels, affine=self.often(0.5)))
        if self.often(0.2):
            self.add(self.pick.choice((nn.Hardtanh, nn.Tanh, nn.Identity))())

    def batch_norm(self) -> None:
        channels = self.x.shape[1]
        norm = BatchNorm(channels, affine=self.often(0.7))
        norm.mean.copy_(self.uniform(-9, 9, 1, channels))
        norm.variance.copy_(self.uniform(0.01, 9, 1, channels))
        if self.often(0.3):  # thresholds at which sums may be, and 0
            norm.mean.round_()
            norm.mean *= self.pick.choice((0, 1))
        if norm.gamma is not None:
            gains = torch.tensor([0.0, -1.0, 1.0, -0.3, 2.0])
            which = torch.randint(5, (channels,), generator=self.draws)
            norm.gamma.data.copy_(gains[which])
            norm.beta.data.copy_(self.uniform(-1, 1, channels) * self.pick.choice((0, 1)))
        self.add(norm)

    def part(self) -> Examples:
        """Return images of uint8 or float32, with no normalisation, that of all, or of channels."""
        count = self.pick.randint(2, 9)
        pixels = torch.randint(0, 256, (count, *self.shape), generator=self.draws)
        rows, channels = torch.arange(count), (self.shape[0], *[1] * (len(self.shape) - 1))
        kind = self.pick.choice(("none", "one", "one", "channels"))
        given = channels if kind == "channels" else ()
        mean = torch.randint(100, 156, given, generator=self.draws).float()
        std = 2.0 ** torch.randint(0, 9, given, generator=self.draws)
        return Examples(
            pixels.to(self.pick.choice((torch.uint8, torch.float32))),
            rows % OUTPUTS,
            rows,
            *((None, None) if kind == "none" else (mean, std)),
        )


def check(seed: int, folder: Path) -> None:
    drawn = Drawn(seed)
    model, part = drawn.network(), drawn.part()
    file = folder / "model.bnn"
    found = write(
        Source(model, drawn.shape, [Task(0, "made", part, part)]), file, weights_only=True
    )
    assert found.differing == 0
    with torch.no_grad():
        expected = model(part.batch(part.rows)[0]).numpy()
    reference, compiled = (bnnlab_runtime.load(file, each) for each in ("numpy", "numba"))
    images = part.raw(part.rows)[0].numpy()
    logits = reference.logits(images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    for size in (0, 1, len(images)):
        np.testing.assert_allclose(compiled.logits(images[:size]), logits[:size], 1e-5, 1e-5)
        for runtime in (reference, compiled):
            assert np.array_equal(runtime.predict(images[:size]), expected[:size].argmax(1))


@pytest.mark.parametrize("ten", range(4))
def test_forty_networks(ten: int, tmp_path: Path) -> None:
    for seed in range(10 * ten, 10 * ten + 10):
        check(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_two_thousand_networks(part: int, tmp_path: Path) -> None:
    for seed in range(100 + 250 * part, 100 + 250 * (part + 1)):
        check(seed, tmp_path)
