"""Settings that are written as text: TOML values, `--set optimizer.lr=0.1`, run files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli

from bnnlab.errors import UsageError
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.index import as_table, read_toml
from bnnlab.registry.options import shown


def read_config(path: Path) -> dict[str, Any]:
    """Read a run file (TOML)."""
    return read_toml(path)


def parse_value(text: str) -> Any:
    """Return a TOML value, or the text itself if it is not one."""
    try:
        found = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, or a number or a nesting without limits
        return text
    return found["value"] if len(found) == 1 else text  # a line break begins another key


def written(value: Any) -> str:
    """Return an option's value as it is written after `--set NAME=`."""
    if value is None:
        return "none"
    return json.dumps(value) if isinstance(value, bool | list) else str(value)


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
    """Return the settings `epochs`, `optimizer.lr` or `probe.NAME.OPTION` with a value.

    Raises:
        UsageError: If the key is none of these.
    """
    kind, dot, name = key.partition(".") if isinstance(key, str) else ("", "", "")
    if kind == Kind.PROBE:
        probe, _, option = name.rpartition(".")
        if not probe or not option:
            raise UsageError(f"--set {shown(key)}: write probe.NAME.OPTION")
        return {kind: {probe: {option: value}}}
    if not kind or (dot and not name) or "." in name:
        raise UsageError(f"--set {shown(key)}: write NAME or KIND.NAME, as optimizer.lr")
    return {kind: {name: value}} if dot else {kind: value}


def joined(assignments: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of several assignments, in which their order does not matter."""
    settings: dict[str, Any] = {}
    for each in assignments:
        for key, value in each.items():
            before, table = as_table(settings.get(key, {})), as_table(value)
            if key == Kind.PROBE:
                for name, options in value.items():
                    probes = settings.setdefault(key, {})
                    probes[name] = {**probes.get(name, {}), **options}
            elif key not in PARTS:
                settings[key] = value
            elif before is not None:  # else it is wrong, and stays as it was given
                settings[key] = value if table is None else {**before, **table}
    return settings
