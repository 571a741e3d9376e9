"""Isolation: what the user of this machine configured does not reach the tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def config_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the one folder for all tests: a new one for each takes longer than many of them."""
    return tmp_path_factory.mktemp("config")


@pytest.fixture(autouse=True)
def user_config(config_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of the user's registry.toml, empty; subprocesses see it too."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config_home))
    monkeypatch.delenv("BNNLAB_DISABLE", raising=False)
    from bnnlab.registry.index import user_file

    folder = user_file().parent
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)
