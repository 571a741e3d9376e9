"""Load only the plugins that a run names."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import find_plugins, names_in, normalise
from bnnlab.registry.index import Index
from bnnlab.settings.layers import Layer, Settings, merge
from bnnlab.settings.run import ANALYSIS, MEASURING, TRACKING


def named_plugins(index: Index, places: Iterable[Settings | Layer]) -> set[str]:
    """Return the distributions of the components that settings name; nothing is imported.

    bnnlab-analysis, which measures every run, is among them if it is installed; bnnlab-tracking, if
    a tracker is named.

    Raises:
        UsageError: If the index does not know a name that is written without its distribution.
    """
    merged = merge(index, places)
    homes = {_home(index, named.kind, named.name) for named in merged.components}
    homes |= {TRACKING} if merged.of(Kind.TRACKER) else set()
    is_asked = any(merged.values.get(setting) is True for setting in MEASURING)
    is_there = ANALYSIS in {found.distribution for found in find_plugins()}
    return homes | {ANALYSIS} if is_asked or is_there else homes


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
