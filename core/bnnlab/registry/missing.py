"""What to say of a name that nothing usable offers: why, and how to get it."""

from collections.abc import Iterable, Sequence

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.commands import Command
from bnnlab.registry.components import Component
from bnnlab.registry.discovery import Plugin, Status
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
    """Return the error for a component or command that nothing usable offers.

    Args:
        kind: Of component, or `command`.
        name: Without a distribution.
        distribution: That was said with it, or empty.
        offers: All of this kind that can be used.
        plugins: All that are installed, also those that are broken or disabled.
        index: Knows what is not installed.
        own: Names of the core's own, which may have been meant.
    """
    known = index.offering(f"{kind}:{name}")
    installed = {plugin.distribution for plugin in plugins}
    for plugin in plugins:
        wanted = distribution or (known.distribution if known else "")
        if plugin.distribution == wanted and plugin.status is not Status.OK:
            why = f": {plugin.error}" if plugin.error else ""
            error = UsageError(
                f"{kind} {name!r} comes with {wanted}, which is {plugin.status}{why}."
            )
            error.__cause__ = plugin.exception
            return error
    if known and known.distribution not in installed:
        return UsageError(
            f"{kind} {name!r} comes with {known.distribution}, which is not installed. "
            f"To install it: pip install {known.distribution}"
        )
    if distribution and distribution not in installed:
        return UsageError(
            f"{kind} {distribution}/{name}: no plugin of the distribution {distribution!r} "
            "is installed; `bnn list-plugins` shows what is."
        )
    others = [plugin.distribution for plugin, offer in offers if offer.name == name]
    if others:  # only the distribution was wrong
        return UsageError(f"{distribution} offers no {kind} {name!r}; {others[0]} does.")
    names = sorted({*own, *(offer.name for _, offer in offers)})
    hint = did_you_mean(name, [*names, *index.names(kind)])
    if not hint:
        hint = f" Known: {', '.join(names)}." if names else " No plugin with one is installed."
    out = [f"{p.distribution} ({p.status})" for p in plugins if p.status is not Status.OK]
    if out:
        hint += f" Not looked into: {', '.join(out)}."
    return UsageError(f"unknown {kind} {name!r}.{hint}")
