"""registry.toml: an index of known plugins and the defaults. An index, never a loader."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import tomli

from bnnlab.components import Kind
from bnnlab.discovery import normalise
from bnnlab.errors import UsageError

_HOMES = (  # beside the package in a wheel, at the root in a checkout
    Path(__file__).with_name("registry.toml"),
    Path(__file__).parents[2] / "registry.toml",
)


@dataclass(frozen=True)
class Entry:
    """A known plugin: its distribution, short name, and what it offers as `kind:name`."""

    distribution: str
    name: str
    summary: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """The registry after the user's own file was laid over it."""

    plugins: tuple[Entry, ...]
    defaults: dict[str, Any]
    disabled: frozenset[str]

    def offering(self, component: str) -> Entry | None:
        """Return the known plugin that offers `kind:name`."""
        return next((entry for entry in self.plugins if component in entry.components), None)

    def names(self, kind: Kind) -> list[str]:
        """Return all known component names of a kind."""
        prefix = f"{kind}:"
        return [
            component.removeprefix(prefix)
            for entry in self.plugins
            for component in entry.components
            if component.startswith(prefix)
        ]


def user_file() -> Path:
    """Return where a user's overrides live; the file need not exist."""
    return platformdirs.user_config_path("bnnlab") / "registry.toml"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: If it cannot be read or parsed, with the file and the line.
    """
    try:
        return tomli.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # TOML or UTF-8 that is none
        raise UsageError(f"{path} is not valid TOML: {error}.") from error


def load_index() -> Index:
    """Read the registry and the user's overrides (`disabled` and `[defaults]`)."""
    data = read_toml(next(home for home in _HOMES if home.exists()))
    entries = tuple(
        Entry(name, table["name"], table["summary"], tuple(table["components"]))
        for name, table in sorted(data["plugins"].items())
    )
    defaults: dict[str, Any] = data["defaults"]
    disabled = set(data["disabled"])
    if user_file().exists():
        own = read_toml(user_file())
        unknown = own.keys() - {"defaults", "disabled"}
        if unknown:
            raise UsageError(
                f"{user_file()}: unknown key {unknown.pop()!r}. It takes 'disabled', [defaults]."
            )
        names, tables = own.get("disabled", []), own.get("defaults", {})
        if not isinstance(names, list) or not isinstance(tables, dict):
            raise UsageError(f"{user_file()}: 'disabled' is a list of names, [defaults] a table.")
        disabled |= {normalise(str(name)) for name in names}
        defaults = {**defaults, **{k: _with_name(defaults.get(k), v) for k, v in tables.items()}}
    return Index(entries, defaults, frozenset(disabled))


def _with_name(default: Any, own: Any) -> Any:
    """Return a user's default; options without a `name` are those of the curated default."""
    if not isinstance(own, dict) or "name" in own or default is None:
        return own
    return {**(default if isinstance(default, dict) else {"name": default}), **own}
