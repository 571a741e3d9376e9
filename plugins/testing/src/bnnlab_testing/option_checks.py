"""What a rule or an optimizer owes to its options: they stay as they are given."""

import copy
from functools import wraps
from typing import Any
from unittest.mock import patch

import pytest

from bnnlab_testing.component_contract import ComponentContract


class OptionChecks(ComponentContract):
    """The part of the contracts of rules and optimizers that is about the lists they are given."""

    def test_its_options_stay_as_they_are_given(self) -> None:
        """A list that its constructor gets, or has as a default, is the same after it was used.

        Others have the same list: what is made next would begin with what this one left in it. Keep
        a copy, `list(scales)`, with what changes in the state; a default is a tuple.
        """
        if not any(isinstance(value, list | dict) for value in self.choice.options.values()):
            pytest.skip("none of its options is a list")
        made: Any = self.host.load(self.plugin, self.component)
        given, begin = list[tuple[dict[str, Any], dict[str, Any]]](), made.__init__

        @wraps(begin)  # with its signature
        def begun(it: Any, *arguments: Any, **options: Any) -> None:
            lists = {name: v for name, v in options.items() if isinstance(v, list | dict)}
            given.append((lists, copy.deepcopy(lists)))
            begin(it, *arguments, **options)

        with patch.object(made, "__init__", begun), self._unguarded():
            self.exercise()
        changed = {n: None for now, before in given for n, v in now.items() if v != before[n]}
        assert not changed, f"it changes what it was given for {', '.join(changed)}: copy the list"
