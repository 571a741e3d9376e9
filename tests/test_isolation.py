"""A run that is isolated imports the plugins that it names, and no other."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bnnlab.cli import main
from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import PluginStatus
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import load_index
from bnnlab.settings.isolation import named_plugins, only
from bnnlab_testing.pytest_plugin import MakePlugin

SOURCE = """
from bnnlab import Component, Kind, hookimpl

@hookimpl
def bnnlab_components():
    target, given = "bnnlab_backprop.rule:Backpropagation", frozenset({"gradients"})
    return [Component(Kind.RULE, "acme-bp", target, "A thing.", "Nobody, 2020", provides=given)]
"""
TINY = ("run", "--set", "model.hidden=[4]", "--epochs", "1", "--device", "cpu", "--json")
ADAM = ("--optimizer", "adam", "--stream", "digits")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = main([*TINY, "--out", "none", *words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def acme(make_plugin: MakePlugin) -> None:
    """Install two plugins that are not in the registry."""
    make_plugin("acme-one", SOURCE)
    make_plugin("acme-two", SOURCE.replace("acme-bp", "acme-other"))


@pytest.mark.usefixtures("acme")
def test_an_isolated_run_imports_no_plugin_that_it_does_not_name(run: Run) -> None:
    code, out, err = run(*ADAM, "--rule", "acme-one/acme-bp", "--isolated")
    assert code == 0, err
    assert json.loads(out)["components"]["rule"]["distribution"] == "acme-one"
    assert "acme_one" in sys.modules
    assert "acme_two" not in sys.modules


@pytest.mark.usefixtures("acme")
def test_a_curated_name_needs_no_distribution(run: Run) -> None:
    code, out, err = run(*ADAM, "--rule", "bp", "--isolated")
    assert code == 0, err
    assert json.loads(out)["components"]["rule"]["distribution"] == "bnnlab-backprop"
    assert not {"acme_one", "acme_two"} & {*sys.modules}


@pytest.mark.usefixtures("acme")
def test_a_name_that_the_registry_does_not_know_is_refused_without_importing(run: Run) -> None:
    code, out, err = run(*ADAM, "--rule", "acme-bp", "--isolated")
    assert (code, out) == (2, "")
    assert "registry.toml knows no rule 'acme-bp'" in err
    assert "Say its distribution: DISTRIBUTION/acme-bp" in err
    assert not {"acme_one", "acme_two"} & {*sys.modules}


def test_a_distribution_that_is_not_installed_is_refused_by_name(run: Run) -> None:
    code, _, err = run(*ADAM, "--rule", "acme-one/acme-bp", "--isolated")
    assert code == 2
    assert "BNNLAB_ONLY or --isolated names plugin 'acme-one', which is not installed" in err


def test_the_plugins_of_what_a_component_is_made_of_are_loaded_too() -> None:
    usual = named_plugins(load_index(), [{"optimizer": "ewc"}])
    assert {"bnnlab-consolidation", "bnnlab-backprop"} <= usual
    assert "bnnlab-metaplasticity" not in usual
    for base in ("meta", {"name": "ewc", "base": {"name": "meta"}}):
        found = named_plugins(load_index(), [{"optimizer": {"name": "ewc", "base": base}}])
        assert "bnnlab-metaplasticity" in found
        assert "bnnlab-backprop" not in found
    with pytest.raises(UsageError, match=r"knows no optimizer 'met', .* Did you mean 'meta'"):
        named_plugins(load_index(), [{"optimizer": {"name": "ewc", "base": "met"}}])


def test_an_isolated_run_is_made_with_what_its_optimizer_goes_around(run: Run) -> None:
    words = ("--rule", "dfa", "--optimizer", "ewc", "--stream", "split-digits", "--isolated")
    code, _, err = run(*words)
    assert code == 0, err


@pytest.mark.usefixtures("acme")
def test_an_isolated_recipe_loads_its_plugin_and_those_that_it_names(run: Run) -> None:
    index = load_index()
    code, _, err = run("--recipe", "acme_none/x", "--isolated")
    assert code == 2
    assert "plugin 'acme-none'" in err
    with only(["metaplasticity"]):
        loaded = [each.name for each in PluginHost().plugins if each.status is PluginStatus.OK]
    assert loaded == ["metaplasticity"]
    assert not {"acme_one", "acme_two"} & {*sys.modules}
    assert named_plugins(index, [{"rule": "acme-one/y:z/z"}]) >= {"acme-one", "bnnlab-mlp"}


@pytest.mark.usefixtures("acme")
def test_bnnlab_only_keeps_all_others_from_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNLAB_ONLY", "Acme_One, mlp")
    host = PluginHost()
    loaded = {each.distribution for each in host.plugins if each.status is PluginStatus.OK}
    assert loaded == {"acme-one", "bnnlab-mlp"}
    assert "acme_two" not in sys.modules
    message = "with bnnlab-dfa, which is disabled: not named by BNNLAB_ONLY or --isolated"
    with pytest.raises(UsageError, match=message):
        host.resolve(Kind.RULE, "dfa")


def test_a_name_in_bnnlab_only_that_nothing_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNLAB_ONLY", "bnnlab-dfaa")
    with pytest.raises(UsageError, match=r"'bnnlab-dfaa'.* is not installed\. Did you mean 'bnnl"):
        PluginHost()
    monkeypatch.setenv("BNNLAB_ONLY", " , ")
    assert {each.status for each in PluginHost().plugins} == {PluginStatus.OK}


def test_an_isolated_run_is_continued_with_the_plugins_it_was_begun_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, *ADAM, "--rule", "bp", "--isolated", "--out", str(tmp_path), "--name", "mine"]
    assert main(words) == 0
    assert main(["run", "--resume", str(tmp_path / "mine"), "--isolated", "--json"]) == 0
    plugins = json.loads((tmp_path / "mine" / "environment.json").read_text())
    assert "bnnlab-dfa" not in json.dumps(plugins)
    assert capsys.readouterr().out
