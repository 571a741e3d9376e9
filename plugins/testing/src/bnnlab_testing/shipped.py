"""The test classes that travel with a plugin: those in the module `contracts` of its package."""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from bnnlab.errors import UsageError, did_you_mean, explain
from bnnlab.registry.components import Command, Component, noun
from bnnlab.registry.discovery import Plugin, normalise

Offer = Component | Command
"""What a plugin offers."""
Contract = type[Any]
"""A class of tests of one component."""


class Shipped(NamedTuple):
    """The test classes of a plugin.

    Attributes:
        modules: Those that hold them.
        first: The first class of each component, by the place of the component among all.
        others: Those that are not the first of a component.
    """

    modules: Sequence[str]
    first: Mapping[int, Contract]
    others: Sequence[Contract]


def shipped(offers: Sequence[tuple[Plugin, Offer]]) -> Shipped:
    """Return the test classes of what is offered, each with its plugin.

    Raises:
        UsageError: If a module cannot be imported, or a class names what is not offered.
    """
    packages = dict.fromkeys(plugin.package for plugin, _ in offers if not plugin.file)
    modules = [f"{package}.contracts" for package in packages if _has_contracts(package)]
    first, others = dict[int, Contract](), list[Contract]()
    for contract in (each for module in modules for each in _classes(module)):
        place = _place(contract, offers)
        if place is None or place in first:
            others.append(contract)
        else:
            first[place] = contract
    return Shipped(modules, first, others)


def _has_contracts(package: str | None) -> bool:
    is_package = package and hasattr(import_module(package), "__path__")
    return bool(is_package and find_spec(f"{package}.contracts"))


def _classes(module: str) -> Iterator[Contract]:
    """Yield the test classes of a module, in order; what it prints is no part of a report."""
    try:
        with redirect_stdout(sys.stderr):
            loaded = import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest.skip() raises no Exception
        raise UsageError(f"{module} cannot be imported: {explain(error)}") from error
    for name, contract in vars(loaded).items():
        is_test = name.startswith("Test") and getattr(contract, "__test__", True)  # as for pytest
        if is_test and hasattr(contract, "bnnlab_contract"):
            yield contract


def _place(contract: Contract, offers: Sequence[tuple[Plugin, Offer]]) -> int | None:
    """Return the place of what a class tests among what is offered; None for an objective."""
    if not hasattr(contract, "kind"):
        return None
    named = getattr(contract, "name", "")
    distribution, _, name = named.rpartition("/")
    for place, (plugin, offer) in enumerate(offers):
        is_its = normalise(distribution) in ("", normalise(plugin.distribution))
        if is_its and (offer.kind, offer.name) == (contract.kind, name):
            return place
    of_kind = [offer.name for _, offer in offers if offer.kind == contract.kind]
    raise UsageError(
        f"{title(contract)}: {offers[0][0].distribution} offers no {noun(contract.kind)} "
        f"{named!r}.{did_you_mean(name, of_kind)}"
    )


def is_code_of(package: str, module: str) -> bool:
    """Return whether a module belongs to a package, and not to its test classes."""
    tests = f"{package}.contracts."
    return f"{module}.".startswith(f"{package}.") and not f"{module}.".startswith(tests)


def title(contract: Contract) -> str:
    """Return the module and the name of a class."""
    return f"{contract.__module__}.{contract.__qualname__}"


def said_by(contract: Contract) -> dict[str, Any]:
    """Return what a class says otherwise than its contract, by name: attributes and methods."""
    kit = [each for each in contract.__mro__ if each.__module__.startswith("bnnlab_testing.")]
    known = {name for each in kit for name in (*vars(each), *inspect.get_annotations(each))}
    own = [name for each in contract.__mro__ if each not in kit for name in vars(each)]
    return {
        name: inspect.getattr_static(contract, name)
        for name in sorted({*own} & known)
        if name != "name" and not name.startswith("_")
    }


def lines_of(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a class says as text, `xfail.test_it_moves: why` for an entry of a table."""
    for name, value in said.items():
        if callable(value) or isinstance(value, property):
            yield f"{name}: its own"
        elif isinstance(value, Mapping):
            yield from (f"{name}.{key}: {each}" for key, each in value.items())
        else:
            yield f"{name}: {value}"
