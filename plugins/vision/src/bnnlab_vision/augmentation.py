"""Random changes of training images, each image with parameters of its own, on the device.

torchvision's `transforms.v2` draws one set of parameters for a whole batch, and from the global
generator; its kernels take one crop for all images. So parameters are drawn here, from the
generator that is given, and a batch is cut by one look-up. A generator gives an image the same
parameters however the images are cut into batches.
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
"""Pixels on each side (He et al. 2016, section 4.2)."""
AREA = (0.08, 1.0)
"""Of a crop, as a share of the image (Szegedy et al. 2015, section 6)."""
RATIO = (3 / 4, 4 / 3)
"""Width by height of a crop (the same)."""
ATTEMPTS = 10
"""Crops drawn until one lies within the image, as torchvision has it."""


def draw_shifts(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return (top, left, flip) of `count` images: int64 in 0..2 PADDING, and bool."""
    top, left, flip = torch.rand(count, 3, generator=generator).unbind(1)
    offsets = 2 * PADDING + 1
    return (top * offsets).long(), (left * offsets).long(), flip < 0.5


def shift_and_flip(images: Tensor, generator: torch.Generator, edge: bool = False) -> Tensor:
    """Cut each image out of itself, padded, or out of the mirror image of that.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

    Args:
        images: `(B, C, H, W)`.
        generator: On the CPU.
        edge: Whether the outermost pixels are repeated in the padding, in place of zeros
            (the published code of Laydevant et al., CVPR Workshops 2021).

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
    # A line of a crop is `width` neighbours in memory: all are copied by where they begin.
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
    w = round(√(a r)), h = round(√(a / r)); the first of ten pairs that is at least 1 by 1 and lies
    within the image, else the whole image.
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
    """Enlarge a random crop of each image to its size, bilinearly, and mirror half of the images.

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
    """Return where in [-1, 1] of an axis each of `full` pixels of an enlarged crop comes from.

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
