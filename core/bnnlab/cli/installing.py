"""Commands that change the installation: `install`, `uninstall`. They import no plugin."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnnlab.cli import installer
from bnnlab.cli.console import print_out
from bnnlab.errors import NOTE, UsageError, command, first_line
from bnnlab.registry.discovery import find_plugins, normalise
from bnnlab.registry.hookspecs import PROJECT
from bnnlab.registry.index import Index, load_index

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
        return
    words = source.arguments(wanted)
    if source.folder:
        words += ["--find-links", str(source.folder)]
    if offline:
        words.append("--no-index")
    distributions = [normalise(each.name) for each in wanted]
    installer.install(distributions, words, dry_run)
    if not dry_run:
        _report(distributions)


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


def _report(distributions: list[str]) -> None:
    """Say what is installed, and what of it cannot be loaded by its metadata."""
    print_out(f"Installed: {', '.join(distributions)}.")
    for plugin in find_plugins():
        if plugin.distribution in distributions and plugin.error:
            log.warning("%s is broken: %s", plugin.distribution, plugin.error)


def uninstall(names: Names, dry_run: DryRun = False) -> None:
    """Remove plugins with uv or pip, also broken ones. What they needed stays.

    Examples:  bnn uninstall plots   |   bnn uninstall probe:weights --dry-run
    """
    from bnnlab.registry.requirements import needing

    there = {each: each.removeprefix(f"{PROJECT}-") for each in needing([PROJECT])}
    there |= {plugin.distribution: plugin.name for plugin in find_plugins() if plugin.name}
    called = {normalise(short): name for name, short in there.items()} | {it: it for it in there}
    index = load_index()
    wanted = list(dict.fromkeys(_removable(name, index, called) for name in names))
    others = needing(wanted)
    if others:
        every = (each.removeprefix(f"{PROJECT}-") for each in [*wanted, *others])
        raise UsageError(
            f"{', '.join(others)} would not work without {', '.join(wanted)}. "
            f"To remove all of them: `{command('uninstall', *every)}`."
        )
    installer.uninstall(wanted, dry_run)


def _removable(said: str, index: Index, called: Mapping[str, str]) -> str:
    """Return the installed distribution that a name means.

    Raises:
        UsageError: If it is the core, or not installed.
    """
    _expect_plugin(said, "stays. Delete the environment to remove all")
    name = index.distribution(said, called)
    if name not in called:
        raise UsageError(f"{name} is not installed. `bnn list-plugins` lists what is.")
    return name
