from pathlib import Path

import pytest
import tomli

from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import PluginStatus
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import load_index, read_toml
from bnnlab.settings.layers import resolve

ROOT = Path(__file__).parents[1]


def test_the_registry_lists_the_plugins_of_this_repository() -> None:
    projects = [tomli.loads(path.read_text()) for path in ROOT.glob("plugins/*/pyproject.toml")]
    names = {
        each["project"]["name"]
        for each in projects
        if "bnnlab.v1" in each["project"].get("entry-points", {})
    }
    assert names == {entry.distribution for entry in load_index().plugins}


def test_the_registry_lists_what_the_plugins_answer() -> None:
    host = PluginHost()
    known = {entry.distribution: entry for entry in host.index.plugins}
    ours = [plugin for plugin in host.plugins if plugin.distribution in known]
    assert ours, "no plugin of this repository is installed"
    for plugin in ours:
        assert plugin.status is PluginStatus.OK, plugin.error
        entry = known[plugin.distribution]
        offers = sorted(map(str, plugin.components)) + sorted(map(str, plugin.commands))
        assert offers == list(entry.offers)
        assert plugin.name == entry.name


def test_the_defaults_are_a_run() -> None:
    config = resolve(PluginHost(), [])
    assert {str(choice) for choice in config.choices.values()} <= {
        offer for entry in load_index().plugins for offer in entry.offers
    }


def test_the_registry_finds_who_offers_a_component() -> None:
    index = load_index()
    entry = index.offering("rule:dfa")
    assert entry is not None
    assert entry.distribution == "bnnlab-dfa"
    assert index.offering("rule:nothing") is None
    assert {"bp", "dfa"} <= set(index.names(Kind.RULE))


@pytest.mark.parametrize(
    ("own", "distribution", "scale"),
    [
        ('rule = "bp"', "bnnlab-backprop", None),
        ("[rule]\nscale = 2.0", "bnnlab-dfa", 2.0),
        ('[rule]\nname = "dfa"\nscale = 3.0', "bnnlab-dfa", 3.0),
    ],
)
def test_the_users_defaults_come_before_the_curated_ones(
    user_config: Path, own: str, distribution: str, scale: float | None
) -> None:
    text = own.replace("[rule]", "[defaults.rule]")
    if not text.startswith("["):
        text = f"[defaults]\n{text}"
    (user_config / "registry.toml").write_text(text)
    choice = resolve(PluginHost(), []).choices[Kind.RULE]
    assert choice.plugin.distribution == distribution
    assert choice.options.get("scale") == scale


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("disabled = [", "is not valid TOML"),
        ("disable = []", "unknown key 'disable'"),
        ('disabled = "bnnlab-x"', "'disabled' must be a list"),
        ("defaults = 3", r"\[defaults\] a table"),
    ],
)
def test_a_damaged_users_registry_is_named(user_config: Path, text: str, words: str) -> None:
    file = user_config / "registry.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        load_index()
    assert str(file) in str(caught.value)


def test_a_users_registry_that_is_no_text_is_named(user_config: Path) -> None:
    (user_config / "registry.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"registry\.toml is not valid TOML"):
        load_index()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nowhere\.toml"):
        read_toml(tmp_path / "nowhere.toml")
