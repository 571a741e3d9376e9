"""Commands that change the installation: `install`, `uninstall`.

They import no plugin in their own process.
"""

import logging
from collections.abc import Collection, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnnlab.cli import installer
from bnnlab.cli.console import print_out
from bnnlab.errors import NOTE, RunError, UsageError, command, did_you_mean, first_line
from bnnlab.registry.discovery import find_plugins, normalise
from bnnlab.registry.hookspecs import PROJECT
from bnnlab.registry.index import Index, load_index
from bnnlab.registry.trial import Trial, tried

if TYPE_CHECKING:  # packaging takes 15 ms
    from packaging.requirements import Requirement

log = logging.getLogger(__name__)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the command of uv or pip only.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Plugins, or what they offer.")]


def install(
    names: Names,
    find_links: Annotated[
        Path | None,
        typer.Option("--find-links", metavar="DIR", help="Take plugins from wheels in a folder."),
    ] = None,
    from_index: Annotated[
        bool, typer.Option("--index", help="Take plugins from the package index.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Take all else from that folder, too.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Install plugins, and the plugins that they need, with uv or pip.

    A name is a plugin (plots), a component (probe:weights, or weights) or a
    command (plot). Plugins come from the checkout, else from the source that
    registry.toml names. What is installed keeps its version; a plugin that you
    name gets that of its source.

    Exits with 1 if what is installed cannot be imported.

    Examples:  bnn install demo plots   |   bnn install demo --find-links dist
    """
    from bnnlab.registry.sources import choose

    if find_links and from_index:
        raise UsageError("--find-links and --index: choose one.")
    index = load_index()
    source = choose(index, find_links, from_index)
    if offline and not source.folder:
        raise UsageError("--offline needs wheels: name their folder with --find-links DIR.")
    named = [_required(name, index, source.names) for name in names]
    wanted = [each for each in named if not source.has_installed(each)]
    for each in named:
        if each not in wanted:
            again = command("uninstall", each.name.removeprefix(f"{PROJECT}-"))
            log.log(NOTE, "%s is already installed. To install it anew: first `%s`", each, again)
    if not wanted:
        _expect_working([normalise(each.name) for each in named])
        return
    words = source.arguments(wanted)
    if source.folder:
        words += ["--find-links", str(source.folder)]
    if offline:
        words.append("--no-index")
    distributions = [normalise(each.name) for each in wanted]
    before = {plugin.distribution for plugin in find_plugins()}
    installer.install(distributions, words, dry_run)
    if not dry_run:
        print_out(f"Installed: {', '.join(distributions)}.")
        new = {plugin.distribution for plugin in find_plugins()} - before
        _expect_working({*new, *(normalise(each.name) for each in named)})


def _required(said: str, index: Index, more: Mapping[str, str]) -> "Requirement":
    """Return the distribution that a name means, with the extras that it has in brackets.

    Raises:
        UsageError: If it is the core, or none.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    name, bracket, extras = said.partition("[")
    _expect_plugin(name, "is installed")
    try:
        return Requirement(index.distribution(name, more) + bracket + extras)
    except InvalidRequirement as error:
        raise UsageError(f"{said}: {first_line(error)}.") from error


def _expect_plugin(said: str, fate: str) -> None:
    if normalise(said) == PROJECT:
        raise UsageError(f"{PROJECT} is the core, and {fate}.")


def _expect_working(distributions: Collection[str]) -> None:
    """Import plugins in another process.

    Raises:
        RunError: If that fails.
    """
    there = {plugin.distribution for plugin in find_plugins()} & {*distributions}
    trial = tried(there) if there else Trial()
    wrong = {name: why for name, why in (trial.broken | trial.fatal).items() if name in there}
    if wrong:
        said = "; ".join(f"{name}: {why}" for name, why in wrong.items())
        away = command("uninstall", *(each.removeprefix(f"{PROJECT}-") for each in wrong))
        raise RunError(f"what is installed does not work: {said}. To remove it: `{away}`.")


def uninstall(names: Names, dry_run: DryRun = False) -> None:
    """Remove plugins with uv or pip, also broken ones. What they needed stays.

    Examples:  bnn uninstall plots   |   bnn uninstall probe:weights --dry-run
    """
    from bnnlab.registry.requirements import needing

    found = find_plugins()
    there = {*needing([PROJECT]), *(plugin.distribution for plugin in found)}
    index, entries = load_index(), dict[str, set[str]]()
    for plugin in found:
        entries.setdefault(normalise(plugin.name), set()).add(plugin.distribution)
    wanted = list(dict.fromkeys(_removable(name, index, there, entries) for name in names))
    others = needing(wanted)
    if others:
        every = (each.removeprefix(f"{PROJECT}-") for each in [*wanted, *others])
        raise UsageError(
            f"{', '.join(others)} would not work without {', '.join(wanted)}. "
            f"To remove all of them: `{command('uninstall', *every)}`."
        )
    installer.uninstall(wanted, dry_run)


def _removable(said: str, index: Index, there: Set[str], entries: Mapping[str, Set[str]]) -> str:
    """Return the installed distribution that a name means.

    Args:
        said: A distribution, with `bnnlab-` or without; an entry point; or a component or command
            that a known plugin offers.
        index: The known plugins.
        there: The distributions that are installed.
        entries: The distributions of each name of an entry point.

    Raises:
        UsageError: If it is the core, not installed, or may mean several.
    """
    _expect_plugin(said, "stays. Delete the environment to remove all")
    name = normalise(said)
    for each in (name, f"{PROJECT}-{name}"):
        if each in there:
            return each
    offering = index.homes(said)
    homes = sorted({*entries.get(name, ())} | offering & there)
    if len(homes) == 1:
        return homes[0]
    if homes:
        raise UsageError(f"{said!r} may mean {' or '.join(homes)}. Name the one to remove.")
    named = {each.distribution for each in index.plugins if name in (each.name, each.distribution)}
    known = sorted(named or offering)
    if known:
        what = f"{' or '.join(known)} is not installed."
    else:
        short = (each.removeprefix(f"{PROJECT}-") for each in there)
        what = f"no installed plugin is called {said!r}.{did_you_mean(said, [*short, *there])}"
    raise UsageError(f"{what} `bnn list-plugins` lists what is.")
