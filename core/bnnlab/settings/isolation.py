"""Load only the plugins that a run names."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import find_plugins, in_environment, names_in, normalise
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import Index
from bnnlab.settings.layers import made_of
from bnnlab.settings.merging import Layer, Named, Settings, merge
from bnnlab.settings.run import ANALYSIS, KERNELS, MEASURING, TRACKING


def named_plugins(index: Index, places: Iterable[Settings | Layer]) -> set[str]:
    """Return the distributions of the components that settings name, and of their parts.

    Only these are imported: a component says itself what it is made of. bnnlab-analysis, which
    measures every run, is among them if it is installed; bnnlab-tracking, if a tracker is named;
    bnnlab-kernels, if kernels are compiled.

    Raises:
        UsageError: If the index does not know a name that is written without its distribution, or
            if one of the plugins is not installed.
    """
    merged = merge(index, places)
    more = {_home(index, named) for named in merged.components}
    more |= {TRACKING} if merged.of(Kind.TRACKER) else set()
    more |= {KERNELS} if merged.values.get("kernels") == "compiled" else set()
    is_asked = any(merged.values.get(setting) is True for setting in MEASURING)
    is_there = ANALYSIS in {found.distribution for found in find_plugins()}
    more |= {ANALYSIS} if is_asked or is_there else set()
    homes = set[str]()
    while not more <= homes:  # a plugin that was loaded may say more
        homes |= more
        with only(homes):
            host = PluginHost()
        more = {_home(index, it) for named in merged.components for it in made_of(host, named)}
    return homes


def _home(index: Index, named: Named) -> str:
    """Return the distribution of a component."""
    distribution, slash, short = named.bare_name.rpartition("/")
    if slash:
        return normalise(distribution)
    offering = index.offering(f"{named.kind}:{short}")
    if offering is None:
        raise UsageError(
            f"--isolated: registry.toml knows no {named.kind} {short!r}, and plugins are not "
            f"imported to find it.{did_you_mean(short, index.names(named.kind))} "
            f"Say its distribution: DISTRIBUTION/{short}."
        )
    return offering.distribution


def only(names: Iterable[str]) -> AbstractContextManager[None]:
    """Let hosts that are made in this block load only these plugins and those of BNNLAB_ONLY."""
    every = sorted({*names, *names_in("BNNLAB_ONLY")})
    return in_environment("BNNLAB_ONLY", ",".join(every))
