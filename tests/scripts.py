"""The scripts of the folder benchmarks, as modules. They are in the repository alone."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    """Import a script, or a module of what it imports from its folder; skip the tests without."""
    if not FOLDER.exists():
        pytest.skip("the scripts are in the repository alone", allow_module_level=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return importlib.import_module(name)
