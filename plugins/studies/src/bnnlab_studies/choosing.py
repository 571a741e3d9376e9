"""Which runs of a folder are shown, and in which order."""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.options import shown
from bnnlab.settings.text import parse_value, written
from bnnlab_studies.record import Record, natural

_SIGNS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """What a run must fulfil to be shown, as `optimizer.lr<0.1`.

    Attributes:
        name: Of a setting or measure.
        sign: Between the two.
        value: A TOML value, or text.
    """

    name: str
    sign: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read `NAME=VALUE`, or with !=, <, >, <= or >=.

        Raises:
            UsageError: If it is none of these, or compares the size of what is no number.
        """
        found = re.fullmatch(r"\s*([^=!<>]+?)\s*(!=|<=|>=|=|<|>)\s*(?![=!<>])(.*?)\s*", text)
        if not found:
            raise UsageError(f"--where {shown(text)}: write NAME=VALUE, or with != < > <= >=")
        name, sign, value = found[1], found[2], parse_value(found[3])
        if sign not in ("=", "!=") and not _is_number(value):
            raise UsageError(f"--where {shown(text)}: {shown(value)} is no number to compare with")
        return cls(name, sign, value)

    def holds(self, run: Record) -> bool:
        """Return whether a run fulfils it; one that does not have the name does not."""
        if self.name not in run:
            return False
        value = run[self.name]
        if _is_number(value) and _is_number(self.value):
            return bool(_SIGNS[self.sign](value, self.value))
        if self.sign not in ("=", "!="):
            return False
        return (written(value) == written(self.value)) == (self.sign == "=")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_order(runs: Sequence[Record], sort: str) -> list[Record]:
    """Return runs sorted by a setting or measure; with a minus before its name, largest first.

    Numbers come before text, and what has no value is last.
    """
    name = sort.removeprefix("-")
    known = [run for run in runs if run.get(name) is not None]
    ordered = sorted(known, key=lambda run: _rank(run[name]), reverse=sort.startswith("-"))
    return [*ordered, *(run for run in runs if run.get(name) is None)]


def _rank(value: Any) -> tuple[bool, float, list[list[str]]]:
    return (False, value, []) if _is_number(value) else (True, 0.0, natural(written(value)))
