"""Find what is installed, by metadata alone: nothing of a plugin is imported here."""

import logging
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint, distributions

from bnnlab.components import Component
from bnnlab.hookspecs import API_VERSION, ENTRY_POINT_GROUP, PROJECT

log = logging.getLogger(__name__)


class Status(StrEnum):
    """What became of a plugin."""

    OK = "ok"
    BROKEN = "broken"
    DISABLED = "disabled"
    AVAILABLE = "available"  # known to registry.toml, not installed


@dataclass(frozen=True)
class Plugin:
    """One entry point of one distribution, and what became of it."""

    distribution: str
    version: str
    name: str
    status: Status
    error: str | None = None
    exception: BaseException | None = None
    components: tuple[Component, ...] = ()
    package: str | None = None
    import_seconds: float = 0.0


@dataclass(frozen=True)
class Found:
    """An entry point that was found and not yet loaded."""

    distribution: str
    version: str
    entry_point: EntryPoint

    @property
    def names(self) -> set[str]:
        """The names by which the plugin can be disabled."""
        return {self.distribution, normalise(self.entry_point.name)}


def normalise(distribution: str) -> str:
    """Return a distribution's name as package indices compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def disabled_in_environment() -> frozenset[str]:
    """Return the names in BNNLAB_DISABLE, a comma-separated list."""
    listed = os.environ.get("BNNLAB_DISABLE", "").split(",")
    return frozenset(normalise(name.strip()) for name in listed if name.strip())


def find_plugins() -> list[Found]:
    """Return every entry point of a `bnnlab.v*` group, sorted by distribution and name."""
    found: dict[tuple[str, str, str], Found] = {}
    seen: set[str] = set()
    for distribution in distributions():
        try:
            # Parsing metadata is slow, so distributions without our group are passed over first.
            points = [p for p in distribution.entry_points if p.group.startswith(f"{PROJECT}.v")]
            if not points:
                continue
            name = normalise(distribution.metadata["Name"] or "unnamed")
            version = distribution.version or "unknown"
        except Exception as error:  # whosever it is, it must not stop the others
            where = getattr(distribution, "_path", distribution)
            log.warning("the metadata in %s cannot be read: %s", where, error)
            continue
        if name in seen:  # a second copy further down sys.path is shadowed, as for import
            continue
        seen.add(name)
        for point in points:
            found[name, point.name, point.group] = Found(name, version, point)
    return [found[key] for key in sorted(found)]


def incompatibility(found: Found) -> str | None:
    """Return why a plugin's API version cannot be loaded, or None."""
    if found.entry_point.group == ENTRY_POINT_GROUP:
        return None
    version = found.entry_point.group.removeprefix(f"{PROJECT}.")
    return f"made for plugin API {version}; this core speaks {API_VERSION}"
