"""Fewer labels, or wrong ones: only training examples are changed."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples
from bnnlab.seeds import permutation


def keep_share(part: Examples, share: float, *where: int | str) -> Examples:
    """Return a share of the examples of each class, at least one.

    Args:
        part: Training examples.
        share: Above 0, at most 1.
        where: The seed, and the names of what is drawn.
    """
    kept = [
        rows[: max(1, round(share * len(rows)))]
        for rows in _by_class(part, part.labels[part.rows].unique().tolist(), where)
    ]
    return replace(part, rows=torch.cat(kept).sort().values)


def with_noise(part: Examples, rate: float, classes: int, *where: int | str) -> Examples:
    """Return examples of which a share has another label: symmetric noise.

    Of the n examples of each class, round(rate n) are chosen by the seed. They are divided evenly
    among the other classes.

    Args:
        part: Training examples.
        rate: Share of the examples of each class whose label is wrong, 0 to 1.
        classes: Number of classes, two or more.
        where: The seed, and the names of what is drawn.
    """
    labels = part.labels.clone()
    for label, rows in enumerate(_by_class(part, range(classes), where)):
        chosen = rows[: round(rate * len(rows))]
        steps = 1 + torch.arange(len(chosen), device=rows.device) % (classes - 1)
        labels[chosen] = (label + steps) % classes
    return replace(part, labels=labels)


def _by_class(part: Examples, classes: Sequence[int], where: tuple[int | str, ...]) -> list[Tensor]:
    """Return the rows of each class, in an order that the seed chooses."""
    root, *names = where
    labels, found = part.labels[part.rows], []
    for label in classes:
        rows = part.rows[labels == label]
        order = permutation(len(rows), int(root), *names, label)
        found.append(rows[order.to(rows.device)])
    return found
