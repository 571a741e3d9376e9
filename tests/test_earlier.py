"""What bnnlab 0.1.0 made before its modules had rooms still works: wheels, run folders."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from textwrap import indent

import pytest

import bnnlab
from bnnlab.deprecation import Deprecated
from bnnlab.engine.preparing import prepare
from bnnlab.errors import UsageError
from bnnlab.moved import HOMES
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder
from bnnlab_testing.pytest_plugin import MakePlugin

EARLIER = Path(__file__).parent / "earlier"
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was said before a test."""
    monkeypatch.setattr("bnnlab.deprecation._said", set())


@pytest.mark.parametrize("name", HOMES)
def test_every_module_of_before_is_found_with_a_warning_that_names_its_home(name: str) -> None:
    before = importlib.import_module(f"bnnlab.{name}")
    home = importlib.import_module(f"bnnlab.{HOMES[name][0]}")
    public = [each for each, value in vars(home).items() if value.__class__ is type]
    attribute = next(each for each in [*public, *vars(home)] if not each.startswith("_"))
    is_public = getattr(bnnlab, attribute, None) is getattr(home, attribute)
    said = "bnnlab" if is_public else home.__name__
    with pytest.warns(Deprecated, match=f"import {attribute} from {said}$"):
        assert getattr(before, attribute) is getattr(home, attribute)


def test_a_module_of_before_has_no_more_than_it_had() -> None:
    from bnnlab import latent

    with pytest.raises(AttributeError, match=r"'bnnlab\.latent' has no attribute 'nothing'"):
        latent.nothing  # noqa: B018
    with pytest.raises(ModuleNotFoundError, match=r"bnnlab\.nowhere"):
        importlib.import_module("bnnlab.nowhere")


def test_a_module_of_before_leaves_what_has_its_name_now() -> None:
    importlib.import_module("bnnlab.keeping")
    with bnnlab.keeping():
        pass


def test_an_entry_module_with_old_imports_loads_and_is_told_the_public_names(
    make_plugin: MakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    old = "from bnnlab.components import Component, Kind\nfrom bnnlab.hookspecs import hookimpl\n"
    make_plugin("acme", f"{old}\n@hookimpl\ndef bnnlab_components():\n    return []")
    (acme,) = (each for each in PluginHost().plugins if each.distribution == "acme")
    assert acme.error is None
    for module, name in (("components", "Kind"), ("hookspecs", "hookimpl")):
        said = f"bnnlab.{module}.{name}, which bnnlab 0.4 removes: import {name} from bnnlab\n"
        assert f"acme/acme warned while loading: acme uses {said}" in caplog.text


def test_a_package_that_is_a_distribution_now_is_found_or_missed_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    testing = importlib.import_module("bnnlab.testing")
    with pytest.warns(Deprecated, match="import ModelContract from bnnlab_testing"):
        assert testing.ModelContract
    weights = importlib.import_module("bnnlab.weights")
    with pytest.warns(Deprecated, match="import flipped from bnnlab_analysis.weights"):
        assert weights.flipped
    monkeypatch.setattr("bnnlab.moved.find_spec", lambda _: None)
    for name, home in (("plots", "plots"), ("uncertainty", "analysis")):
        monkeypatch.delitem(sys.modules, f"bnnlab.{name}", raising=False)
        with pytest.raises(ModuleNotFoundError, match=f"`bnn install {home}`"):
            importlib.import_module(f"bnnlab.{name}")


OF_BEFORE = """
import bnnlab
from bnnlab.registry.host import PluginHost

host = PluginHost()
assert {p.status for p in host.plugins} == {"ok"}, [p.error for p in host.plugins]
for plugin, component in host.components():
    host.load(plugin, component)
for rule, optimizer in (
    ("dfa", "meta"), ("bp", {"name": "ewc", "base": "adam"}), ("eqprop", "bop"), ("bp", "bimu")
):
    small = {"model": {"hidden": [16]}, "stream": {"name": "permuted-digits", "tasks": 1}}
    result = bnnlab.run(small, host=host, rule=rule, optimizer=optimizer, epochs=1)
    assert result.status == "complete"
print(len(host.plugins))
"""


@pytest.mark.slow  # a process that imports torch
def test_the_wheels_of_before_load_and_run(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "bnnlab" not in package.name or package.name.startswith("bnnlab-"):
            (site / package.name).symlink_to(package)
    wheels = sorted((EARLIER / "wheels").iterdir())
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(site)
    paths = os.pathsep.join([str(ROOT / "core"), str(site)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "default"}

    done = subprocess.run(
        [sys.executable, "-S", "-c", OF_BEFORE],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(wheels)


OF_THE_GUIDE = """
from pathlib import Path

import bnnlab
from bnnlab.cli import main
from bnnlab.registry.host import PluginHost

host = PluginHost()
(acme,) = (plugin for plugin in host.plugins if plugin.distribution == "bnnlab-acme")
assert acme.status == "ok", acme.error
for component in acme.components:
    host.load(acme, component)
turned = {"name": "turned-digits", "tasks": 2}
blocks = {"name": "blocknet", "channels": 4}
for name, rule, optimizer, model, stream in (
    ("one", "acme-review", "acme-lookahead", blocks, turned),
    ("two", "acme-clip", "acme-pull", "pair", turned),
    ("three", "dfa", "acme-flip", blocks, turned),
    ("four", "bp", "acme-drift", "pair", turned),
    ("five", "bp", "acme-momentum", "pair", "acme-progress"),
):
    seen = {"probe": "acme-patience", "track": "acme-table"} if name == "one" else {}
    made = {"rule": rule, "optimizer": optimizer, "model": model, "stream": stream}
    result = bnnlab.run({**made, **seen}, out="runs", name=name, epochs=1, host=host)
    assert result.status == "complete", name
    assert len(Path("runs", name, "epochs.csv").read_text().splitlines()) == 1 + len(result.tasks)
    assert ("acme_lowest_loss" in result) == bool(seen)
    assert main(["run", "--resume", f"runs/{name}", "--quiet"]) == 0
lines = Path("runs/one/metrics.jsonl").read_text().splitlines()
assert len(Path("runs/one/table.csv").read_text().splitlines()) == len(lines)
Path("sweep.toml").write_text("epochs = 1\\n[sweep]\\nseeds = 2\\n")
assert main(["acme-best", "runs/one", "runs/two"]) == 0
assert main(["sweep", "sweep.toml", "--engine", "acme-alone", "--quiet"]) == 0
"""


@pytest.mark.slow  # processes that import torch
def test_the_guides_plugin_of_an_earlier_release_loads_and_runs(tmp_path: Path) -> None:
    """Every kind of component, a command and an observer, by the interface of that release."""
    site = tmp_path / "site"
    for wheel in (EARLIER / "guide").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    script = tmp_path / "use_it.py"  # a file: processes begin by importing it
    script.write_text(f"if __name__ == '__main__':\n{indent(OF_THE_GUIDE, '    ')}")
    paths = os.pathsep.join([str(site), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "removes" not in done.stderr, "it uses what a later release removes"


@pytest.mark.parametrize("name", ["training", "evaluation", "fresh", "posterior"])
def test_a_run_that_stopped_before_is_continued(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(EARLIER / "stopped" / name, folder)
    before = (folder / "metrics.jsonl").read_text().splitlines()
    host = PluginHost()
    config = resolve(host, [read_config(folder / "run.toml")])
    run = prepare(host, config, RunFolder(folder), allow_changed_versions=True)
    result = run.run()
    assert result.status == "complete"
    whole = "posterior" if name == "posterior" else "whole"
    expected = json.loads((EARLIER / "stopped" / f"{whole}.json").read_text())
    found = json.loads((folder / "result.json").read_text())
    assert found["protocol"] == expected["protocol"]
    assert expected.keys() <= found.keys()
    learned = sum(json.loads(line)["event"] == "evaluation" for line in before)
    for key in ("accuracy", "flips", "diagnostics", "diagnosis"):
        assert found[key][:learned] == expected[key][:learned], key
    assert [len(found[key]) for key in ("accuracy", "flips")] == [3, 3]
    assert len(found["fresh_accuracy"]) == len(expected["fresh_accuracy"])
    assert found["uncertainty"].keys() >= expected["uncertainty"].keys()
    assert (folder / "metrics.jsonl").read_text().splitlines()[: len(before)] == before


def test_a_run_whose_base_is_text_is_continued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(EARLIER / "stopped" / "consolidated", folder)
    host = PluginHost()
    settings = read_config(folder / "run.toml")
    run = prepare(host, resolve(host, [settings]), RunFolder(folder), allow_changed_versions=True)
    assert "base_options is deprecated" in caplog.text
    assert run.made.optimizer.base.state[run.made.optimizer.learned()[0]]["m"] == 2.0
    result = run.run()
    assert (result.status, result.protocol) == ("complete", "ee48177ab265d022")
    assert result.accuracy[0] == [0.5916666666666667, 0.24444444444444444]
    other = {"optimizer": {"base": "adam", "base_options": []}}
    with pytest.raises(UsageError, match=r"does not go with its checkpoint.*\(optimizer\)"):
        prepare(host, resolve(host, [settings, other]), RunFolder(folder))


def test_a_model_of_before_is_loaded() -> None:
    model = bnnlab.load(EARLIER / "stopped" / "training")
    assert all(bool((p.abs() == 1).all()) for p in model.binary_parameters().values())
