"""Missing requirements of an installed distribution."""

import logging
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from bnnlab.registry.discovery import described

log = logging.getLogger(__name__)


def warn_of_unmet(names: Iterable[str]) -> None:
    """Warn of missing requirements of these distributions; a run uses the distributions anyway."""
    for name in sorted(set(names)):
        for line in unmet(name):
            log.warning("%s %s", name, line)


def unmet(name: str) -> list[str]:
    """Return one line per missing requirement; none of what is no distribution."""
    try:
        distribution(name)
    except PackageNotFoundError:  # a plugin in one file, or an object
        return []
    return list(dict.fromkeys(_unmet(name, frozenset(), set())))


def _unmet(
    name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]
) -> Iterator[str]:
    if (name, extras) in seen:  # a distribution may ask for an extra of its own
        return
    seen.add((name, extras))
    found = distribution(name)
    about = described(found)
    for python in about.get_all("Requires-Python") or []:
        if not _contains(python, platform.python_version()):
            yield f"requires Python {python}; this is {platform.python_version()}"
    for text in about.get_all("Requires-Dist") or found.requires or ():
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            yield f"has a requirement that cannot be read: {text!r}"
            continue
        if wanted.marker and not any(
            wanted.marker.evaluate({"extra": extra}) for extra in extras or [""]
        ):
            continue
        try:
            installed = described(distribution(wanted.name))["Version"]
        except PackageNotFoundError:
            yield f"requires {wanted.name}{wanted.specifier}, which is not installed"
            continue
        if not _contains(str(wanted.specifier), installed):
            yield f"requires {wanted.name}{wanted.specifier}; {installed} is installed"
        if wanted.extras:
            yield from _unmet(wanted.name, frozenset(wanted.extras), seen)


def _contains(specifier: str, installed: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(installed, prereleases=True)
    except (InvalidSpecifier, InvalidVersion, TypeError):  # damaged metadata meet nothing
        return False
