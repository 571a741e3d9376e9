"""Where two protocols differ, in words."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

NAMES = {
    "batch_size": "batch size",
    "files": "file",
    "revisits_training_images": "training images of earlier tasks used again",
    "task_ids_at_test": "task known at test",
}
"""Entries of a protocol as people read them, where that is not their name."""


def in_words(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return where two descriptions of a protocol differ, such as `epochs: 5 against 2`.

    A description is `Result.protocol_description`. Streams of two scenarios differ in that alone.
    """
    said = dict.fromkeys(_differing("", one, other))
    of_streams = [line for line in said if line.startswith("stream.scenario: ")]
    if not of_streams:
        return [*said]
    rest = [line for line in said if not line.startswith(("stream.", "data of the stream"))]
    return [each.replace("stream.scenario", "stream") for each in of_streams] + rest


def _differing(name: str, one: Any, other: Any) -> Iterator[str]:
    if one == other:
        return
    mine, its = _table(one), _table(other)
    if name != "memory" and mine is not None and its is not None:
        for key in dict.fromkeys([*mine, *its]):
            inner = f"{name}.{key}" if name else NAMES.get(key, key)
            yield from _differing(inner, mine.get(key), its.get(key))
    elif _is_digest(one) and _is_digest(other):
        yield f"{'data of the stream' if name.startswith('stream.') else name}: another content"
    else:
        yield f"{name}: {_said(name, one)} against {_said(name, other)}"


def _table(value: Any) -> dict[Any, Any] | None:
    """Return a table, a list as one by position; what is not there is empty; None for a value."""
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    return dict(value or {}) if isinstance(value, Mapping | None) else None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{8,}", value) is not None


def _said(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "memory":
        beside = "with logits, " if "logits" in value["keeps"] else ""
        return f"{value['size']} examples ({beside}{value['policy']})"
    return value if isinstance(value, str) else json.dumps(value)
