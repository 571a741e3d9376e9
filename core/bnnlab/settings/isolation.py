"""Runs that load the plugins they name, and no other."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.discovery import names_in, normalise
from bnnlab.registry.index import Index


def named_plugins(index: Index, layers: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the distributions of the components that settings name; nothing is imported.

    Args:
        index: Knows which plugin offers a name, and the default components.
        layers: Settings, weakest first.

    Raises:
        UsageError: If the index does not know a name, and its distribution is not said.
    """
    named: dict[Kind, str] = {}
    for layer in (index.defaults, *layers):
        for kind in PARTS:
            value = layer.get(kind)
            name = value.get("name") if isinstance(value, Mapping) else value
            if isinstance(name, str):
                named[kind] = name.partition(":")[0]  # without an argument
    return {_home(index, kind, name) for kind, name in named.items()}


def _home(index: Index, kind: Kind, name: str) -> str:
    distribution, slash, short = name.rpartition("/")
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
    """Let all hosts that are made inside load these plugins alone, and what BNNLAB_ONLY names."""
    before = os.environ.get("BNNLAB_ONLY")
    os.environ["BNNLAB_ONLY"] = ",".join(sorted({*names, *names_in("BNNLAB_ONLY")}))
    try:
        yield
    finally:
        if before is None:
            del os.environ["BNNLAB_ONLY"]
        else:
            os.environ["BNNLAB_ONLY"] = before
