"""What every component owes, whatever its kind."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property, lru_cache
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from bnnlab.engine.making import BASES, Maker
from bnnlab.guards import ambient
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose
from bnnlab.settings.run import Choice
from bnnlab_testing.asserting import differing, flat

_VALUES = int, float, str, list, dict, set, Tensor
"""What changes in use, where a class or a module holds it."""


class ComponentContract(ABC):
    """A class named `Test...` that inherits a contract checks the component called `name`.

    Attributes:
        name: The component's name, or `distribution/name`.
        options: Options to make it with, where its defaults do not suit a test.
        xfail: Checks that the component cannot pass, each with the reason; they must fail.
        without_effect: Options that change nothing, each with the reason.
    """

    bnnlab_contract = True
    kind: ClassVar[Kind]
    given: ClassVar[frozenset[str]] = frozenset()
    """What the core passes to the constructor beside the options."""

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    xfail: ClassVar[Mapping[str, str]] = {}
    without_effect: ClassVar[Mapping[str, str]] = {}

    @property
    def host(self) -> PluginHost:
        """The plugins of this environment."""
        return _host(tuple(sys.path))

    @property
    def base(self) -> type:
        """What a component of its kind derives from."""
        return BASES[self.kind]

    @cached_property
    def choice(self) -> Choice:
        """The component with its options."""
        return choose(self.host, self.kind, self.name, self.options)

    @property
    def plugin(self) -> Plugin:
        """The plugin that offers the component."""
        return self.choice.plugin

    @property
    def component(self) -> Component:
        """The component's declaration."""
        return self.choice.component

    def with_options(self, **options: Any) -> Choice:
        """Return the component with some options set otherwise."""
        return choose(self.host, self.kind, self.name, {**self.options, **options})

    def has_option(self, name: str) -> bool:
        """Return whether the component has an option of that name."""
        return any(option.name == name for option in self.component.options)

    def provides(self, capability: str) -> bool:
        """Return whether the component, with its options, provides a capability."""
        return capability in self.choice.capabilities()[0]

    def needs(self, capability: str) -> bool:
        """Return whether it requires, with its options, that another component has a capability."""
        return capability in self.choice.capabilities()[1]

    @abstractmethod
    def make(self, seed: int = 0) -> Any:
        """Make the component."""

    def make_ready(self) -> None:
        """Make the component as a run has it before its first step."""
        self.make()

    @abstractmethod
    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Make the component, use it for three steps, and return all that its seed decides."""

    def test_it_can_be_made(self) -> None:
        """The declared defaults, with the contract's `options`, make an instance."""
        assert isinstance(self.make(), self.base)

    def test_the_same_seed_gives_the_same(self) -> None:
        """Made twice with one seed and used alike, nothing differs by a bit."""
        made = self.host.load(self.plugin, self.component)
        with self._unguarded():
            first, before = self.exercise(), _held_in_common(made)
            second, after = self.exercise(), _held_in_common(made)
        message = "two uses with the same seed differ"
        if changed := differing(before, after):
            message += f", and {', '.join(changed[:5])} has changed: keep in `self` what changes"
        assert len(first) == len(second), message
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one, other), message

    def test_the_global_state_is_left_alone(self) -> None:
        """Neither making nor using it draws from a global generator or sets a default of torch's.

        In a run, what its making changes is put back, with a warning.
        """
        with self._unguarded() as keeper:
            self.exercise()
        assert not keeper.changed, f"it changes {', '.join(keeper.changed)}"

    def test_what_it_is_made_of_comes_from_its_run(self) -> None:
        """It finds no plugins itself, and makes each of its parts by the maker that it is given.

        A probe may do so in `attach`.
        """
        hosts, made, parts = list[object](), list[str](), self.choice.parts
        find, call = PluginHost.__init__, Maker.__call__

        def found(host: PluginHost, *arguments: Any, **given: Any) -> None:
            hosts.append(host)
            find(host, *arguments, **given)

        def called(maker: Maker, *arguments: Any, **given: Any) -> Any:
            made.append(maker.place)
            return call(maker, *arguments, **given)

        with patch.object(PluginHost, "__init__", found), patch.object(Maker, "__call__", called):
            self.make_ready()
        assert not hosts, (
            "it looks for plugins itself when it is made, and a run may have others: take a "
            "component as an option, Annotated[Maker | str, Part(KIND)], and make it by its maker"
        )
        for name in parts:
            is_made = f"{self.kind}.{name}" in made
            assert is_made, f"it does not make its {name} by the maker that it is given"

    @pytest.fixture(autouse=True)
    def _begins_as_the_first(self) -> Iterator[None]:
        """Put back what a test changes, so that the next one sees it change, too."""
        keeper = ambient.Keeper()
        yield
        keeper.put_back()

    @contextmanager
    def _unguarded(self) -> Iterator[ambient.Keeper]:
        """Put back what it changes at the end alone."""
        keeper = ambient.Keeper()
        try:
            with patch.object(ambient, "kept", lambda *_: nullcontext()):
                yield keeper
        finally:
            keeper.put_back()


@lru_cache(maxsize=1)
def _host(_path: tuple[str, ...]) -> PluginHost:
    """Find the plugins once for many checks, and anew where a test has installed another."""
    return PluginHost()


def _held_in_common(made: Any) -> dict[str, Any]:
    """Return what a class, its bases and its module hold, by name."""
    owners = {each.__name__: each for each in getattr(made, "__mro__", ())}
    owners[made.__module__] = sys.modules[made.__module__]
    return {
        f"{owner}.{name}": flat(value)
        for owner, its in owners.items()
        for name, value in vars(its).items()
        if isinstance(value, _VALUES) and not name.startswith("__")
    }
