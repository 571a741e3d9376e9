"""Isolation: what the user of this machine configured does not reach the tests."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def user_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's registry.toml, empty; subprocesses see it too."""
    home = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.delenv("BNNLAB_DISABLE", raising=False)
    from bnnlab.registry.index import user_file

    user_file().parent.mkdir(parents=True, exist_ok=True)
    return user_file().parent
