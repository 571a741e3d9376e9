"""Rotate images by look-ups."""

import math

import numpy as np
import torch
from torch import Tensor

DECIMALS = 6
"""Decimals of coordinates, so that ties are broken alike on every machine."""


def rotation_map(height: int, width: int, degrees: float) -> Tensor:
    """Return int64 (H * W,): for each pixel of a rotated image the pixel that it shows; or -1.

    The image is turned counter-clockwise about its centre, and the nearest pixel is shown, as
    torchvision's `rotate` does by default. With pixel (y, x) relative to the centre and angle a,
    the pixel shown is (y cos a + x sin a, x cos a - y sin a); -1 if it is outside.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle = (height - 1) / 2, (width - 1) / 2
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - middle[0], x - middle[1]
    rows, columns = y * cos + x * sin + middle[0], x * cos - y * sin + middle[1]
    rows, columns = (np.floor(np.round(each, DECIMALS) + 0.5) for each in (rows, columns))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    shown = np.where(inside, rows * width + columns, -1)
    return torch.from_numpy(shown.astype(np.int64).ravel())


def rotated(images: Tensor, shown: Tensor) -> Tensor:
    """Return images `(B, C, H, W)` whose pixels are those that `rotation_map` says, else black."""
    flat = images.flatten(2)
    turned = flat.index_select(2, shown.clamp(min=0))
    return turned.mul_((shown >= 0).to(flat.dtype)).view_as(images)
