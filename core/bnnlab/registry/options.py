"""Check the values of options against their types. Errors say what to type."""

import math
import reprlib
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.declaration import BOUNDS, Option
from bnnlab.registry.forms import describe_type as describe_type
from bnnlab.registry.forms import literals, take

T = TypeVar("T")

SMALLEST = 2.0**-126
"""Smallest normal float32 number. Many devices round smaller ones to 0."""
LARGEST = (2 - 2.0**-23) * 2.0**127
"""Largest float32 number."""
_DEFAULT = " This is its default: set another value, and tell the author of the plugin."
_MOST_NAMES = 10  # that one message looks at
_MOST_DIGITS = 4000  # Python refuses to write a little more


class _Short(reprlib.Repr):
    """Values in messages: whole, unless they are absurdly long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxlist = self.maxtuple = 20

    def repr_int(self, x: int, level: int) -> str:
        digits = round(x.bit_length() * math.log10(2))
        if digits > _MOST_DIGITS:
            return f"an integer of about {digits} digits"
        return super().repr_int(x, level)


shown = _Short().repr
"""Return a value as Python writes it, without the middle of a long one; for messages."""


def _fault(option: Option, value: Any) -> str | None:
    """Return what is wrong with a value that has the option's type, in words after the value."""
    if isinstance(value, list):
        return next(filter(None, (_fault(option, each) for each in value)), None)
    if isinstance(value, str) and not is_storable(value):
        return "has characters that a run file cannot hold"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    for name, bound in option.bounds.items():
        if not BOUNDS[name][1](value, bound):
            return f"must be {option.says(name)}"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is too large: whole numbers have at most 64 bits"
    if isinstance(value, float) and abs(value) > LARGEST:
        return f"is too large: the largest float32 number is {LARGEST:.3g}"
    if option.above == 0 and value < SMALLEST:
        return f"must be above 0; float32 rounds numbers below {SMALLEST:.3g} to 0"
    return None


def check_value(option: Option, value: Any, prefix: str = "") -> Any:
    """Return `value` in the option's type.

    Raises:
        ValueError: With a message that names the option, the value and what is allowed.
    """
    name = prefix + option.name
    try:
        converted = take(option._forms, value)
    except ValueError:
        what = " or ".join(form.with_article for form in option._forms)
        if isinstance(value, float) and not math.isfinite(value):
            what = "a finite number"
        message = f"{name}: {shown(value)} is not {what}."
        if option.type is str:
            message += f" Text that reads as another type needs quotes: --set '{name}=\"...\"'."
        choices = [choice for choice in literals(option.type) if isinstance(choice, str)]
        raise ValueError(message + did_you_mean(value, choices)) from None
    if option.path and converted:
        try:
            converted = str(Path(converted).expanduser().resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"{name}: {shown(converted)}: {error}.") from None
    if fault := _fault(option, converted):
        raise ValueError(f"{name}: {shown(value)} {fault}.")
    return converted


def is_storable(text: str) -> bool:
    """Return whether text is valid Unicode without NUL, so that a run file can hold it."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def check_values(
    options: Iterable[Option],
    given: Mapping[str, Any],
    prefix: str = "",
    *,
    what: str = "option",
    others: Iterable[str] = (),
    sources: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of all options, with defaults, and a list of faults.

    Args:
        options: The declared options.
        given: Values by name.
        prefix: Text in front of a name in messages, such as `optimizer.`.
        what: The word for an option in messages.
        others: More allowed names, which are checked elsewhere.
        sources: The place that set each value, for messages.
    """
    sources = sources or {}
    declared = {option.name: option for option in options}
    known = [*declared, *others]
    unknown = [name for name in given if name not in known]
    all_known = f" It takes: {', '.join(known)}." if known else f" There is no {what} to set."
    faults = []
    for name in unknown[:_MOST_NAMES]:
        written = name if name and isinstance(name, str) else shown(name)
        hint = _as_table(name, others) or did_you_mean(name, known) or all_known
        faults.append(f"{prefix}{written}: no such {what}.{hint}{set_in(sources.get(name, ''))}")
    if len(unknown) > _MOST_NAMES:
        faults.append(f"And {len(unknown) - _MOST_NAMES:,} more such names.")
    values = {}
    for name, option in declared.items():
        try:
            values[name] = check_value(option, given.get(name, option.default), prefix)
        except ValueError as error:
            where = set_in(sources.get(name, "")) if name in given else _DEFAULT
            faults.append(f"{error}{where}")
    return values, faults


def _as_table(name: Any, tables: Iterable[str]) -> str:
    """Return how to write a dotted name that a file has in quotes, if it is one of these tables."""
    table, dot, option = name.partition(".") if isinstance(name, str) else ("", "", "")
    if not dot or table not in [*tables]:
        return ""
    return f" Write {table} = {{ {option} = ... }}, or {name} without quotes."


def set_in(source: str) -> str:
    """Return a sentence with the file that set a value; empty if no file did."""
    return f" It is set in {source}." if source else ""


def expect(name: str, value: Any, *kinds: type) -> None:
    """Raise UsageError if an argument of the Python API has none of these types."""
    if not isinstance(value, kinds):
        names = [kind.__name__ for kind in kinds if kind is not types.NoneType]
        raise UsageError(f"{name}: {shown(value)} is not a {' or '.join(names)}.")


def per_layer(option: str, value: T | Sequence[T], layers: int, what: str = "layer") -> list[T]:
    """Return a value for each layer, from input to output: the same for all, or one each.

    Args:
        option: Its name, for the error.
        value: One value, or a list of as many as there are layers.
        layers: How many there are.
        what: What the layers are, for the error.

    Raises:
        UsageError: On a list of another length.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * layers
    if len(value) != layers:
        raise UsageError(
            f"{option}: {len(value)} values, {shown(list(value))}, for {layers} "
            f"{what}{'' if layers == 1 else 's'}. Give one value for all, or one for each "
            f"{what} from input to output."
        )
    return list(value)
