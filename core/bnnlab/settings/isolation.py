"""Load only the plugins that a run names."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import find_plugins, names_in, normalise
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import Index
from bnnlab.settings.layers import DEEPEST
from bnnlab.settings.merging import Layer, Merged, Named, Settings, merge
from bnnlab.settings.run import ANALYSIS, MEASURING, TRACKING


def named_plugins(index: Index, places: Iterable[Settings | Layer]) -> set[str]:
    """Return the distributions of the components that settings name, and of their parts.

    Only these are imported: a component says itself what it is made of. bnnlab-analysis, which
    measures every run, is among them if it is installed; bnnlab-tracking, if a tracker is named.

    Raises:
        UsageError: If the index does not know a name that is written without its distribution, or
            if one of the plugins is not installed.
    """
    merged = merge(index, places)
    homes = {_home(index, named.kind, named.name) for named in merged.components}
    homes |= {TRACKING} if merged.of(Kind.TRACKER) else set()
    is_asked = any(merged.values.get(setting) is True for setting in MEASURING)
    is_there = ANALYSIS in {found.distribution for found in find_plugins()}
    homes |= {ANALYSIS} if is_asked or is_there else set()
    while more := {*_of_parts(merged, homes)} - homes:
        homes |= more
    return homes


def _of_parts(merged: Merged, homes: Iterable[str]) -> Iterator[str]:
    """Yield the distributions of what the components are made of, as far as these ones say it."""
    with only(homes):
        host = PluginHost()
    for named in merged.components:
        yield from _inside(host, named, str(named.kind))


def _inside(host: PluginHost, named: Named, place: str) -> Iterator[str]:
    try:
        plugin, component = host.resolve(named.kind, named.name.partition(":")[0])
        options = host.options(plugin, component)
    except UsageError:  # its plugin is not loaded yet; or the run itself says what is wrong
        return
    for option in options if place.count(".") < DEEPEST else ():
        if option.part:
            inner = named.inside(host.index, option, option.part, f"{place}.{option.name}")
            yield _home(host.index, inner.kind, inner.name)
            yield from _inside(host, inner, inner.place)


def _home(index: Index, kind: Kind, name: str) -> str:
    """Return the distribution of a component; the argument in `NAME:VALUE` does not matter."""
    distribution, slash, short = name.partition(":")[0].rpartition("/")
    if slash:
        return normalise(distribution)
    offering = index.offering(f"{kind}:{short}")
    if offering is None:
        raise UsageError(
            f"--isolated: registry.toml knows no {kind} {short!r}, and plugins are not imported to "
            f"find it.{did_you_mean(short, index.names(kind))} "
            f"Say its distribution: DISTRIBUTION/{short}."
        )
    return offering.distribution


@contextmanager
def only(names: Iterable[str]) -> Iterator[None]:
    """Let hosts that are made in this block load only these plugins and those of BNNLAB_ONLY."""
    before = os.environ.get("BNNLAB_ONLY")
    os.environ["BNNLAB_ONLY"] = ",".join(sorted({*names, *names_in("BNNLAB_ONLY")}))
    try:
        yield
    finally:
        if before is None:
            del os.environ["BNNLAB_ONLY"]
        else:
            os.environ["BNNLAB_ONLY"] = before
