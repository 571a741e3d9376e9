"""Components that are wrong on purpose, each below the check of the kit that must find it.

They have modules of their own, which the simulated device's process imports, too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Made = TypeVar("Made", bound=type)


class Case(NamedTuple):
    """A wrong component, the check that finds it, and what the check says: a regular expression."""

    made: Any
    check: str
    message: str


CASES: list[Case] = []
"""All of the modules of this package that were imported."""
RIGHT: list[type] = []
"""Components that no check may complain about."""


def found_by(check: str, message: str = "") -> Callable[[Made], Made]:
    """Say which check finds a component."""

    def note(made: Made) -> Made:
        CASES.append(Case(made, check, message))
        return made

    return note


def right(made: Made) -> Made:
    """Say that a component passes every check."""
    RIGHT.append(made)
    return made
