"""The check of a plugin's claims, on claims that are right and wrong."""

from pathlib import Path

import pytest

from bnnlab.registry.discovery import Plugin, find_plugins
from bnnlab_testing import CommandContract
from bnnlab_testing.pytest_plugin import MakePlugin

SOURCE = """
from bnnlab import Command, hookimpl

@hookimpl
def bnnlab_commands():
    return [Command("acme-thing", "acme.commands:thing", "A thing.")]
"""
CLAIM = """
[tiny]
of = ["rule:bp"]
says = "Accuracy on the digits."
source = "Doe 2020"
place = "Table 1"
measure = "average_accuracy"
full = { seeds = 1 }
"""


class OfAThing(CommandContract):
    name = "acme-thing"


def check(make_plugin: MakePlugin, folder: Path, claims: str, recipe: str = "epochs = 1") -> None:
    package = folder / "site-packages" / "acme"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").write_text(SOURCE)
    (package / "recipes" / "tiny.toml").write_text(recipe)
    (package / "claims.toml").write_text(claims)
    make_plugin("acme", SOURCE)
    OfAThing().test_its_claims_can_be_measured()


def test_claims_that_are_right_pass(make_plugin: MakePlugin, tmp_path: Path) -> None:
    check(make_plugin, tmp_path, CLAIM)


@pytest.mark.parametrize(
    ("claims", "recipe", "said"),
    [
        (CLAIM.replace("says", "say"), "epochs = 1", "acme/tiny: say: no such entry"),
        (CLAIM.replace("tiny", "tine"), "epochs = 1", "unknown recipe 'acme/tine'"),
        (CLAIM, "epoch = 1", "acme/tiny, full: epoch: no such setting"),
        ("[tiny", "epochs = 1", "claims.toml is not valid TOML"),
    ],
)
def test_claims_that_are_wrong_fail(
    make_plugin: MakePlugin, tmp_path: Path, claims: str, recipe: str, said: str
) -> None:
    with pytest.raises(AssertionError, match=said):
        check(make_plugin, tmp_path, claims, recipe)


def test_without_what_reads_them_they_are_not_checked(
    make_plugin: MakePlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without() -> list[Plugin]:
        return [each for each in find_plugins() if each.distribution != "bnnlab-claims"]

    monkeypatch.setattr("bnnlab.registry.host.find_plugins", without)
    with pytest.raises(pytest.skip.Exception, match="comes with bnnlab-claims"):
        check(make_plugin, tmp_path, CLAIM)
