"""Settings that are written as text: TOML values, `--set optimizer.lr=0.1`, run files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli

from bnnlab.errors import UsageError
from bnnlab.registry.components import MANY, PARTS, Kind
from bnnlab.registry.index import read_toml
from bnnlab.registry.options import shown


def read_config(path: Path) -> dict[str, Any]:
    """Read a run file (TOML), which may be a recipe: what `[recipe]` says of it is left out."""
    settings = read_toml(path)
    if isinstance(settings.get("recipe"), dict):
        del settings["recipe"]
    return settings


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
    """Turn `optimizer.lr=0.005` into `{"optimizer": {"lr": 0.005}}`; see `parse_value`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            f"--set {shown(text)}: write NAME=VALUE or KIND.NAME=VALUE, as optimizer.lr=0.1"
        )
    return assignment(key.strip(), parse_value(value.strip()))


def assignment(key: str, value: Any) -> dict[str, Any]:
    """Return the settings `epochs`, `optimizer.base.lr` or `probe.NAME.base.lr` with a value.

    Raises:
        UsageError: If the key is none of these.
    """
    kind, *names = key.split(".") if isinstance(key, str) else [""]
    write = "NAME or KIND.NAME, as optimizer.lr"
    if kind in MANY:
        home, slash, path = ".".join(names).rpartition("/")  # of a file, NAME.py
        first, *names = path.split(".")
        names = [home + slash + first, *names] if names else [""]
        write = f"{kind}.NAME.OPTION, or --{kind} NAME to add one"
    if "" in (kind, *names):
        raise UsageError(f"--set {shown(key)}: write {write}")
    for each in reversed(names):
        value = {each: value}
    return {kind: value}


def joined(assignments: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of several assignments, in which their order does not matter.

    Raises:
        UsageError: If one setting is given two values.
    """
    settings: dict[str, Any] = {}
    for each in assignments:
        for key, value in each.items():
            is_name = key in (*PARTS, Kind.ENGINE) and not isinstance(value, Mapping)
            _add(settings, key, {"name": value} if is_name else value, key)
    return settings


def _add(settings: dict[str, Any], key: str, value: Any, path: str) -> None:
    """Add a value or a table to settings; tables of the same name become one.

    A component that is an option may be named here, and get options there.
    """
    before = settings.get(key, {} if isinstance(value, Mapping) else value)
    if isinstance(before, str) and isinstance(value, Mapping):
        before = {"name": before}
    elif isinstance(value, str) and isinstance(before, Mapping):
        value = {"name": value}
    settings[key] = before
    if isinstance(before, dict) and isinstance(value, Mapping):
        for name, inner in value.items():
            _add(before, name, inner, f"{path}.{name}")
    elif before is not value and before != value:  # nan is not equal to itself
        raise UsageError(
            f"{path} is set twice: to {shown(before)} and to {shown(value)}. Leave out one of them."
        )
