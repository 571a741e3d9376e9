"""The tests of a plugin that is not installed are skipped, with what installs it.

The environment is active, as messages name a program that is not on the path by its place.
"""

import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn

import pytest
import tomli

PLUGINS = Path(__file__).parent / "plugins"

os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What a test writes need not outlive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


class NotInstalled(pytest.Dir):
    """The folder of a plugin that this environment does not have: none of it is imported."""

    def collect(self) -> NoReturn:
        """Skip it, and say why."""
        pytest.skip(f"{_name(self.path)} is not installed: make test-{self.path.name}")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Return what stands for the folder of a plugin that is not installed."""
    if path.parent != PLUGINS or not path.joinpath("pyproject.toml").exists():
        return None
    try:
        distribution(_name(path))
    except PackageNotFoundError:
        return NotInstalled.from_parent(parent, path=path)
    return None


def _name(folder: Path) -> str:
    project = tomli.loads((folder / "pyproject.toml").read_text())["project"]
    name: str = project["name"]
    return name
