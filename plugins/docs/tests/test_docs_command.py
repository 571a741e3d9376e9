"""`bnn docs` opens the site, or says where it is, or why there is none."""

from pathlib import Path

import pytest

from bnnlab.cli import main
from bnnlab_docs import commands


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that a browser is asked to open; the site is an empty page."""
    home = tmp_path / "a folder" / "index.html"
    home.parent.mkdir()
    home.touch()
    addresses: list[str] = []
    monkeypatch.setattr(commands, "HOME", home)
    monkeypatch.setattr("webbrowser.open", addresses.append)
    return addresses


def test_it_opens_the_first_page_and_prints_where_it_is(
    opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["docs"]) == 0
    assert opened == [commands.HOME.as_uri()]
    assert capsys.readouterr().out == f"{commands.HOME}\n"


def test_it_can_print_alone(opened: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", "--print"]) == 0
    assert opened == []
    assert capsys.readouterr().out == f"{commands.HOME}\n"


def test_without_a_site_it_says_what_builds_one(
    opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    commands.HOME.unlink()
    assert main(["docs"]) == 2
    assert "no built site" in (said := capsys.readouterr().err)
    assert "make docs" in said
    assert opened == []
