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
RIGHT: dict[type, tuple[str, ...]] = {}
"""Components that are right in an unusual way, and the checks that must not complain of it.

That no check complains of what is right in the usual way, the contracts of shipped components show.
"""


def found_by(check: str, message: str = "") -> Callable[[Made], Made]:
    """Say which check finds a component."""

    def note(made: Made) -> Made:
        CASES.append(Case(made, check, message))
        return made

    return note


def right(*checks: str) -> Callable[[Made], Made]:
    """Say that a component passes these checks."""

    def note(made: Made) -> Made:
        RIGHT[made] = RIGHT.get(made, ()) + checks
        return made

    return note
