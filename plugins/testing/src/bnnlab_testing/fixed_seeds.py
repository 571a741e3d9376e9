"""Other seeds in the place of those that code gives its random generators."""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from bnnlab import seeds

THROUGH = {__name__, seeds.__name__}
"""Modules whose callers are said to seed what they seed."""


@contextmanager
def others(made: type) -> Iterator[dict[str, None]]:
    """Add 1 to the seed of each generator of torch, NumPy or Python that is made inside.

    It is so in the packages of a class and its bases, the core left out.

    Yields:
        Where they are made, `file.py:line`.
    """
    places, default_rng = dict[str, None](), np.random.default_rng
    packages = {each.__module__.partition(".")[0] for each in made.__mro__} - {"bnnlab"}

    def changed(seed: Any) -> Any:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_globals.get("__name__") in THROUGH:
            frame = frame.f_back
        its = frame.f_globals.get("__name__", "").partition(".")[0] in packages
        if not its or not isinstance(seed, int | list | np.ndarray):
            return seed
        places[f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"] = None
        return (np.asarray(seed) + 1).tolist()

    class Torchs(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            return super().manual_seed(changed(seed))

    class Pythons(random.Random):
        def __init__(self, seed: Any = None) -> None:
            super().__init__(changed(seed))

    class Numpys(np.random.RandomState):
        def __init__(self, seed: Any = None) -> None:
            super().__init__(changed(seed))

    def newer(seed: Any = None) -> np.random.Generator:
        return default_rng(changed(seed))

    stands: dict[Any, Any] = {
        torch.Generator: Torchs,
        random.Random: Pythons,
        np.random.RandomState: Numpys,
        default_rng: newer,
    }
    own = [it for name, it in [*sys.modules.items()] if name.partition(".")[0] in packages]
    with ExitStack() as stack:
        for module in (torch, random, np.random, *own):
            for name, value in [*vars(module).items()]:
                for it, stand in stands.items():
                    if value is it:
                        stack.enter_context(patch.object(module, name, stand))
        yield places
