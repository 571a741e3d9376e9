"""Which installed components one is checked with, where the toys do not have what it needs."""

from collections.abc import Set

from bnnlab.registry.components import CAPABILITIES, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import fill
from bnnlab.settings.run import Choice


def partner(host: PluginHost, choice: Choice, kind: Kind, has: Set[str]) -> Choice | None:
    """Return an installed component of a kind that provides what a component requires.

    One of the same distribution comes first.

    Args:
        host: The plugins.
        choice: The component that is checked.
        kind: Of the other one.
        has: What the toy of that kind provides.

    Returns:
        None, if the toy has all that is required of this kind.

    Raises:
        AssertionError: If no installed component provides it.
    """
    required = choice.capabilities()[1] - has
    likely = Kind.MODEL if choice.component.kind is Kind.RULE else Kind.RULE
    lacking = {name for name in required if kind in (_owners(host, name) or {likely})}
    if not lacking:
        return None
    able = [
        (plugin, component)
        for plugin, component in host.components(kind)
        if lacking <= component.capabilities({})[0]
    ]
    names = ", ".join(map(repr, sorted(lacking)))
    assert able, (
        f"no installed {kind} provides {names}, which {choice} requires: install one, or override "
        f"make_{kind}()"
    )
    own = choice.plugin.distribution
    return fill(host, *min(able, key=lambda pair: pair[0].distribution != own))


def _owners(host: PluginHost, capability: str) -> set[str]:
    """Return of which kinds they are that provide a capability; empty if none is installed."""
    if said := CAPABILITIES.get(capability):
        return {said.partition(":")[0]}
    return {
        component.kind
        for _, component in host.components()
        if capability in component.capabilities({})[0]
    }
