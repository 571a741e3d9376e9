"""A plugin with claims, and `bnn`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from claim_files import CLAIM, RECIPE, SOURCE
from engines import Here

from bnnlab.cli import main
from bnnlab_testing.pytest_plugin import MakePlugin

Acme = Callable[..., Path]


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Bnn = Callable[..., Answer]


@pytest.fixture
def bnn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bnn:
    """Return what calls a command in this process, before a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *words: Answer(main([*map(str, words)]), *capsys.readouterr())


@pytest.fixture
def document(bnn: Bnn) -> Callable[..., Any]:
    """Return the JSON document that a command prints."""
    return lambda *words: json.loads(bnn(*words, "--json").out)


@pytest.fixture
def acme(make_plugin: MakePlugin, tmp_path: Path) -> Acme:
    """Return what installs the plugin `acme`, with the texts of its claims and measured values."""
    package = tmp_path / "site-packages" / "acme"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").write_text(SOURCE)
    (package / "recipes" / "tiny.toml").write_text(RECIPE)
    installed = False

    def install(claims: str = CLAIM, measured: str | None = None) -> Path:
        nonlocal installed
        (package / "claims.toml").write_text(claims)
        if measured is not None:
            (package / "measured.toml").write_text(measured)
        if not installed:
            make_plugin("acme", SOURCE)
            installed = True
        return package

    return install


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carry studies out in this process."""
    monkeypatch.setattr("bnnlab_claims.commands.reproduce.make_engine", lambda *_: Here())
