"""Plugins in one file: found by every command, known by their content, refused if broken."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bnnlab
from bnnlab import PluginHost, UsageError
from bnnlab.registry.discovery import Plugin, PluginStatus
from bnnlab.registry.one_file import FILES

SOURCE = '''
from typing import Annotated

from bnnlab import AtLeast, Component, Kind, LearningRule, hookimpl


class Soft(LearningRule):
    """Softened.

    Args:
        temperature: What logits are divided by.
    """

    def __init__(self, temperature: Annotated[float, AtLeast(0.5)] = 2.0):
        super().__init__()
        self.temperature = temperature

    def differentiate(self, model, batch):
        logits = model(batch.inputs)
        loss = batch.loss(logits / self.temperature, batch.targets)
        loss.backward()
        return loss, logits


@hookimpl
def bnnlab_components():
    target, given = "soft:Soft", frozenset({"gradients"})
    return [Component(Kind.RULE, "soft", target, "Softened.", "an example", provides=given)]
'''
TINY = ("run", "--rule", "soft", "--stream", "digits", "--set", "model.hidden=[4]", "--epochs", "1")


@pytest.fixture
def soft(own_folder: Path) -> Iterator[Path]:
    """Return the file of a plugin, in the working folder."""
    file = own_folder / "soft.py"
    file.write_text(SOURCE)
    yield file
    sys.modules.pop("soft", None)


def only(host: PluginHost) -> Plugin:
    (plugin,) = (each for each in host.plugins if each.file)
    return plugin


def test_every_command_takes_a_file_wherever_it_is_said(
    soft: Path, bnn: Any, document: Any
) -> None:
    told = bnn("--plugin", "soft.py", "info", "rule", "soft")
    assert told == bnn("info", "rule", "soft", "--plugin=soft.py")
    assert "temperature = 2.0  float, at least 0.5" in told.out
    assert f"bnn --plugin {soft} run --rule soft" in told.out
    assert bnn("--plugin", "soft.py", "check", "--rule", "soft", "--optimizer", "adam").code == 0
    row = document("list-plugins", "--plugin", "soft.py")["plugins"][-1]
    assert (row["distribution"], row["status"]) == ("soft.py", "ok")
    assert [it["name"] for it in row["components"]] == ["soft"]
    assert FILES not in os.environ
    assert "unknown rule 'soft'" in bnn("info", "rule", "soft").err


def test_a_run_knows_the_file_by_its_content(soft: Path, bnn: Any) -> None:
    """It goes on with the same file, is told of another, and says which it lacks."""
    made = bnn("--plugin", "soft.py", *TINY, "--name", "one", "--json")
    assert made.code == 0, made.err
    rule = json.loads(made.out)["components"]["rule"]
    assert rule == {"name": "soft", "distribution": "soft.py", "version": only(host(soft)).version}
    assert 'name = "soft.py/soft"' in Path("runs/one/run.toml").read_text()
    again = ("run", "--resume", "runs/one", "--json")
    lacking = bnn(*again)
    assert lacking.code == 2
    assert "rule 'soft' is in the file soft.py. Say where it is: bnn --plugin PATH/soft.py" in (
        lacking.err
    )
    assert json.loads(bnn("--plugin", "soft.py", *again).out)["accuracy"]
    soft.write_text(SOURCE.replace("an example", "another example"))
    changed = bnn("--plugin", "soft.py", *again)
    assert changed.code == 2
    assert "was begun with other versions: soft.py" in changed.err
    allowed = bnn("--plugin", "soft.py", *again, "--allow-changed-versions")
    assert [*json.loads(allowed.out)["changed_versions"]] == ["soft.py"]


def host(*files: Path, **more: Any) -> PluginHost:
    return PluginHost(files=files, **more)


def test_python_takes_files_and_loads_each_content_once(soft: Path) -> None:
    one, same = host(soft), host(soft, soft)
    assert only(one).status is PluginStatus.OK
    module = sys.modules["soft"]
    assert only(same).components == only(one).components
    assert sys.modules["soft"] is module
    found = bnnlab.run(
        rule={"name": "soft", "temperature": 3},
        model={"name": "mlp", "hidden": [4]},
        stream="digits",
        epochs=1,
        host=one,
    )
    assert found.components["rule"]["distribution"] == "soft.py"
    soft.write_text(SOURCE.replace("= 2.0", "= 4.0"))
    plugin, component = host(soft).resolve(bnnlab.Kind.RULE, "soft.py/soft")
    assert component.options[0].default == 4.0
    assert plugin.version != only(one).version
    assert sys.modules["soft"] is not module


def test_files_are_loaded_whatever_bnnlab_only_names_but_can_be_disabled(
    soft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNNLAB_ONLY", "bnnlab-backprop")
    monkeypatch.setenv(FILES, str(soft))
    assert only(PluginHost()).status is PluginStatus.OK
    assert only(PluginHost(disabled=["soft"])).status is PluginStatus.DISABLED
    monkeypatch.setenv("BNNLAB_DISABLE", "soft.py")
    assert only(PluginHost()).status is PluginStatus.DISABLED


BROKEN: list[tuple[str, str, str]] = [
    ("soft", "x = 1 / 0", "ZeroDivisionError: division by zero"),
    ("soft", "def f(:", "SyntaxError: "),
    ("soft", "x = 1", "TypeError: implements no hook"),
    ("soft", "raise SystemExit(3)", "SystemExit: 3"),
    ("my-soft", SOURCE, "a module's name has letters, digits and '_': rename the file"),
    ("json", SOURCE, "there is another module 'json': rename the file"),
    ("bnnlab_backprop", SOURCE, "there is another module 'bnnlab_backprop'"),
]


@pytest.mark.parametrize(("name", "source", "error"), BROKEN)
def test_a_file_that_cannot_be_loaded_is_listed_and_an_error_of_all_else(
    name: str, source: str, error: str, own_folder: Path, bnn: Any, document: Any
) -> None:
    before = sys.modules.get(name)
    (own_folder / f"{name}.py").write_text(source)
    row = document("--plugin", f"{name}.py", "list-plugins")["plugins"][-1]
    assert row["status"] == "broken"
    assert error in row["error"]
    assert name == "soft" or sys.modules.get(name) is before
    for words in (TINY, ("info", "rule", "bp"), ("nothing",)):
        answer = bnn("--plugin", f"{name}.py", *words)
        assert answer.code == 2
        assert f"{name}.py cannot be loaded: {row['error']}" in answer.err
    with pytest.raises(UsageError, match=r"cannot be loaded"):
        host(own_folder / f"{name}.py")
    assert host(own_folder / f"{name}.py", disabled=[name]).plugins
    sys.modules.pop("soft", None)


def test_what_is_no_file_of_python_is_refused(soft: Path, bnn: Any, tmp_path: Path) -> None:
    assert "cannot read the plugin" in bnn("--plugin", "nothing.py", "info").err
    text = bnn("--plugin", "soft.txt", "info")
    assert (text.code, "is a Python file, NAME.py" in text.err) == (2, True)
    assert "--plugin: name a file" in bnn("info", "--plugin").err
    (tmp_path / "bad.py").write_text("x = 1 / 0")
    doctor = bnn("--plugin", str(tmp_path / "bad.py"), "doctor")
    assert (doctor.code, "Broken plugins: bad.py." in doctor.out) == (1, True)
    two = bnn("--plugin", os.pathsep.join(("a", "soft.py")), "info")
    assert (two.code, "cannot be in a path" in two.err) == (2, True)
    other = tmp_path / "other" / "soft.py"
    other.parent.mkdir()
    other.write_text(SOURCE)
    with pytest.raises(UsageError, match=r"two files of plugins are called soft\.py"):
        host(soft, other)


@pytest.mark.slow  # worker processes
def test_worker_processes_of_a_study_load_the_file(soft: Path, bnn: Any) -> None:
    Path("study.toml").write_text(
        'rule = "soft"\nstream = "digits"\nepochs = 1\n[model]\nhidden = [4]\n'
        '[sweep]\nseeds = 2\n[sweep.grid]\n"rule.temperature" = [1.0, 2.0]\n'
    )
    answer = bnn("--plugin", str(soft), "sweep", "study.toml", "--jobs", "2", "--json")
    assert answer.code == 0, answer.err
    assert len(json.loads(answer.out)["runs"]) == 4
