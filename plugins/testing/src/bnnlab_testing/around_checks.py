"""What a rule or an optimizer around another one owes to it: it hears all, and is heard."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from bnnlab.engine.making import Maker
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
from bnnlab_testing.device_checks import CPU, LearnerChecks

HEARD = {
    Kind.RULE: ("attach", "task_started", "step_started", "task_ended"),
    Kind.OPTIMIZER: ("task_started", "task_ended"),
}
"""What a base hears when the one around it hears it."""


class _Base(NamedTuple):
    """A part of the component's own kind, the option that it is, and the methods called of it."""

    place: str
    made: Any
    heard: list[str]


class AroundChecks(LearnerChecks):
    """The part of the contracts of rules and optimizers that is about a base inside."""

    def test_its_base_hears_what_it_hears(self) -> None:
        """A base is told of tasks and steps, and a rule is attached, when the outer one is.

        Or it learns as if it was in its first task for ever. A method that you override calls the
        base's: `super().task_started(context)`, or `self.base.task_started(context)`.
        """
        _, bases = self._around()
        for place, _, heard in bases:
            missed = [f"{name}()" for name in HEARD[self.kind] if name not in heard]
            assert not missed, (
                f"{place} does not hear of {', '.join(missed)}, and it does: let its own begin "
                f"with super().{missed[0][:-1]}...)"
            )

    def test_its_base_is_heard_in_its_diagnostics(self) -> None:
        """What a base says in `diagnostics()` is in what the outer one says.

        Or its numbers are missing in the metrics of a run. Return `{**super().diagnostics(), ...}`.
        """
        own, bases = self._around()
        for number, base in enumerate(bases):
            base.made.diagnostics = partial(dict, {f"kit_{number}": 0.4375})
        said = own.diagnostics()
        for number, base in enumerate(bases):
            found = any(f"kit_{number}" in name for name in said) or 0.4375 in said.values()
            assert found, f"its diagnostics() leave out those of {base.place}: add super()'s"

    def test_no_part_comes_from_another_plugin(self) -> None:
        """What it makes of its own kind as it is made is its plugin's own, or made by a maker.

        Of a class of another plugin that is imported, neither name nor options would be in the
        run's settings. Take it as an option, `Annotated[Maker | str, Part(KIND)]`.
        """
        own = {self.plugin.package, self.component.target.partition(".")[0]}
        foreign = {each.package for each in self.host.plugins if each.components} - own
        with _made_by_hand(self.base) as types:
            self.learner(CPU)
        for made in types:
            package = made.__module__.partition(".")[0]
            assert package not in foreign, (
                f"it makes a {made.__name__} of the plugin {package} itself: take it as an option, "
                f'Annotated[Maker | str, Part("{self.kind}")]'
            )

    def _around(self) -> tuple[Any, list[_Base]]:
        """Return the component after a task, and the bases that it made by makers."""
        if not any(part.component.kind is self.kind for part in self.choice.parts.values()):
            pytest.skip("it is not made around another one")
        self.make()  # the first time, toys are tried
        with self._noted() as bases:
            learner = self.learner(CPU)
        toy.learn(learner, steps=1, end=True)
        return getattr(learner, self.kind), bases

    @contextmanager
    def _noted(self) -> Iterator[list[_Base]]:
        """Note the bases that are made, and what each hears from then on."""
        bases, call = list[_Base](), Maker.__call__
        places = {f"{self.kind}.{name}" for name in self.choice.parts}

        def called(maker: Maker, *arguments: Any, **given: Any) -> Any:
            made = call(maker, *arguments, **given)
            if maker.kind is self.kind and maker.place in places:
                heard = list[str]()
                for name in HEARD[self.kind]:
                    setattr(made, name, partial(_hear, heard, name, getattr(made, name)))
                bases.append(_Base(maker.place, made, heard))
            return made

        with patch.object(Maker, "__call__", called):
            yield bases


def _hear(heard: list[str], name: str, method: Any, *arguments: Any, **given: Any) -> Any:
    heard.append(name)
    return method(*arguments, **given)


@contextmanager
def _made_by_hand(base: type) -> Iterator[list[type]]:
    """Note the types of all that is made of a base class, but not by a maker."""
    types, by_makers = list[type](), list[Maker]()
    begin, call = vars(base)["__init__"], Maker.__call__

    def begun(it: Any, *arguments: Any, **given: Any) -> None:
        if not by_makers:
            types.append(type(it))
        begin(it, *arguments, **given)

    def called(maker: Maker, *arguments: Any, **given: Any) -> Any:
        by_makers.append(maker)
        try:
            return call(maker, *arguments, **given)
        finally:
            by_makers.pop()

    with patch.object(base, "__init__", begun), patch.object(Maker, "__call__", called):
        yield types
