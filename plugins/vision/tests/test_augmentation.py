import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as plain

from bnnlab.interfaces.examples import Augmentation
from bnnlab_vision.augmentation import crop_and_flip, draw_crops, draw_shifts, shift_and_flip

shift_with_edge = partial(shift_and_flip, edge=True)
EACH = pytest.mark.parametrize("augment", [shift_and_flip, shift_with_edge, crop_and_flip])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(count: int, *shape: int) -> Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator(9))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 9, 5)])
def test_shifts_are_those_of_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    images = some_images(200, *shape)
    top, left, flip = draw_shifts(200, generator())
    expected = []
    for image, t, x, mirrored in zip(images, top.tolist(), left.tolist(), flip, strict=True):
        image = plain.pad(image, [4, 4, 4, 4])
        image = plain.horizontal_flip(image) if mirrored else image
        expected.append(plain.crop(image, t, x, *shape[1:]))
    found = shift_and_flip(images, generator())
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.stack(expected))


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 1, 5)])
def test_shifts_are_those_of_a_plain_transcription(shape: tuple[int, ...], edge: bool) -> None:
    images = some_images(200, *shape)
    top, left, flip = draw_shifts(200, generator())
    expected = []
    for image, t, x, mirrored in zip(images.numpy(), top, left, flip, strict=True):
        image = image[:, :, ::-1] if mirrored else image
        border = [(0, 0), (4, 4), (4, 4)]
        image = np.pad(image, border, mode="edge") if edge else np.pad(image, border)
        expected.append(image[:, t : t + shape[1], x : x + shape[2]])
    assert np.array_equal(shift_and_flip(images, generator(), edge), np.stack(expected))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 12, 20)])
def test_crops_are_those_of_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    images = some_images(200, *shape)
    _, height, width = shape
    *crops, flip = draw_crops(200, height, width, generator())
    expected = []
    for image, crop, mirrored in zip(images.float(), zip(*crops, strict=True), flip, strict=True):
        image = plain.resized_crop(image, *(int(number) for number in crop), [height, width])
        expected.append(plain.horizontal_flip(image) if mirrored else image)
    found = crop_and_flip(images, generator())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-3, rtol=0)
    assert found.min() > -1e-3
    assert found.max() < 255 + 1e-3


def test_every_shift_is_as_likely_as_any_other_and_half_the_images_are_mirrored() -> None:
    top, left, flip = draw_shifts(90_000, generator())
    for offsets in (top, left):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert ((counts - 10_000).abs() < 5 * math.sqrt(10_000)).all()
    assert abs(int(flip.sum()) - 45_000) < 5 * math.sqrt(90_000) / 2
    assert (
        abs(np.corrcoef(torch.stack([top, left, flip]).numpy())[np.triu_indices(3, 1)]).max() < 0.02
    )


def slow_crop(uniform: np.ndarray, height: int, width: int) -> tuple[int, ...]:
    """Return (top, left, h, w) of one image, from its row of uniform numbers."""
    for u, v in zip(uniform[:10], uniform[10:20], strict=True):
        area = height * width * (0.08 + (1.0 - 0.08) * u)
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * v)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        h, w = height, width
    return int(uniform[20] * (height - h + 1)), int(uniform[21] * (width - w + 1)), h, w


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (12, 20)])
def test_crops_are_drawn_as_a_plain_transcription_draws_them(size: tuple[int, int]) -> None:
    uniform = torch.rand(5000, 23, generator=generator()).double().numpy()
    *crops, flip = draw_crops(5000, *size, generator())
    expected = np.array([slow_crop(row, *size) for row in uniform])
    differ = (torch.stack(crops, 1).numpy() != expected).any(1)
    assert differ.sum() <= 5  # where float32 rounds a half to the other side
    assert np.array_equal(flip.numpy(), uniform[:, 22] < 0.5)


def test_crops_have_the_published_areas_and_ratios() -> None:
    top, left, h, w, flip = draw_crops(20_000, 1000, 1000, generator())
    assert ((top >= 0) & (top + h <= 1000) & (left >= 0) & (left + w <= 1000)).all()
    share, ratio = (h * w).double() / 1e6, (w / h).double()
    assert share.min() > 0.079
    assert share.min() < 0.09
    assert share.max() > 0.98
    assert 0.749 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.335
    # Below 3/4 of the image every crop fits, so that areas are uniform there.
    counts = torch.histc(share[share < 0.7], bins=6, min=0.08, max=0.7)
    assert counts.max() / counts.min() < 1.12
    assert abs(float(ratio.log().mean())) < 0.01
    assert abs(float(flip.double().mean()) - 0.5) < 0.02


def test_where_no_crop_fits_the_image_is_whole() -> None:
    top, left, h, w, _ = draw_crops(50, 1, 100, generator())
    assert not top.any()
    assert not left.any()
    assert (h == 1).all()
    assert (w == 100).all()


@EACH
def test_every_image_is_changed_in_its_own_way(augment: Augmentation) -> None:
    images = some_images(1, 3, 32, 32).expand(64, -1, -1, -1)
    found = augment(images, generator()).flatten(1).unique(dim=0)
    assert len(found) > 40


@EACH
def test_the_generator_decides_and_nothing_else(augment: Augmentation) -> None:
    images = some_images(30, 3, 16, 16)
    before = torch.get_rng_state()
    once, again, other = (augment(images, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(torch.get_rng_state(), before)


@EACH
def test_an_image_is_changed_alike_however_the_batches_are_cut(augment: Augmentation) -> None:
    images = some_images(30, 3, 16, 16)
    draws = generator()
    borders = pairwise([0, 1, 2, 9, 30])
    pieces = [augment(images[first:last], draws) for first, last in borders]
    assert torch.equal(torch.cat(pieces), augment(images, generator()))


@EACH
def test_the_images_themselves_are_left_alone(
    augment: Callable[[Tensor, torch.Generator], Tensor],
) -> None:
    images = some_images(5, 1, 8, 8)
    before = images.clone()
    augment(images, generator())
    assert torch.equal(images, before)
