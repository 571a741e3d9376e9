"""Rows of which little is measured, as files hold them: without what is not, at both ends.

`[null, null, 0.9, 0.8]` is written as `{"form": 1, "length": 4, "from": 2, "values": [0.9, 0.8]}`.
"""

from collections.abc import Mapping
from typing import Any

FORM = 1
"""Of such rows; another one is of another version of bnnlab."""
_KEYS = {"form", "length", "from", "values"}


def packed(value: Any) -> Any:
    """Return a list without what is None at its ends, or a list of such lists; else the value."""
    if not isinstance(value, list) or not value:
        return value
    if isinstance(value[0], list):
        return [packed(each) for each in value]
    if value[0] is not None and value[-1] is not None:
        return value
    there = [place for place, each in enumerate(value) if each is not None] or [0]
    first, end = there[0], there[-1] + (value[there[0]] is not None)
    return {"form": FORM, "length": len(value), "from": first, "values": value[first:end]}


def unpacked(found: Mapping[str, Any]) -> Any:
    """Return a row that `packed` wrote as a list, and any other object as it is.

    It is the `object_hook` of what reads metrics.jsonl and result.json.

    Raises:
        ValueError: If the row has another form.
    """
    if found.keys() != _KEYS:
        return found
    if found["form"] != FORM:
        raise ValueError(f"a row has the form {found['form']}, of another version of bnnlab")
    first, values = found["from"], found["values"]
    after = found["length"] - first - len(values)
    return [*[None] * first, *values, *[None] * after]
