"""The fields of a JSON object, each taken once, with a check of what it is."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from bnnlab_runtime.errors import BadFile

LARGEST = (1 << 31) - 1


class Fields:
    """What a JSON object has. A field that is missing, wrong or unknown is refused.

    Args:
        given: The object.
        where: What it is, for messages.

    Raises:
        BadFile: If it is no object. The methods raise it, too.
    """

    def __init__(self, given: Any, where: str) -> None:
        self.where = where
        if not isinstance(given, dict):
            self.refuse(f"must be a JSON object, and is {_shown(given)}")
        self._left = dict(given)

    def refuse(self, why: str) -> NoReturn:
        """Raise the error that says where, and why."""
        raise BadFile(f"{self.where}: {why}")

    def any(self, key: str) -> Any:
        """Take a field, whatever it is."""
        if key not in self._left:
            self.refuse(f"{key!r} is missing")
        return self._left.pop(key)

    def rest(self) -> dict[str, Any]:
        """Take all that is left."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        """Refuse what is left."""
        if self._left:
            known = "a newer version of bnnlab-runtime may know it"
            self.refuse(f"unknown {', '.join(map(repr, self._left))}: {known}")

    def text(self, key: str) -> str:
        """Take a string."""
        value = self.any(key)
        if not _is_text(value):
            self.refuse(f"{key!r} must be a text, and is {_shown(value)}")
        return str(value)

    def choice(self, key: str, options: Iterable[str]) -> str:
        """Take one of these strings."""
        value = self.any(key)
        if not isinstance(value, str) or value not in options:
            self.refuse(f"{key!r} must be one of {', '.join(options)}, and is {_shown(value)}")
        return value

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def __iter__(self) -> Iterator[str]:
        return iter([*self._left])

    def none(self, key: str) -> bool:
        """Take a field if it is null, and return whether it is."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return True
        return False

    def objects(self, key: str) -> list["Fields"]:
        """Take a list of objects."""
        value = self.any(key)
        if not isinstance(value, list):
            self.refuse(f"{key!r} must be a list of objects, and is {_shown(value)}")
        return [Fields(each, f"{key} {number}") for number, each in enumerate(value, start=1)]

    def flag(self, key: str) -> bool:
        """Take true or false."""
        value = self.any(key)
        if not isinstance(value, bool):
            self.refuse(f"{key!r} must be true or false, and is {_shown(value)}")
        return value

    def number(self, key: str) -> float:
        """Take a finite number that is 0 or more."""
        value = self.any(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"{key!r} must be a number, and is {_shown(value)}")
        if not 0 <= value <= LARGEST or not math.isfinite(value):
            self.refuse(f"{key!r} must be from 0 to {LARGEST}, and is {_shown(value)}")
        return float(value)

    def whole(self, key: str, least: int = 0, most: int = LARGEST) -> int:
        """Take a whole number in a range."""
        return self._whole(key, self.any(key), least, most)

    def wholes(
        self, key: str, least: int = 0, most: int = LARGEST, length: int | None = None
    ) -> tuple[int, ...]:
        """Take a list of whole numbers in a range, of a length if one is given."""
        value = self.any(key)
        if not isinstance(value, list) or (length is not None and len(value) != length):
            numbers = "whole numbers" if length is None else f"{length} whole numbers"
            self.refuse(f"{key!r} must be a list of {numbers}, and is {_shown(value)}")
        return tuple(self._whole(key, each, least, most) for each in value)

    def texts(self, key: str) -> list[str]:
        """Take a list of strings."""
        value = self.any(key)
        if not isinstance(value, list) or not all(map(_is_text, value)):
            self.refuse(f"{key!r} must be a list of texts, and is {_shown(value)}")
        return value

    def pair(self, key: str, least: int = 0, most: int = 1 << 16) -> tuple[int, int]:
        """Take two whole numbers, of rows and columns."""
        first, second = self.wholes(key, least, most, length=2)
        return first, second

    def _whole(self, key: str, value: Any, least: int, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(f"{key!r} must be whole, {least} to {most}, and is {_shown(value)}")
        return value


def _is_text(value: Any) -> bool:
    """Return whether it is a string that has UTF-8 bytes."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"a {type(value).__name__} too large to show"
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
