"""Which classes are learned, and in which task."""

import logging
from collections.abc import Sequence

from bnnlab.errors import NOTE, UsageError
from bnnlab_vision.source import Source

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows

USUAL = 5
"""Tasks of a split, where the number of classes allows it."""


def chosen_classes(source: Source, said: Sequence[int]) -> list[int]:
    """Return the classes that are learned, in order: those that were said, or all.

    Raises:
        UsageError: If a class is unknown, or named twice.
    """
    for label in said:
        if not 0 <= label < source.classes:
            raise UsageError(
                f"labels: {label} is no class of {source.name}; use 0 to {source.classes - 1}."
            )
    if len(set(said)) < len(said):
        raise UsageError(f"labels: {[*said]} has a class twice.")
    return [*said] or [*range(source.classes)]


def span(classes: Sequence[int]) -> str:
    """Return the classes of a task in words: `0-1`, or `3, 7` if they are no range."""
    first, last = classes[0], classes[-1]
    if [*classes] != [*range(first, last + 1)]:
        return ", ".join(map(str, classes))
    return f"{first}-{last}" if last > first else f"{first}"


def number_of_tasks(name: str, classes: int, said: int | None) -> int:
    """Return how many tasks the classes of a data set are split into; a note says a choice.

    Raises:
        UsageError: If the number that was said does not divide the classes.
    """
    divisors = [number for number in range(1, classes + 1) if classes % number == 0]
    listed = ", ".join(map(str, divisors))
    if said is not None:
        if said not in divisors:
            raise UsageError(
                f"tasks: {said} does not divide the {classes} classes of {name}; "
                f"use one of {listed}."
            )
        return said
    usual = [number for number in divisors if 1 < number <= USUAL and classes // number > 1]
    tasks = max(usual, default=classes)
    log.log(
        NOTE,
        "%s: its %d classes are learned in %d tasks. stream.tasks may be %s",
        *(name, classes, tasks, listed),
    )
    return tasks
