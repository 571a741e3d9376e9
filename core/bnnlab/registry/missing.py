"""The error for an unknown name: why nothing offers it, and how to get it."""

from collections.abc import Iterable, Sequence

from bnnlab.errors import UsageError, did_you_mean
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
        name: The name that is missing, without a distribution.
        distribution: The distribution in front of the name, or empty.
        offers: All usable components or commands of this kind.
        plugins: All installed plugins, also broken and disabled ones.
        index: The registry, with plugins that are not installed.
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
            f"To install it: `pip install {known.distribution}`."
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
