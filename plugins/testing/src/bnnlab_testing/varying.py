"""Other values of an option, to see what they change."""

from contextlib import suppress
from typing import Any

from bnnlab.registry.components import Option
from bnnlab.registry.forms import literals
from bnnlab.registry.options import check_value


def other_values(option: Option, value: Any) -> list[Any]:
    """Return other values that an option may have, to be tried in this order.

    Of a list the last element is another. Text is not made up: there are none of it.
    """
    tried = _related(option, value)
    if isinstance(value, list):
        tried += [[*value[:-1], last] for last in _related(option, value[-1] if value else None)]
    found: list[Any] = []
    for each in tried:
        with suppress(ValueError):  # of another type, or out of range
            checked = check_value(option, each)
            if checked != value and checked not in found:
                found.append(checked)
    return found


def tried(option: Option, value: Any) -> str:
    """Return the name of an option with its other values, for a message."""
    return f"{option.name} (tried: {', '.join(map(repr, other_values(option, value)))})"


def _related(option: Option, value: Any) -> list[Any]:
    start = value if isinstance(value, int | float) else 1
    numbers = [start / 2, start // 2, 2 * start + 1, 1e-3, 1]
    more = [2, 0.25]  # groups of units that are a power of 2; a share that is not next to none
    return [*literals(option.type), not value, *numbers, option.minimum, option.maximum, *more]
