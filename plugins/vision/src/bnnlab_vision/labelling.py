"""Fewer labels, or wrong ones: only training examples are changed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples
from bnnlab.seeds import permutation
from bnnlab_vision.dividing import places


def keep_share(
    part: Examples, share: float, image: Tensor | None, seed: int, *names: str
) -> Examples:
    """Return the examples of a share of the images of each class, at least one image.

    Args:
        part: Training examples.
        share: Above 0, at most 1.
        image: As in `places`.
        seed: Chooses the images.
        names: Names of what is drawn.
    """
    kept = [
        rows[place < max(1, round(share * count))]
        for _, rows, place, count in _by_class(
            part, torch.unique(part.labels[part.rows]).tolist(), image, seed, *names
        )
    ]
    return replace(part, rows=torch.cat(kept).sort().values)


def with_noise(
    part: Examples, rate: float, classes: int, image: Tensor | None, seed: int, *names: str
) -> Examples:
    """Return examples of which a share has another label: symmetric noise.

    Of the n images of each class, the seed chooses round(rate n), and deals them evenly to the
    other classes, in an order that it chooses, too. All examples of an image get one label.

    Args:
        part: Training examples.
        rate: Share of the images of each class whose label is wrong, 0 to 1.
        classes: Number of classes, two or more.
        image: As in `places`.
        seed: Chooses the images and the order of the classes.
        names: Names of what is drawn.
    """
    labels = part.labels.clone()
    for label, rows, place, count in _by_class(part, range(classes), image, seed, *names):
        wrong = place < round(rate * count)
        steps = 1 + permutation(classes - 1, seed, *names, label, "others").to(rows.device)
        labels[rows[wrong]] = (label + steps[place[wrong] % (classes - 1)]) % classes
    return replace(part, labels=labels)


def _by_class(
    part: Examples, classes: Sequence[int], image: Tensor | None, seed: int, *names: str
) -> Iterator[tuple[int, Tensor, Tensor, int]]:
    """Yield each class, its rows, the places of their images, and the number of its images."""
    labels = part.labels[part.rows]
    for label in classes:
        rows = part.rows[labels == label]
        yield label, rows, *places(rows, image, seed, *names, label)
