"""registry.toml: an index of known plugins and the defaults. An index, never a loader."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import platformdirs
import tomli

from bnnlab import errors
from bnnlab.errors import UsageError, did_you_mean, first_line
from bnnlab.registry.components import Command
from bnnlab.registry.discovery import normalise

_HOMES = (  # beside the package in a wheel, at the root in a checkout
    Path(__file__).parents[1] / "registry.toml",
    Path(__file__).parents[3] / "registry.toml",
)
LARGEST = 2**26
"""Characters of a TOML file."""
NOWHERE, INDEX = "none", "index"
"""Values of `source` that are no folder of wheels."""


@dataclass(frozen=True)
class Entry:
    """A known plugin: its distribution, short name, and what it offers as `kind:name`."""

    distribution: str
    name: str
    offers: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """The registry, with the overrides of the user's own file.

    Attributes:
        plugins: Known plugins.
        defaults: A layer of settings, like a run file.
        own: The layer of the user's own file, which comes before it.
        disabled: Distributions and entry points that are not imported.
        source: Of plugins, without a checkout: a folder of wheels, `index`, or `none`.
    """

    plugins: tuple[Entry, ...]
    defaults: dict[str, Any]
    own: dict[str, Any]
    disabled: frozenset[str]
    source: str

    def offering(self, offer: str) -> Entry | None:
        """Return the known plugin that offers `kind:name`."""
        return next((entry for entry in self.plugins if offer in entry.offers), None)

    def distribution(self, said: str, more: Mapping[str, str]) -> str:
        """Return the distribution that is called so, or offers what is called so.

        Args:
            said: A plugin, its distribution, a component or a command; also as `kind:name`.
            more: Distributions by names, beside the known ones.

        Raises:
            UsageError: If nothing known is called so, or several plugins offer it.
        """
        names = {**more}
        for entry in self.plugins:
            names |= dict.fromkeys((entry.name, entry.distribution), entry.distribution)
        if normalise(said) in names:
            return names[normalise(said)]
        homes = self.homes(said)
        if len(homes) == 1:
            return homes.pop()
        bare = said.rpartition(":")[2]
        offers = [offer for entry in self.plugins for offer in entry.offers]
        ways = " or ".join(repr(offer) for offer in offers if offer.endswith(f":{bare}"))
        if homes:
            raise UsageError(f"several plugins offer {said!r}. Choose one: {ways}.")
        known = offers if ":" in said else [*names, *(each.partition(":")[2] for each in offers)]
        hint = f" Did you mean {ways}?" if ways else did_you_mean(said, known)
        raise UsageError(
            f"no plugin is called {said!r}, and none is known to offer it.{hint} "
            "`bnn list-plugins --all` shows the plugins."
        )

    def homes(self, said: str) -> set[str]:
        """Return the distributions of the known plugins that offer `name` or `kind:name`."""
        return {
            entry.distribution
            for entry in self.plugins
            for offer in entry.offers
            if said in (offer, offer.partition(":")[2])
        }

    def names(self, kind: str) -> list[str]:
        """Return all known names of a kind of component, or of commands."""
        prefix = f"{kind}:"
        return [
            offer.removeprefix(prefix)
            for entry in self.plugins
            for offer in entry.offers
            if offer.startswith(prefix)
        ]


def user_file() -> Path:
    """Return the path of the user's own registry.toml; the file need not exist."""
    return platformdirs.user_config_path("bnnlab") / "registry.toml"


def read_toml(path: Path | Traversable) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: If the file cannot be read or parsed; the message has the file and the line.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:  # a device may have no end
            raise UsageError(f"{path} is no TOML file: it has more than {LARGEST:,} characters.")
        return tomli.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply.") from error
    except ValueError as error:  # TOML or UTF-8 that is none, an integer of too many digits
        reason = first_line(error).partition("; use sys.")[0]
        raise UsageError(f"{path} is not valid TOML: {reason}.") from error


def load_index() -> Index:
    """Read the registry and the user's overrides (`disabled`, `source` and `[defaults]`)."""
    data = read_toml(next(home for home in _HOMES if home.exists()))
    entries = tuple(
        Entry(name, table["name"], _offers(table))
        for name, table in sorted(data["plugins"].items())
    )
    own = _read_own(user_file()) if user_file().exists() else {}
    disabled = frozenset([*data["disabled"], *map(normalise, own.get("disabled", []))])
    source = own.get("source", data["source"])
    errors.has_source = source != NOWHERE
    return Index(entries, data["defaults"], own.get("defaults", {}), disabled, source)


def _offers(table: dict[str, Any]) -> tuple[str, ...]:
    commands = (f"{Command.kind}:{name}" for name in table.get("commands", ()))
    return (*table["components"], *commands)


def _read_own(file: Path) -> dict[str, Any]:
    """Read the user's own registry.toml; its defaults are checked when they are used."""
    own = read_toml(file)
    unknown = sorted(own.keys() - {"defaults", "disabled", "source"})
    if unknown:
        allowed = "'disabled', 'source', [defaults]"
        raise UsageError(f"{file}: unknown key {unknown[0]!r}. Allowed: {allowed}.")
    names, tables = own.get("disabled", []), own.get("defaults", {})
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not are_names or not isinstance(tables, dict):
        raise UsageError(f"{file}: 'disabled' must be a list of names, and [defaults] a table.")
    source = own.get("source", NOWHERE)
    if not isinstance(source, str) or not source:
        raise UsageError(f"{file}: 'source' must be a folder of wheels, '{INDEX}' or '{NOWHERE}'.")
    if source not in (INDEX, NOWHERE):
        try:
            own["source"] = str(file.parent / Path(source).expanduser())
        except RuntimeError as error:  # ~nobody
            raise UsageError(f"{file}: source: {error}") from error
    return own


def as_table(value: Any) -> Mapping[str, Any] | None:
    """Return the settings of a component as a table; None if they are not a name or a table."""
    table = {"name": value} if isinstance(value, str) else value
    if isinstance(table, Mapping) and isinstance(table.get("name", ""), str):
        return table
    return None
