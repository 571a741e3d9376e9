"""Who divides rows by the places of their images never parts the rows of one image."""

import torch
from torch import Tensor

from bnnlab.seeds import permutation


def places(rows: Tensor, image: Tensor | None, root: int, *names: int | str) -> tuple[Tensor, int]:
    """Return where the image of each row is in an order of the images that a seed chooses.

    Args:
        rows: Rows of a data set, int64 of shape (M,).
        image: Number of the image that each row of the data set is of, int64 of shape (N,). None:
            each row is an image.
        root: The seed.
        names: Names of what is drawn.

    Returns:
        The places, int64 of shape (M,), in 0..n-1, and n, the number of images.
    """
    if image is None:
        each = torch.arange(len(rows), device=rows.device)
    else:
        each = torch.unique(image[rows], return_inverse=True)[1]
    count = 1 + int(each.max()) if len(rows) else 0
    place = torch.empty(count, dtype=torch.int64)
    place[permutation(count, root, *names)] = torch.arange(count)
    return place.to(rows.device)[each], count
