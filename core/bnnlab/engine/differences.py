"""Where two protocols differ, in words."""

import json
import re
from collections.abc import Iterator, Mapping
from textwrap import shorten
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
    said = dict.fromkeys(_differing("", *json.loads(json.dumps([one, other]))))
    of_streams = [line for line in said if line.startswith("stream.scenario: ")]
    if not of_streams:
        return [*said]
    rest = [line for line in said if not line.startswith(("stream.", "data of the stream"))]
    return [each.replace("stream.scenario", "stream") for each in of_streams] + rest


def _differing(name: str, one: Any, other: Any) -> Iterator[str]:
    if one == other:
        return
    say = WHOLE.get(name.rpartition(".")[2])
    mine, its = _table(one), _table(other)
    if say is None and mine is not None and its is not None and (mine or its):
        keys = dict.fromkeys([*mine, *its])
        if isinstance(one, list) and isinstance(other, list) and len(one) != len(other):
            yield f"{name}: {_listed(one)} against {_listed(other)}"
            keys = dict.fromkeys(key for key in mine if key in its)
        for key in keys:
            inner = f"{name}.{key}" if name else NAMES.get(key, key)
            yield from _differing(inner, mine.get(key), its.get(key))
        return
    first, second = (say or _said)(one), (say or _said)(other)
    if first != second:
        where = re.sub(r"\.\d+", "", name) if SOME in (first, second) else name
        yield f"{where}: {first} against {second}"
    else:
        yield f"{'data of the stream' if name.startswith('stream.') else name}: another content"


def _table(value: Any) -> dict[Any, Any] | None:
    """Return a table, a list of tables as one by position; nothing is empty; None for a value."""
    if isinstance(value, list) and all(isinstance(each, list | dict) for each in value):
        return dict(enumerate(value))
    return dict(value or {}) if isinstance(value, dict | None) else None


def _listed(values: list[Any]) -> str:
    """Return the names of tables; how many there are, if they have none."""
    named = all(isinstance(each, dict) and "name" in each for each in values)
    return ", ".join(each["name"] for each in values) or "none" if named else str(len(values))


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return SOME if re.fullmatch("[0-9a-f]{8,}", value) else value
    return shorten(json.dumps(value), LONGEST, placeholder=" ...") if value != {} else "empty"


def _memory(value: Any) -> str:
    if value is None:
        return "none"
    beside = "with logits, " if "logits" in value["keeps"] else ""
    return f"{value['size']} examples ({beside}{value['policy']})"


def _normalising(value: Any) -> str:
    if value is None:
        return "the default"
    if isinstance(value, dict) and value:
        return ", ".join(f"{name} {_said(its)}" for name, its in value.items())
    return _said(value) if value else "not at all"


SOME = "some"
"""A digest, whose digits tell people nothing."""
LONGEST = 60
"""Characters of a value that is no text."""
WHOLE = {"memory": _memory, "normalise": _normalising}
"""Entries that are said as a whole, whatever they are made of."""
