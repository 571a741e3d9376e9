"""What a component owes of its options: that each has the effect that it is there for."""

from abc import abstractmethod
from collections.abc import Iterator
from operator import ne
from typing import Any

import pytest

from bnnlab.errors import BnnlabError
from bnnlab.registry.components import Option
from bnnlab.settings.run import Choice
from bnnlab_testing.component_contract import ComponentContract
from bnnlab_testing.varying import other_values, tried

BESIDE, TOGETHER = 5, 2
"""Values of another option beside which an option is varied, and those of its own that work."""


class EffectChecks(ComponentContract):
    """The part of a contract that is about options."""

    @abstractmethod
    def looks(self, choice: Choice) -> Iterator[Any]:
        """Yield what shows of the component with these options, what is cheap to see first."""

    def test_no_option_is_ignored(self) -> None:
        """Another value of each option changes something: who sets an option expects an effect.

        It may be one that shows beside another value of one more option, as a gain does where the
        normalisation is on. Use the option, or remove it. Say in `without_effect` which options
        save time or memory alone. Options of text, or that are components, are not varied.
        """
        options = {option.name: option for option in self.component.options if not option.part}
        unknown = sorted(self.without_effect.keys() - options.keys())
        assert not unknown, f"`without_effect` names what is no option: {', '.join(unknown)}"
        varied = [option for name, option in options.items() if name not in self.without_effect]
        if not varied:
            pytest.skip("it has no option to vary")
        usual = [*self.looks(self.choice)]
        idle = [option for option in varied if self._is_idle(option, usual)]
        idle = self._idle_everywhere(idle, varied) if idle else []
        values = self.choice.options
        said = "; ".join(tried(option, values[option.name]) for option in idle)
        assert not idle, (
            f"no effect: {said}. Use each, or say in `without_effect` why it changes nothing here; "
            "if it needs others, or other values, let `options` set them"
        )

    def _is_idle(self, option: Option, usual: list[Any] | None, **beside: Any) -> bool:
        """Return whether there are other values, and all look as usual beside these of others.

        None for what is usual: its own value is refused beside them. Others are compared then.
        """
        own, compared = usual, 0
        for value in other_values(option, self.choice.options[option.name]):
            if beside and compared == TOGETHER:
                break
            try:
                looks = self.looks(self.with_options(**beside, **{option.name: value}))
                if usual is None:
                    usual = [*looks]
                elif any(map(ne, usual, looks)):
                    return False
                else:
                    compared += 1
            except BnnlabError:  # not with the other options
                continue
            except Exception:  # a value that breaks something has an effect
                return False
        return own is None or compared > 0

    def _idle_everywhere(self, idle: list[Option], varied: list[Option]) -> list[Option]:
        """Return which of the idle options are so beside every other value of others, too."""
        for other in varied:
            values = other_values(other, self.choice.options[other.name])
            for value in values[:BESIDE]:
                usual, beside = None, {other.name: value}
                try:
                    usual = [*self.looks(self.with_options(**beside))]
                except BnnlabError:  # not with their own values
                    pass
                except Exception:  # not with the other options
                    continue
                idle = [it for it in idle if it is other or self._is_idle(it, usual, **beside)]
                if not idle:
                    return idle
        return idle
