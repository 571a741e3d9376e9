"""Check the values of options against their declared types, with errors that say what to type."""

import math
import reprlib
import types
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from bnnlab.components import Option
from bnnlab.errors import UsageError, did_you_mean

T = TypeVar("T")

_SHORT = reprlib.Repr()  # values in messages: whole, unless they are absurdly long
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = 20


def describe_type(kind: Any) -> str:
    """Return a type as a person writes it: `int`, `list of int`, `'a' or 'b'`."""
    if kind is None or kind is type(None):
        return "'none'"
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(describe_type(part) for part in get_args(kind))
    if get_origin(kind) is list:
        return f"list of {describe_type(get_args(kind)[0])}"
    return str(kind.__name__)


def _convert(kind: Any, value: Any) -> Any:
    """Return `value` as `kind`; raise ValueError if it is not one."""
    if kind is None or kind is type(None):
        if value is None or value == "none":
            return None
    elif get_origin(kind) is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(kind)):
            return value
    elif get_origin(kind) in (Union, types.UnionType):
        # None first: 'none' is a str too.
        for part in sorted(get_args(kind), key=lambda part: part is not type(None)):
            try:
                return _convert(part, value)
            except ValueError:
                continue
    elif get_origin(kind) is list:
        if isinstance(value, list | tuple):
            return [_convert(get_args(kind)[0], element) for element in value]
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):  # an integer too large for a float
                if math.isfinite(number := float(value)):
                    return number
    elif kind is str and isinstance(value, PurePath):
        return str(value)
    elif type(value) is kind:
        return value
    raise ValueError


def _range_fault(option: Option, value: Any) -> str | None:
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if option.above is not None and number <= option.above:
            return f"must be above {option.above:g}"
        if option.minimum is not None and number < option.minimum:
            return f"must be at least {option.minimum:g}"
        if option.below is not None and number >= option.below:
            return f"must be below {option.below:g}"
        if option.maximum is not None and number > option.maximum:
            return f"must be at most {option.maximum:g}"
    return None


def check_value(option: Option, value: Any, prefix: str = "") -> Any:
    """Return `value` in the option's type.

    Raises:
        ValueError: With a message that names the option, the value and what is allowed.
    """
    name = prefix + option.name
    try:
        converted = _convert(option.type, value)
    except ValueError:
        what = describe_type(option.type)
        if isinstance(value, float) and not math.isfinite(value):
            what = "a finite number"
        message = f"{name}: {_SHORT.repr(value)} is not {what}."
        if option.type is str:
            message += f" Text that reads as something else needs quotes: --set '{name}=\"...\"'."
        choices = [choice for choice in _literals(option.type) if isinstance(choice, str)]
        raise ValueError(message + did_you_mean(str(value), choices)) from None
    fault = _range_fault(option, converted)
    if fault:
        raise ValueError(f"{name}: {_SHORT.repr(value)} {fault}.")
    if option.path and converted:
        try:
            return str(Path(converted).expanduser().resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"{name}: {_SHORT.repr(converted)}: {error}.") from None
    return converted


def _literals(kind: Any) -> Iterable[Any]:
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    else:
        for part in get_args(kind):
            yield from _literals(part)


def check_values(
    options: Iterable[Option], given: Mapping[str, Any], prefix: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Return all options' values, defaults filled in, and a list of what is wrong."""
    declared = {option.name: option for option in options}
    faults = []
    for name in given:
        if name not in declared:
            hint = did_you_mean(name, declared)
            if not hint:
                listed = ", ".join(declared) or "none"
                hint = f" It takes: {listed}."
            faults.append(f"{prefix}{name}: no such option.{hint}")
    values = {}
    for name, option in declared.items():
        try:
            values[name] = check_value(option, given.get(name, option.default), prefix)
        except ValueError as error:
            faults.append(str(error))
    return values, faults


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
            f"{option}: {len(value)} values, {_SHORT.repr(list(value))}, for {layers} "
            f"{what}{'' if layers == 1 else 's'}. Give one value for all, or one for each "
            f"{what} from input to output."
        )
    return list(value)
