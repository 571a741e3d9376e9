"""What a component owes of the random numbers that it draws as it is used."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any
from unittest.mock import patch

from bnnlab import seeds
from bnnlab_testing.component_contract import ComponentContract
from bnnlab_testing.shipped import is_code_of

NUMPYS = (
    *("default_rng", "RandomState", "seed", "SeedSequence"),
    *("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"),
)
"""What takes a seed in `numpy.random`."""
THROUGH = {seeds.__name__, "random"}
"""Modules whose callers are said to seed what they seed."""


class DrawChecks(ComponentContract):
    """The part of the contracts of rules, optimizers and models that is about random numbers."""

    def test_what_it_seeds_in_use_follows_the_seed(self) -> None:
        """A random generator that its code seeds gets another seed in another run.

        Or repetitions have the same noise, and a spread that is too small. Take the generator that
        it is given, or seed another one, be it torch's, NumPy's or Python's, with a number drawn
        from that, which its state holds; a count alone, as of steps, is the same in every run.
        """
        if not (one := self._seeds(0)):
            return
        other = self._seeds(1)
        fixed = [place for place, drawn in one.items() if drawn == other.get(place)]
        assert not fixed, (
            f"at {', '.join(fixed)} a random generator is seeded the same, whatever the run's seed "
            "is: let the seed depend on a number drawn from the generator that it is given"
        )

    def _seeds(self, seed: int) -> dict[str, list[Any]]:
        """Return what generators are seeded with as it is used, by place in its package."""
        found, before = defaultdict[str, list[Any]](list), sys.getprofile()
        package = self.component.target.partition(":")[0].partition(".")[0]

        def note(frame: FrameType, seeded: Any) -> None:
            while frame.f_back and frame.f_globals.get("__name__") in THROUGH:
                frame = frame.f_back
            if is_code_of(package, frame.f_globals.get("__name__", "")):
                place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                found[place].append(seeded)

        def returned(frame: FrameType, event: str, called: Any) -> None:
            name = getattr(called, "__name__", "") if event == "c_return" else ""
            if name == "manual_seed":
                note(frame, called.__self__.initial_seed())
            elif name == "seed" and isinstance(called.__self__, Random):
                note(frame, super(Random, called.__self__).getstate())

        with self._unguarded(), _numpys_noted(package, note):
            sys.setprofile(returned)
            try:
                self.exercise(seed)
            finally:
                sys.setprofile(before)
        return found


class _Noting(type):
    """Stands for a class or function, and notes what it is called with."""

    its: Any
    note: Callable[[FrameType, Any], None]

    def __call__(cls, *seed: Any, **named: Any) -> Any:
        if seed or named:
            cls.note(sys._getframe(1), repr((seed, named)))
        return cls.its(*seed, **named)

    def __instancecheck__(cls, it: object) -> bool:
        return isinstance(it, cls.its)


@contextmanager
def _numpys_noted(package: str, note: Callable[[FrameType, Any], None]) -> Iterator[None]:
    """Note with what a package seeds NumPy's generators, also by names that it has imported."""
    import numpy.random

    stands: dict[int, type] = {}
    for name in NUMPYS:
        its = getattr(numpy.random, name)
        bases = (its,) if isinstance(its, type) else ()
        stands[id(its)] = _Noting(name, bases, {"its": staticmethod(its), "note": note})
    own = [each for name, each in sys.modules.items() if name.partition(".")[0] == package]
    with ExitStack() as stack:
        for module in (numpy.random, *own):
            for name, value in list(vars(module).items()):
                if id(value) in stands:
                    stack.enter_context(patch.object(module, name, stands[id(value)]))
        yield
