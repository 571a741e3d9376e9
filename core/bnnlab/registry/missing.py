"""The error for a name that nothing offers, or several plugins: why, and what to type."""

from collections.abc import Iterable, Sequence

from bnnlab.errors import UsageError, did_you_mean, install_command
from bnnlab.registry.commands import Command
from bnnlab.registry.components import Component
from bnnlab.registry.discovery import Plugin, PluginStatus
from bnnlab.registry.index import Index


def missing(
    kind: str,
    name: str,
    distribution: str,
    offers: Sequence[tuple[Plugin, Component | Command]],
    plugins: Sequence[Plugin],
    index: Index,
    own: Iterable[str] = (),
) -> UsageError:
    """Return the error for a component or command that no usable plugin offers.

    Args:
        kind: Kind of component, or `command`.
        name: Without the distribution, which may be empty.
        distribution: What was said in front of the name.
        offers: All that can be used, of this kind.
        plugins: All that are installed.
        index: The registry.
        own: Names of the core that may be meant.
    """
    known = index.offering(f"{kind}:{name}")
    installed = {plugin.distribution for plugin in plugins}
    for plugin in plugins:
        wanted = distribution or (known.distribution if known else "")
        if plugin.distribution == wanted and plugin.status is not PluginStatus.OK:
            why = f": {plugin.error}" if plugin.error else ""
            error = UsageError(
                f"{kind} {name!r} comes with {wanted}, which is {plugin.status}{why}."
            )
            error.__cause__ = plugin.exception
            return error
    if known and known.distribution not in installed:
        return UsageError(
            f"{kind} {name!r} comes with {known.distribution}, which is not installed. "
            f"To install it: {install_command(known.distribution)}."
        )
    if distribution and distribution not in installed:
        return UsageError(
            f"{kind} {distribution}/{name}: no plugin of {distribution!r} is installed. "
            "`bnn list-plugins` lists the installed ones."
        )
    others = [plugin.distribution for plugin, offer in offers if offer.name == name]
    if others:  # only the distribution was wrong
        return UsageError(f"{distribution} offers no {kind} {name!r}; {others[0]} does.")
    names = sorted({*own, *(offer.name for _, offer in offers)})
    hint = did_you_mean(name, [*names, *index.names(kind)])
    if not hint:
        hint = f" Known: {', '.join(names)}." if names else " No installed plugin has one."
    out = [f"{p.distribution} ({p.status})" for p in plugins if p.status is not PluginStatus.OK]
    if out:
        hint += f" Not searched: {', '.join(out)}."
    return UsageError(f"unknown {kind} {name!r}.{hint}")


def ambiguous(kind: str, name: str, plugins: Sequence[Plugin]) -> UsageError:
    """Return the error for a name that these plugins offer."""
    whose = list(dict.fromkeys(plugin.distribution for plugin in plugins))
    if len(whose) > 1:
        ways = " or ".join(f"{each}/{name}" for each in whose)
        return UsageError(f"two plugins offer {kind} {name!r}. Choose one: {ways}.")
    ways = " or ".join(f"BNNLAB_DISABLE={plugin.name}" for plugin in plugins)
    return UsageError(
        f"two entry points of {whose[0]} offer {kind} {name!r}. Switch one of them off: {ways}."
    )
