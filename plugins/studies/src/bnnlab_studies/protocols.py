"""Where the protocols of runs differ."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bnnlab_studies.record import Record


@dataclass(frozen=True)
class Difference:
    """An entry of two protocol descriptions that differs; None: it is not there.

    Attributes:
        name: Its dotted path.
        first, other: The values.
    """

    name: str
    first: Any
    other: Any


def protocols(records: Iterable[Record]) -> dict[str, Record]:
    """Return the first complete run of each protocol, by the protocol's hash."""
    found: dict[str, Record] = {}
    for run in records:
        if run.is_complete:
            found.setdefault(run["protocol"], run)
    return found


def note(records: Iterable[Record]) -> str:
    """Return a sentence, if runs that are shown together have several protocols; else nothing."""
    found = protocols(records)
    if len(found) < 2:
        return ""
    return (
        f"These runs have {len(found)} protocols: what they measured may be compared only where "
        "`bnn runs --columns protocol` is equal."
    )


def differences(first: Record, other: Record) -> list[Difference]:
    """Return where the protocol descriptions of two runs differ."""
    one, two = (dict(_entries(run.result["protocol_description"])) for run in (first, other))
    return [
        Difference(name, one.get(name), two.get(name))
        for name in dict.fromkeys([*one, *two])
        if one.get(name) != two.get(name)
    ]


def _entries(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted paths and values of all that is no table and no list."""
    table = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(table, Mapping):
        yield path, value
        return
    for key, each in table.items():
        yield from _entries(each, f"{path}.{key}" if path else str(key))
