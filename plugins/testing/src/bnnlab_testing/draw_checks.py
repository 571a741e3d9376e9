"""What a component owes of the random numbers that it draws as it is used."""

import sys
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

from bnnlab import seeds
from bnnlab_testing.component_contract import ComponentContract
from bnnlab_testing.shipped import is_code_of


class DrawChecks(ComponentContract):
    """The part of the contracts of rules, optimizers and models that is about random numbers."""

    def test_what_it_seeds_in_use_follows_the_seed(self) -> None:
        """A random generator that its code seeds in a step gets another seed in another run.

        Or repetitions have the same noise, and a spread that is too small. Take the generator that
        it is given, or seed another one with a number drawn from that, which its state holds; a
        count alone, as of steps, is the same in every run.
        """
        if not (one := self._seeds(0)):
            return
        other = self._seeds(1)
        fixed = [place for place, drawn in one.items() if drawn == other.get(place)]
        assert not fixed, (
            f"at {', '.join(fixed)} a random generator is seeded the same, whatever the run's seed "
            "is: let the seed depend on a number drawn from the generator that it is given"
        )

    def _seeds(self, seed: int) -> dict[str, list[int]]:
        """Return what generators are seeded with as it is used, by place in its package."""
        found, before = defaultdict[str, list[int]](list), sys.getprofile()
        package = self.component.target.partition(":")[0].partition(".")[0]

        def note(frame: FrameType, event: str, called: Any) -> None:
            if event != "c_return" or getattr(called, "__name__", "") != "manual_seed":
                return
            while frame.f_back and frame.f_globals.get("__name__") == seeds.__name__:
                frame = frame.f_back
            if is_code_of(package, frame.f_globals.get("__name__", "")):
                place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                found[place].append(called.__self__.initial_seed())

        with self._unguarded():
            sys.setprofile(note)
            try:
                self.exercise(seed)
            finally:
                sys.setprofile(before)
        return found
