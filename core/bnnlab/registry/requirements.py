"""What is installed, what it requires, and what of that is missing."""

import logging
import platform
from collections.abc import Collection, Iterable, Iterator, Sequence
from email.message import Message
from functools import lru_cache
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, distribution, distributions

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from bnnlab.registry.discovery import described, normalise

log = logging.getLogger(__name__)


def warn_of_unmet(names: Iterable[str]) -> None:
    """Warn of missing requirements of these distributions; a run uses the distributions anyway."""
    found = Found()
    for name in sorted(set(names)):
        for line in unmet(name, found=found):
            log.warning("%s %s", name, line)


class Found(dict[str, tuple[Message, Sequence[str]]]):
    """Metadata of distributions, and what they require, by name. Each is searched for once."""

    def __missing__(self, name: str) -> tuple[Message, Sequence[str]]:
        found = distribution(name)
        about = described(found)
        self[name] = about, about.get_all("Requires-Dist") or found.requires or ()
        return self[name]


def unmet(name: str, extras: Iterable[str] = (), found: Found | None = None) -> list[str]:
    """Return one line per missing requirement; none of what is no distribution.

    Args:
        name: Of a distribution.
        extras: Its extras that are required, too.
        found: What was found for other distributions.
    """
    found = Found() if found is None else found
    try:
        found[name]
    except PackageNotFoundError:  # a plugin in one file, or an object
        return []
    return list(dict.fromkeys(_unmet(name, frozenset(extras), found, set())))


def _unmet(
    name: str, extras: frozenset[str], found: Found, seen: set[tuple[str, frozenset[str]]]
) -> Iterator[str]:
    if (name, extras) in seen:  # a distribution may ask for an extra of its own
        return
    seen.add((name, extras))
    about, requires = found[name]
    for python in about.get_all("Requires-Python") or []:
        if not _contains(python, platform.python_version()):
            yield f"requires Python {python}; this is {platform.python_version()}"
    for text in requires:
        try:
            wanted = _requirement(text)
        except InvalidRequirement:
            yield f"has a requirement that cannot be read: {text!r}"
            continue
        if not _applies(wanted, extras):
            continue
        try:
            version = found[wanted.name][0]["Version"]
        except PackageNotFoundError:
            yield f"requires {wanted.name}{wanted.specifier}, which is not installed"
            continue
        if not _contains(str(wanted.specifier), version):
            yield f"requires {wanted.name}{wanted.specifier}; {version} is installed"
        if wanted.extras:
            yield from _unmet(wanted.name, frozenset(wanted.extras), found, seen)


def required(about: Message, extras: Collection[str] = ()) -> Iterator[Requirement]:
    """Yield what metadata require with these extras; `unmet` names what cannot be read."""
    for text in about.get_all("Requires-Dist") or ():
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        if _applies(wanted, extras):
            yield wanted


def installed() -> dict[str, Message]:
    """Return the metadata of each installed distribution, without those that cannot be read."""
    invalidate_caches()  # pip may just have been called
    found = dict[str, Message]()
    for each in distributions():
        try:
            about = described(each)
        except (OSError, ValueError):  # damaged, or no UTF-8
            continue
        if "Name" in about and "Version" in about:
            found.setdefault(normalise(about["Name"]), about)
    return found


def needing(names: Iterable[str]) -> list[str]:
    """Return the installed distributions that need one of these, be it by way of others."""
    users: dict[str, set[str]] = {}
    for name, about in installed().items():
        for each in required(about):
            users.setdefault(normalise(each.name), set()).add(name)
    found, left = set[str](), [*names]
    while left:
        new = users.get(left.pop(), set()) - found
        found |= new
        left += new
    return sorted(found - {*names})


@lru_cache(maxsize=1024)
def _requirement(text: str) -> Requirement:
    return Requirement(text)


def _applies(wanted: Requirement, extras: Collection[str]) -> bool:
    said = wanted.marker
    return said is None or any(said.evaluate({"extra": each}) for each in extras or [""])


@lru_cache(maxsize=1024)
def _contains(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion, TypeError):  # damaged metadata meet nothing
        return False
