"""What rules and optimizers are checked on: the first toy that suits, or what is required."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple

import pytest

from bnnlab.engine import building
from bnnlab.errors import UsageError
from bnnlab.guards import ambient
from bnnlab.interfaces.model import Model
from bnnlab.registry.components import CAPABILITIES, Kind
from bnnlab.settings.layers import choose
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.component_contract import ComponentContract
from bnnlab_testing.partners import partner

TOYS = {"conv": toy.conv.make_model, "mlp": toy.mlp.make_model, "real": toy.real.make_model}
"""The toys of the contracts. All have the images of `toy.make_task`."""


class Suiting(NamedTuple):
    """A network that suits a component.

    Attributes:
        name: Of the toy, or of the model.
        choice: The model; None for a toy.
        refused: Why those that come before do not suit, by their names.
    """

    name: str
    choice: Choice | None
    refused: dict[str, str]


_SUITING: dict[tuple[object, ...], Suiting] = {}
"""What was found, by test class and component, since each test has an instance of its own."""


class ToyChecks(ComponentContract):
    """The part of the contracts of rules and optimizers that is about what they learn on.

    Attributes:
        toy: Name of a toy to learn on: conv, mlp or real. By default the first that suits.
    """

    toy: ClassVar[str] = ""

    def make_model(self) -> Model:
        """Return the model to learn with, for inputs (B, 1, 6, 6) of three classes."""
        return self._made(self.suiting)

    @property
    def twins(self) -> Callable[[], Model]:
        """What makes a network with layers of one shape, and learned scales, where it suits."""
        own = type(self).make_model is not ToyChecks.make_model
        if own or self.suiting.choice or self.suiting.name == "real":
            return self.make_model
        try:
            self.make(0, toy.make_twins_model())
        except UsageError:
            return self.make_model
        return toy.make_twins_model

    @property
    def suiting(self) -> Suiting:
        """What suits the component; if nothing does, the first that was tried."""
        settings = self.choice.capabilities(), repr(self.choice.settings), self.toy
        key = (type(self), self.component.target, *settings)
        if key not in _SUITING:
            keeper = ambient.Keeper()
            try:
                _SUITING[key] = self._find()
            finally:  # what is left behind is for a check to find
                keeper.put_back()
        return _SUITING[key]

    def test_a_toy_suits_it(self) -> None:
        """It learns on the network of a toy, or of an installed model that has what it requires.

        Where the first toy is refused, the test is skipped, and says so.
        """
        if type(self).make_model is not ToyChecks.make_model:
            pytest.skip("make_model() is the test class's own")
        name, _, refused = self.suiting
        why = "; ".join(f"{each}: {reason}" for each, reason in refused.items())
        assert name not in refused, f"no toy suits it ({why}): override make_model()"
        crashes = re.search(r" failed (in attach\(\)|when it was made) at ", why)
        assert not crashes, f"refuse by a UsageError what it cannot work on ({why})"
        if refused:
            pytest.skip(f"it is checked on {name} ({why})")

    @abstractmethod
    def make(self, seed: int = 0, model: Model | None = None) -> Any:
        """Make the component for a model."""

    def _find(self) -> Suiting:
        refused: dict[str, str] = {}
        tried = list[Suiting]()
        for name, choice in self._candidates():
            tried.append(Suiting(name, choice, refused))
            try:
                self.make(0, self._made(tried[-1]))
                return tried[-1]
            except UsageError as refusal:
                refused[name] = str(refusal)
        return tried[0]

    def _candidates(self) -> Iterator[tuple[str, Choice | None]]:
        """Yield names of toys, and models by theirs: what is asked for, or what may suit."""
        if self.toy:
            if self.toy not in TOYS:
                near = get_close_matches(self.toy, TOYS, 1)
                meant = f"do you mean {near[0]!r}?" if near else f"choose from {', '.join(TOYS)}"
                raise AssertionError(f"toy = {self.toy!r} is not known: {meant}")
            yield self.toy, None
            return
        model = partner(self.host, self.choice, Kind.MODEL, CAPABILITIES.keys())
        if model is None:
            for name in ["real"] if self.needs("real-weights") else ["conv", "mlp"]:
                yield name, None
        if model is None and (default := self.component.default_model):
            model = choose(self.host, Kind.MODEL, default, {})
        if model is not None:
            yield model.name, model

    def _made(self, suiting: Suiting) -> Model:
        if suiting.choice is None:
            return TOYS[suiting.name]()
        shape, classes = toy.INPUT_SHAPE, toy.CLASSES
        return building.make_model(
            self.host, suiting.choice, input_shape=shape, classes=classes, seed=0
        )
