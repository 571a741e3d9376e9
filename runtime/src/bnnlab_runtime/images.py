"""Images as a model takes them: checked, and resized."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnnlab_runtime.values import Value

Array = NDArray[Any]

MOST_STRETCHED = 4
"""How many times wider, against its height, resizing may make an image, or taller."""


def as_stored(images: ArrayLike, wanted: Value, prepared: Sequence[str] = ()) -> Array:
    """Return images `(B, C, H, W)` or `(B, F)` of the model's type and size.

    Raises:
        ValueError: If they are of another type, no resizing makes them fit, or numbers are not
            finite.
    """
    given = np.asarray(images)
    if given.dtype != wanted.kind:
        raise ValueError(
            f"the model takes images of {wanted.kind}, as they are stored, and these are "
            f"{given.dtype}"
        )
    if len(wanted.shape) == 3 and wanted.shape[0] == 1 and given.ndim == 3:
        given = given[:, None]
    shape = given.shape[1:]
    if given.dtype == np.float32 and not (finite := np.isfinite(given)).all():
        first = int(np.argwhere(~finite)[0, 0])
        raise ValueError(f"images must be finite numbers, and there are others, in image {first}")
    if shape == wanted.shape:
        return given
    if len(wanted.shape) == 3 and shape[:1] == wanted.shape[:1] and len(shape) == 3 and all(shape):
        _expect_like(given.shape, wanted.shape, prepared)
        return _resized(given, wanted.shape[1], wanted.shape[2])
    names = "(B, C, H, W)" if len(wanted.shape) == 3 else "(B, F)"
    raise ValueError(
        f"the model takes images {names} = (B, {str(wanted.shape)[1:-1].rstrip(',')}"
        f"), and these are {given.shape}"
    )


def _expect_like(shape: tuple[int, ...], wanted: tuple[int, ...], prepared: Sequence[str]) -> None:
    """Refuse what is no image of this kind, as a row of pixels that would become a square."""
    if prepared:
        raise ValueError(
            f"the model takes images {wanted[1]} x {wanted[2]}, and these are {shape[2]} x "
            f"{shape[3]} (height x width). Prepare them as in training: {', '.join(prepared)}"
        )
    wider = shape[3] * wanted[1] / (shape[2] * wanted[2])
    if not 1 / MOST_STRETCHED <= wider <= MOST_STRETCHED:
        raise ValueError(
            f"the model takes images {wanted[1]} x {wanted[2]}, and these are {shape[2]} x "
            f"{shape[3]} (height x width): resizing would stretch them more than {MOST_STRETCHED} "
            f"times in one direction. Rows of pixels are no images: reshape them first"
        )


def _resized(images: Array, height: int, width: int) -> Array:
    """Interpolate bilinearly, as torch does without antialiasing; uint8 is rounded."""
    rows, columns = _between(images.shape[2], height), _between(images.shape[3], width)
    low, high, share = rows
    real = images.astype(np.float32)
    tall = real[:, :, low] * (1 - share[:, None]) + real[:, :, high] * share[:, None]
    low, high, share = columns
    both = tall[..., low] * (1 - share) + tall[..., high] * share
    return both if images.dtype == np.float32 else np.rint(both).astype(np.uint8)


def _between(size: int, wanted: int) -> tuple[Array, Array, Array]:
    """Return for each wanted place the one below, the one above, and the share of that one."""
    places = (np.arange(wanted) + 0.5) * (size / wanted) - 0.5
    inner = places.clip(0, size - 1)
    low = inner.astype(np.int64)
    return low, np.minimum(low + 1, size - 1), (inner - low).astype(np.float32)
