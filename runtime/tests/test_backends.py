"""Random networks give the same on both backends: equal sums, so equal bits and logits."""

import numpy as np
import pytest
from programs import Made, conv_weight, windows

import bnnlab_runtime
from bnnlab_runtime.backends import REFERENCE
from bnnlab_runtime.bits import pack

NETWORKS = 40


def drawn(rng) -> Made:
    """Return a random network of integers, whose widths are seldom multiples of 64."""

    def signs(*shape):
        return rng.integers(0, 2, shape) * 2 - 1

    def bits(channels):
        return pack(signs(channels) > 0)

    def one_of(*given):
        return given[rng.integers(len(given))]

    def norm(channels):
        if one_of(True, False):
            made.add("row_threshold", groups=1)
            return
        t = rng.integers(-20, 20, channels).astype(np.int32)
        made.add("threshold", tensors={"t": t, "flip": bits(channels)})

    channels, size, outputs = one_of(1, 3), int(rng.integers(4, 9)), int(rng.integers(1, 5))
    made = Made((channels, size, size))
    made.program["outputs"] = outputs
    width = int(rng.integers(1, 150))
    if one_of(True, False):
        weight = pack(signs(width, channels * size * size) > 0).T.copy()
        made.add("plane_linear", tensors={"weight": weight})
        cells = 1
    else:
        made.add("normalise", tensors={"mean": np.full(channels, 100, np.float32)})
        made.add("sign")
        for _ in range(rng.integers(1, 4)):
            wider, side = int(rng.integers(1, 150)), int(rng.integers(1, 4))
            sides = windows(side, int(rng.integers(1, 3)), side // 2)
            weight = conv_weight(signs(wider, side, side, channels))
            made.add("bit_conv", tensors={"weight": weight}, groups=1, **sides)
            size, channels = (size + 2 * (side // 2) - side) // sides["stride"][0] + 1, wider
            norm(channels)
            if size > 1 and one_of(True, False):
                made.add("or_pool", tensors={"flip": bits(channels)}, ceil=True, **windows(2, 2))
                size = -(-size // 2)
        made.add("flatten")
        cells = size * size
        made.add("bit_linear", tensors={"weight": conv_weight(signs(width, cells, 1, channels))})
    norm(width)
    made.add("bit_linear", tensors={"weight": conv_weight(signs(outputs, 1, 1, width))})
    made.add("affine", tensors={"a": rng.standard_normal(outputs).astype(np.float32)})
    return made


def compared(seeds, folder):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        made = drawn(rng)
        path = made.write(folder / "m.bnn")
        images = rng.integers(0, 256, (rng.integers(0, 6), *made.program["input"]["shape"]))
        found = [
            bnnlab_runtime.load(path, backend).logits(images.astype(np.uint8))
            for backend in ("numpy", "numba")
        ]
        assert (found[0] == found[1]).all(), f"network {seed}"
        assert found[0].shape == (len(images), made.program["outputs"])


def test_both_backends_give_the_same(tmp_path):
    compared(range(NETWORKS), tmp_path)


@pytest.mark.slow
def test_both_backends_give_the_same_for_more(tmp_path):
    compared(range(NETWORKS, 500), tmp_path)


def test_the_format_names_every_operation():
    from pathlib import Path

    page = (Path(__file__).parents[1] / "FORMAT.md").read_text()
    rows = [
        line.split("`")[1]
        for line in page.partition("## Steps")[2].splitlines()
        if line.startswith("| `")
    ]
    assert sorted(rows) == sorted(REFERENCE)
