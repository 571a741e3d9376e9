"""Where plugins are taken from: a checkout, a folder of wheels, or a package index.

Nothing of a plugin is imported. Packages of our own name are never looked up in an index unless
that was asked for: somebody else may have registered the name there.
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from email.message import Message
from importlib.metadata import PathDistribution, distribution
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from bnnlab import errors
from bnnlab.errors import UsageError, did_you_mean, install_command
from bnnlab.registry.discovery import described, normalise
from bnnlab.registry.hookspecs import PROJECT
from bnnlab.registry.index import INDEX, NOWHERE, Index, read_toml
from bnnlab.registry.requirements import installed, required, unmet

_PREFIX = f"{PROJECT}-"


@dataclass(frozen=True)
class Source:
    """Where plugins are taken from.

    Attributes:
        place: In a sentence: "there is no such plugin in ...".
        folder: Of wheels, which may also hold what plugins need; else None.
        packages: The folder of a checkout, or the wheel, of each distribution.
        is_index: Whether pip and uv find the distributions by their names.
    """

    place: str
    folder: Path | None = None
    packages: Mapping[str, Path] = field(default_factory=dict)
    is_index: bool = False

    @property
    def names(self) -> dict[str, str]:
        """The distributions of plugins, by their names and by their short names."""
        names = self.packages.keys() - {PROJECT}
        return {each.removeprefix(_PREFIX): each for each in names} | {each: each for each in names}

    def has_installed(self, wanted: Requirement) -> bool:
        """Return whether a distribution is installed, in the version that is here, and complete.

        What an index has is not known: for that the answer is no.

        Raises:
            UsageError: If it has no such extra, or its wheel cannot be read.
        """
        name = normalise(wanted.name)
        if name not in self.packages:
            return False
        about, there = _metadata(self.packages[name], wanted.extras), installed().get(name)
        _expect_extras(wanted, about.get_all("Provides-Extra") or [])
        if there is None or there["Version"] != about["Version"]:
            return False
        return not unmet(name, wanted.extras)

    def arguments(self, wanted: Iterable[Requirement]) -> list[str]:
        """Return what pip and uv are given to install distributions.

        Those of our own that they need, and that are not installed, are among it.

        Raises:
            UsageError: If one is not in the packages, or its wheel cannot be read.
        """
        if self.is_index:
            return [str(each) for each in wanted]
        there, found = installed().keys(), dict[str, set[str]]()
        for each in wanted:
            self._collect(each, there, found)
        words = list[str]()
        for name, extras in found.items():
            path = self.packages[name]
            its = f"[{','.join(sorted(extras))}]" if extras else ""
            if path.is_dir():
                words += ["--editable", f"{path}{its}"]
            else:
                words.append(f"{name}{its} @ {path.as_uri()}")
        return words

    def _collect(self, wanted: Requirement, there: Set[str], found: dict[str, set[str]]) -> None:
        name = normalise(wanted.name)
        if name in found and wanted.extras <= found[name]:
            return
        if name not in self.packages:
            raise UsageError(f"there is no {name} in {self.place}.")
        found.setdefault(name, set()).update(wanted.extras)
        for each in _needs(self.packages[name], wanted.extras):
            its = normalise(each.name)
            if its.startswith(_PREFIX) and (each.extras or its not in there):
                self._collect(each, there, found)


def choose(index: Index, folder: Path | None = None, from_index: bool = False) -> Source:
    """Return the source: what the command names, else the checkout, else that of registry.toml.

    Raises:
        UsageError: If there is none, or the folder is not there.
    """
    if folder:
        return _wheels(folder)
    root, pattern = errors.PLUGINS.parent, "*/pyproject.toml"
    if (plugins := [*errors.PLUGINS.glob(pattern)]) and not from_index:
        folders = [each.parent for each in sorted([*plugins, *root.glob(pattern)])]
        return Source(
            f"the checkout {root}", packages={_PREFIX + each.name: each for each in folders}
        )
    if from_index or index.source == INDEX:
        return Source("the package index", is_index=True)
    if index.source == NOWHERE:
        raise UsageError(
            f"the plugins of {PROJECT} are on no package index yet: install them from wheels, as "
            f"{install_command('NAME')}. `make wheels` in a checkout builds them."
        )
    return _wheels(Path(index.source))


def _wheels(folder: Path) -> Source:
    """Return a folder's newest wheel of each distribution that this Python can install."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. `make wheels` in a checkout makes one, `dist`.")
    usable, found = {*sys_tags()}, list[tuple[Version, str, Path]]()
    for wheel in folder.resolve().glob("*.whl"):
        try:
            name, version, _, tags = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename:  # pip skips it, too
            continue
        if tags & usable:
            found.append((version, str(name), wheel))
    packages = {name: wheel for _, name, wheel in sorted(found)}
    return Source(f"the wheels of {folder}", folder.resolve(), packages)


def _needs(package: Path, extras: Set[str]) -> Iterator[Requirement]:
    """Yield what a package requires with these extras, and what an extra of the core brings."""
    for each in required(_metadata(package, extras), extras):
        yield from _with_extras_of_the_core(each)


def _with_extras_of_the_core(wanted: Requirement) -> Iterator[Requirement]:
    yield wanted
    if normalise(wanted.name) == PROJECT and wanted.extras:
        for each in required(described(distribution(PROJECT)), wanted.extras):
            yield from _with_extras_of_the_core(each)


def _expect_extras(wanted: Requirement, there: Sequence[str]) -> None:
    for each in sorted(wanted.extras):
        if normalise(each) not in map(normalise, there):
            its, hint = ", ".join(there) or "none", did_you_mean(each, there)
            raise UsageError(f"{wanted.name} has no extra {each!r}: it has {its}.{hint}")


def _metadata(package: Path, extras: Set[str]) -> Message:
    return _from_project(package, extras) if package.is_dir() else _from_wheel(package)


def _from_project(folder: Path, extras: Set[str]) -> Message:
    project, about = read_toml(folder / "pyproject.toml")["project"], Message()
    optional = project.get("optional-dependencies", {})
    about["Version"] = project.get("version", "")  # a build may choose it
    for each in optional:
        about["Provides-Extra"] = each
    lists = [project.get("dependencies", []), *(optional.get(each, []) for each in extras)]
    for text in chain(*lists):
        about["Requires-Dist"] = text
    return about


def _from_wheel(wheel: Path) -> Message:
    name = "-".join(wheel.name.split("-")[:2])
    try:
        return described(PathDistribution(zipfile.Path(wheel, f"{name}.dist-info/")))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{wheel} is no wheel that can be read: {error}.") from error
