"""What `--set optimizer.lr=0.1` says becomes a layer of settings."""

from collections.abc import Iterable, Mapping
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.options import shown
from bnnlab.settings.config import Settings, parse_value


def parse_assignment(text: str) -> dict[str, Any]:
    """Turn `optimizer.lr=0.005` into `{"optimizer": {"lr": 0.005}}`; values are TOML.

    A value that is not TOML is taken as text, so `model.norm=batch` needs no quotes.

    Raises:
        UsageError: If there is no `=`, or the key has more than one dot.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            f"--set {shown(text)}: write NAME=VALUE or KIND.NAME=VALUE, as optimizer.lr=0.1"
        )
    return assignment(key.strip(), parse_value(value.strip()))


def assignment(key: str, value: Any) -> dict[str, Any]:
    """Return the layer that sets `epochs` or `optimizer.lr` to a value.

    Raises:
        UsageError: If the key is not a name, or two with a dot between.
    """
    kind, dot, name = key.partition(".") if isinstance(key, str) else ("", "", "")
    if not kind or (dot and not name) or "." in name:
        raise UsageError(f"--set {shown(key)}: write NAME or KIND.NAME, as optimizer.lr")
    return {kind: {name: value}} if dot else {kind: value}


def joined(assignments: Iterable[Settings]) -> dict[str, Any]:
    """Return one layer of several assignments, in which their order does not matter."""
    layer: dict[str, Any] = {}
    for each in assignments:
        for key, value in each.items():
            if key not in list(Kind):
                layer[key] = value
                continue
            before, table = layer.get(key, {}), {"name": value} if isinstance(value, str) else value
            if isinstance(before, Mapping):  # `resolve` says what is wrong with anything else
                layer[key] = {**before, **table} if isinstance(table, Mapping) else table
    return layer
