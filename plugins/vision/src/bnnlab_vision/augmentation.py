"""Random changes of training images on the device. Each image has its own random parameters.

torchvision's `transforms.v2` draws one set of parameters per batch from the global generator, and
its kernels take one crop for all images. Here the parameters come from the given generator, and
one look-up cuts a batch. The parameters of an image do not depend on the sizes of the batches.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces.examples import Augmentation

Augment = Literal["none", "cifar", "cifar-edge", "imagenet"]

PADDING = 4
"""Padding on each side in pixels (He et al. 2016, section 4.2)."""
AREA = (0.08, 1.0)
"""Range of a crop's area divided by that of the image (Szegedy et al. 2015, section 6)."""
RATIO = (3 / 4, 4 / 3)
"""Range of a crop's width divided by its height (the same)."""
ATTEMPTS = 10
"""Number of attempts to draw a crop within the image, as in torchvision."""


def draw_shifts(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return (top, left, flip) of `count` images: int64 in 0..2 PADDING, and bool."""
    top, left, flip = torch.rand(count, 3, generator=generator).unbind(1)
    offsets = 2 * PADDING + 1
    return (top * offsets).long(), (left * offsets).long(), flip < 0.5


def shift_and_flip(images: Tensor, generator: torch.Generator, edge: bool = False) -> Tensor:
    """Return a random crop of each padded image, mirrored for half of the images.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

    Args:
        images: `(B, C, H, W)`.
        generator: On the CPU.
        edge: Whether the padding repeats the edge pixels, as in the published code of Laydevant et
            al., CVPR Workshops 2021. Otherwise it is zeros.

    Returns:
        Images of the same shape and type.
    """
    count, channels, height, width = images.shape
    top, left, flip = (x.to(images.device) for x in draw_shifts(count, generator))
    tall, wide = height + 2 * PADDING, width + 2 * PADDING
    padded = images.new_zeros(2, count, channels, tall, wide)
    plain, mirrored = padded[..., PADDING:-PADDING, PADDING:-PADDING]
    plain.copy_(images)
    mirrored.copy_(images.flip(-1))
    if edge:
        for lines in (padded, padded.mT):  # the second time with the corners
            lines[..., :PADDING, :] = lines[..., PADDING : PADDING + 1, :]
            lines[..., -PADDING:, :] = lines[..., -PADDING - 1 : -PADDING, :]
    # A line of a crop is `width` neighbours in memory, so its first index is enough.
    line = torch.arange(channels * tall, device=images.device).view(channels, -1)
    first = (flip * count + torch.arange(count, device=images.device)) * line.numel() + top
    lines = first.view(-1, 1, 1) + line[:, :height]
    begins = lines * wide + left.view(-1, 1, 1)
    return padded.flatten().unfold(0, width, 1).index_select(0, begins.flatten()).view_as(images)


def draw_crops(
    count: int, height: int, width: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return (top, left, h, w, flip) of `count` images: int64 in pixels, and bool.

    With u_1, ... uniform in [0, 1): area a = H W (0.08 + 0.92 u_1), ratio r = (3/4)^(1 - 2 u_2),
    w = round(√(a r)), h = round(√(a / r)). The crop is the first of ten pairs (w, h) of at least 1
    by 1 that lies within the image. If none does, it is the whole image.
    """
    uniform = torch.rand(count, 2 * ATTEMPTS + 3, generator=generator)
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * uniform[:, :ATTEMPTS])
    low, high = map(math.log, RATIO)
    ratio = (low + (high - low) * uniform[:, ATTEMPTS : 2 * ATTEMPTS]).exp()
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)  # the first of equals
    some = fits.any(1)
    w = torch.where(some, w.gather(1, first)[:, 0], width)
    h = torch.where(some, h.gather(1, first)[:, 0], height)
    top, left, flip = uniform[:, 2 * ATTEMPTS :].unbind(1)
    top, left = (top * (height - h + 1)).long(), (left * (width - w + 1)).long()
    return top, left, h.long(), w.long(), flip < 0.5


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random crop of each image, enlarged bilinearly, mirrored for half of the images.

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6.

    Args:
        images: `(B, C, H, W)`.
        generator: On the CPU.

    Returns:
        float32 images of the same shape, in units of a pixel.
    """
    count, _, height, width = images.shape
    drawn = draw_crops(count, height, width, generator)
    top, left, h, w, flip = (x.to(images.device)[:, None] for x in drawn)
    y, x = _sources(top, h, height), _sources(left, w, width)
    x = torch.where(flip, x.flip(1), x)
    shape = (count, height, width)
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], -1)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _sources(start: Tensor, size: Tensor, full: int) -> Tensor:
    """Return the source positions of the `full` pixels of an enlarged crop, in [-1, 1] of an axis.

    Pixel i comes from start + (i + 1/2) size / full - 1/2, kept within the crop.
    """
    inside = (torch.arange(full, device=start.device) + 0.5) * size / full - 0.5
    at = start + torch.minimum(inside.clamp_min(0), size - 1)
    return (2 * at + 1) / full - 1


AUGMENTATIONS: Mapping[Augment, Augmentation | None] = {
    "none": None,
    "cifar": shift_and_flip,
    "cifar-edge": partial(shift_and_flip, edge=True),
    "imagenet": crop_and_flip,
}
