"""What an optimizer around another one owes to its state: names of its own."""

import sys
from collections import defaultdict
from collections.abc import Set
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from bnnlab.families.around import OptimizerAround
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
from bnnlab_testing.setting_checks import SettingChecks


class SharingChecks(SettingChecks):
    """The part of `OptimizerContract` that is about state which is shared with a base."""

    def test_its_state_has_names_that_no_base_uses(self) -> None:
        """What an `OptimizerAround` keeps of a parameter is under other names than its base's.

        Both lie in `state[p]`, where one would take the other's. Begin your names with that of the
        method. Each other optimizer that the option takes is the base once.
        """
        bases = [each for each in self.component.options if each.name in self.choice.parts]
        bases = [each for each in bases if each.part and each.part.kind == Kind.OPTIMIZER]
        if not bases or not isinstance(self.make(), OptimizerAround):
            pytest.skip("it shares its state with no base")
        for option in bases:
            for base in [self.choice.parts[option.name].name, *self._others(option)]:
                shared = self._shared({option.name: base})
                assert not shared, (
                    f"with {option.name}={base}, both write or read state[p] at "
                    f"{', '.join(sorted(shared))}: begin your names with that of the method"
                )

    def _shared(self, options: dict[str, Any]) -> Set[str]:
        """Return the names that it writes, and one of another kind inside it writes or reads."""
        written, used = set[str](), set[str]()
        with suppress(Exception):  # where one takes the other's, it may raise any
            model = self.make_model()
            own: Any = self.make(0, model, self.with_options(**options))

            def note(name: str, *, is_written: bool) -> None:
                user = _user(sys._getframe(2))
                if user is own and is_written:
                    written.add(name)
                elif user is not None and not isinstance(user, type(own)):
                    used.add(name)

            state = defaultdict[Any, _Noted](lambda: _Noted(note))
            for parameter, its in own.state.items():
                state[parameter].update(its)
            own._share(own.param_groups, state, own._watch)
            for index in range(2):
                task = toy.make_task(index)
                toy.train(model, self.make_rule(model), own, task, steps=2, end=True)
        return written & used


class _Noted(dict[str, Any]):
    """State of a parameter that notes which names are used."""

    def __init__(self, note: Any) -> None:
        super().__init__()
        self.note = note

    def __setitem__(self, name: str, value: Any) -> None:
        self.note(name, is_written=True)
        super().__setitem__(name, value)

    def __getitem__(self, name: str) -> Any:
        self.note(name, is_written=False)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.note(name, is_written=False)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return what is there, or the default."""
        self.note(name, is_written=False)
        return super().get(name, default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return what is there, or put the default there."""
        self.note(name, is_written=True)
        return super().setdefault(name, default)


def _user(frame: FrameType | None) -> Optimizer | None:
    """Return the innermost optimizer in whose method a frame is."""
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, Optimizer):
            return found
        frame = frame.f_back
    return None
