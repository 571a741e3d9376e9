"""Find installed plugins by their metadata. Nothing of a plugin is imported here."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from email.parser import HeaderParser
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from bnnlab.errors import explain
from bnnlab.registry.components import Command, Component
from bnnlab.registry.hookspecs import API_VERSION, ENTRY_POINT_GROUP, PROJECT


class PluginStatus(StrEnum):
    """Status of a plugin."""

    OK = "ok"
    BROKEN = "broken"
    DISABLED = "disabled"
    AVAILABLE = "available"  # known to registry.toml, not installed


Status = PluginStatus
"""Its name in 0.1.0."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of one distribution, or one file.

    Attributes:
        distribution: Normalised name of the distribution; of a file its name, `NAME.py`.
        version: Of the distribution; of a file, a digest of its content.
        name: Name of the entry point; empty if it cannot be read.
        status: `disabled` until it is imported.
        error: Why it is broken or disabled, or None.
        file: Of a plugin that is one file; else None.
    """

    distribution: str
    version: str
    name: str
    status: PluginStatus = PluginStatus.DISABLED
    error: str | None = None
    exception: BaseException | None = None
    components: tuple[Component, ...] = ()
    commands: tuple[Command, ...] = ()
    entry_point: EntryPoint = field(default=EntryPoint("", "", ""), repr=False)
    import_seconds: float = 0.0
    file: Path | None = None

    @property
    def names(self) -> set[str]:
        """The names of the plugin for BNNLAB_DISABLE and BNNLAB_ONLY."""
        return {normalise(self.distribution), normalise(self.name)}

    @property
    def package(self) -> str | None:
        """The package, or the one module, of a plugin that works; None for objects."""
        works = self.status is PluginStatus.OK and self.entry_point.value
        return self.entry_point.module.partition(".")[0] if works else None

    @property
    def data(self) -> Traversable | None:
        """The folder of its package, with the files that it ships; None for a single module."""
        package = self.package
        return files(package) if package and hasattr(sys.modules[package], "__path__") else None

    def broken(self, error: str, exception: BaseException | None = None) -> "Plugin":
        """Return the plugin as a broken one."""
        return replace(self, status=PluginStatus.BROKEN, error=error, exception=exception)


def normalise(distribution: str) -> str:
    """Return a distribution's name as package indices compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def names_in(variable: str) -> frozenset[str]:
    """Return the names in BNNLAB_DISABLE or BNNLAB_ONLY, comma-separated lists."""
    listed = os.environ.get(variable, "").split(",")
    return frozenset(normalise(name.strip()) for name in listed if name.strip())


@contextmanager
def in_environment(variable: str, value: str) -> Iterator[None]:
    """Give an environment variable a value in this block, and in its child processes."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before


def find_plugins() -> list[Plugin]:
    """Return every entry point of a `bnnlab.v*` group, sorted by distribution and name.

    An entry point with damaged metadata is included, as a broken plugin.
    """
    found: dict[tuple[str, str, str], Plugin] = {}
    seen: set[str] = set()
    for distribution in distributions():
        plugins = _read(distribution)
        name = plugins[0].distribution if plugins else ""
        if name in seen:  # a second copy further down sys.path is shadowed, as for import
            continue
        seen.update([name] if name else [])
        for plugin in plugins:
            key = (name, plugin.name, plugin.entry_point.group)
            if key in found:
                plugin = plugin.broken("entry_points.txt has this name twice")
            found[key] = plugin
    return [found[key] for key in sorted(found)]


def _read(distribution: Distribution) -> list[Plugin]:
    """Return a distribution's plugins; empty if it names no group of bnnlab."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
        if not _OURS.search(text):  # parsing is slow, and most distributions are none of ours
            return []
        found = [p for p in distribution.entry_points if _OURS.search(f"[{p.group}]")]
        points = _of_one_api(found)
    except Exception as error:  # whosever it is, it must not stop the others
        why = f"its entry_points.txt cannot be read: {explain(error)}"
        return [_nameless(distribution).broken(why)]
    if not points:
        return [_nameless(distribution).broken("its entry_points.txt names bnnlab, but no plugin")]
    try:
        about = described(distribution)
        if "Name" not in about or "Version" not in about:
            raise ValueError("Name or Version is missing")
        name, version = about["Name"], about["Version"]
    except Exception as error:
        place = _nameless(distribution).broken(f"its METADATA cannot be read: {explain(error)}")
        return [replace(place, name=p.name, entry_point=p) for p in points]
    return [_checked(Plugin(normalise(name), version, p.name, entry_point=p)) for p in points]


def _nameless(distribution: Distribution) -> Plugin:
    """Return a plugin with the name of its folder alone."""
    folder = Path(str(getattr(distribution, "_path", "unnamed"))).name
    return Plugin(normalise(folder.partition("-")[0]), "unknown", "")


def _of_one_api(points: Sequence[EntryPoint]) -> list[EntryPoint]:
    """Leave out what is for another API where there is the same name for this one."""
    own = {point.name for point in points if point.group == ENTRY_POINT_GROUP}
    return [
        point
        for point in points
        if point.group == ENTRY_POINT_GROUP
        or point.name not in own
        or not point.group.startswith(f"{PROJECT}.v")
    ]


def described(distribution: Distribution) -> Message:
    """Return the headers of a distribution's metadata; the readme below them is not read."""
    read = distribution.read_text
    return _headers(read("METADATA") or read("PKG-INFO") or "")


@lru_cache(maxsize=1024)
def _headers(metadata: str) -> Message:
    return HeaderParser().parsestr(metadata)


_OURS = re.compile(rf"^\W*{PROJECT}([-_. ]?v?\d*|\.v.*)\W*$", re.IGNORECASE | re.MULTILINE)
"""A line that names the group of our plugins, be it misspelt or damaged."""


def _checked(plugin: Plugin) -> Plugin:
    """Return a plugin; a broken one if its entry point cannot be loaded."""
    point = plugin.entry_point
    if point.group == ENTRY_POINT_GROUP:
        if EntryPoint.pattern.match(point.value):
            return plugin
        return plugin.broken(f"its entry point {point.value!r} is not a module")
    if point.group.startswith(f"{PROJECT}.v"):
        version = point.group.removeprefix(f"{PROJECT}.")
        return plugin.broken(f"made for plugin API {version}; this core has {API_VERSION}")
    wrong = f"its entry-point group is {point.group!r}"
    return plugin.broken(f"{wrong}; it must be {ENTRY_POINT_GROUP!r}")
