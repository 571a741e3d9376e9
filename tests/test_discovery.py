"""Damaged metadata and unmet requirements are shown, whosever they are, and stop nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bnnlab
from bnnlab.cli import main
from bnnlab.registry.discovery import Plugin, PluginStatus, find_plugins
from bnnlab.registry.host import PluginHost
from bnnlab.registry.requirements import unmet
from bnnlab_testing.pytest_plugin import MakePlugin

SOURCE = """
from bnnlab import Component, Kind, hookimpl

@hookimpl
def bnnlab_components():
    target, given = "bnnlab_backprop.rule:Backpropagation", frozenset({"gradients"})
    return [Component(Kind.RULE, "acme-bp", target, "A thing.", "Nobody, 2020", provides=given)]
"""
About = Callable[..., None]


@pytest.fixture
def info(make_plugin: MakePlugin, tmp_path: Path) -> Path:
    """Return the folder with the metadata of a plugin called acme-x."""
    make_plugin("acme-x", SOURCE)
    (folder,) = (tmp_path / "site-packages").glob("*.dist-info")
    return folder


@pytest.fixture
def about(info: Path) -> About:
    """Return what writes METADATA with more lines."""

    def write(*lines: str) -> None:
        more = "".join(f"{line}\n" for line in lines)
        text = f"Metadata-Version: 2.1\nName: acme-x\nVersion: 1.0\n{more}"
        (info / "METADATA").write_text(text, encoding="utf-8")

    return write


def acme() -> Plugin:
    (found,) = (each for each in find_plugins() if each.distribution == "acme-x")
    return found


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[bnnlab.v1]\nno equals sign\n", "its entry_points.txt cannot be read: "),
        (b"[bnnlab.v1]\nx = \xff\n", "its entry_points.txt cannot be read: UnicodeDecodeError"),
        ("[bnnlab.v1]\nx = acme_x\n".encode("utf-16"), "cannot be read: UnicodeDecodeError"),
        (b"bnnlab.v1]\nx = acme_x\n", "its entry_points.txt names bnnlab, but no plugin"),
        (b"[bnnlab.v1\nx = acme_x\n", "its entry_points.txt names bnnlab, but no plugin"),
        (b"\xef\xbb\xbf[bnnlab.v1]\nx = acme_x\n", "names bnnlab, but no plugin"),
        (b"[bnnlab.v1]\n", "its entry_points.txt names bnnlab, but no plugin"),
        (b"[bnnlab]\nx = acme_x\n", "its entry-point group is 'bnnlab'; it must be 'bnnlab.v1'"),
        (b"[bnnlab-v1]\nx = acme_x\n", "its entry-point group is 'bnnlab-v1'; it must be"),
        (b"[BNNLAB.V1]\nx = acme_x\n", "its entry-point group is 'BNNLAB.V1'; it must be"),
        (b"[bnnlab.v1]\nx = acme x!\n", "its entry point 'acme x!' is not a module"),
        (b"[bnnlab.v1]\nx = acme_x\nx = acme_y\n", "entry_points.txt has this name twice"),
        (b"[bnnlab.v2]\nx = acme_x\n", "made for plugin API v2; this core has v1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_malformed_list_of_entry_points_is_shown_and_stops_nothing(
    info: Path, content: bytes, fault: str
) -> None:
    (info / "entry_points.txt").write_bytes(content)
    host = PluginHost()
    (plugin,) = (each for each in host.plugins if each.distribution == "acme-x")
    assert plugin.status is PluginStatus.BROKEN
    assert fault in str(plugin.error)
    others = {each.status for each in host.plugins if each is not plugin}
    assert others == {PluginStatus.OK}


@pytest.mark.parametrize("text", ["[console_scripts]\nbnn = bnnlab.cli:main\n", "", "[other]\n["])
def test_a_distribution_that_names_no_group_of_ours_is_not_ours(info: Path, text: str) -> None:
    (info / "entry_points.txt").write_text(text)
    assert "acme-x" not in {each.distribution for each in find_plugins()}


@pytest.mark.parametrize("content", [None, b"", b"Name: \xff\n", b"Version: 1.0\n", b"Name: x\n"])
def test_damaged_or_missing_metadata_are_shown_by_the_folders_name(
    info: Path, content: bytes | None
) -> None:
    (info / "METADATA").unlink()
    if content is not None:
        (info / "METADATA").write_bytes(content)
    found = acme()
    assert found.name == "acme_x"
    assert str(found.error).startswith("its METADATA cannot be read: ")


def test_an_entry_point_that_is_no_module_is_loaded_like_one(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    its = """
class Its:
    @hookimpl
    def bnnlab_components(self):
        return bnnlab_components()

its = Its()
"""
    make_plugin("acme-x", SOURCE + its)
    (folder,) = (tmp_path / "site-packages").glob("*.dist-info")
    (folder / "entry_points.txt").write_text("[bnnlab.v1]\nx = acme_x:its\n")
    (plugin,) = (each for each in PluginHost().plugins if each.distribution == "acme-x")
    assert (plugin.status, plugin.package) == (PluginStatus.OK, "acme_x")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Requires-Dist: bnnlab>=99", ["requires bnnlab>=99; 0.1.0 is installed"]),
        ("Requires-Dist: BNNLab<0.1", ["requires BNNLab<0.1; 0.1.0 is installed"]),
        ("Requires-Dist: bnnlab>=0.1,<0.2", []),
        ("Requires-Dist: acme-none[x]>=1", ["requires acme-none>=1, which is not installed"]),
        ("Requires-Dist: acme-none; extra == 'plot'", []),
        ("Requires-Dist: acme-none; python_version < '3'", []),
        (
            "Requires-Dist: acme-none; python_version >= '3'",
            ["requires acme-none, which is not installed"],
        ),
        ("Requires-Dist: bnnlab[acme]", ["requires pytest>=999; "]),
        ("Requires-Dist: ===", ["has a requirement that cannot be read: '==='"]),
        ("Requires-Python: >=4", ["requires Python >=4; this is 3."]),
        ("Requires-Python: >=3.11", []),
    ],
)
def test_a_requirement_is_met_or_said(
    about: About, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: list[str]
) -> None:
    from importlib.metadata import PathDistribution, distribution

    from bnnlab.registry import requirements

    core = PathDistribution(tmp_path)
    (tmp_path / "METADATA").write_text(
        "Name: bnnlab\nVersion: 0.1.0\nRequires-Dist: pytest>=999; extra == 'acme'\n"
        "Requires-Dist: acme-none; extra == 'other'\n"
    )
    monkeypatch.setattr(
        requirements, "distribution", lambda name: core if name == "bnnlab" else distribution(name)
    )
    about(line)
    found = unmet("acme-x")
    assert len(found) == len(said)
    assert all(line.startswith(wanted) for line, wanted in zip(found, said, strict=True))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(words)
    return code, capsys.readouterr().out


@pytest.mark.parametrize("damaged", [False, True])
def test_list_plugins_and_doctor_show_it_and_the_doctor_says_no(
    about: About, info: Path, capsys: Any, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    about("Requires-Dist: bnnlab>=99")
    fault = "requires bnnlab>=99; 0.1.0 is installed"
    if damaged:
        (info / "entry_points.txt").write_text("[bnnlab.v1]\nno equals sign\n")
        fault = "its entry_points.txt cannot be read"
    code, out = told(capsys, "list-plugins", "--json")
    rows: list[dict[str, Any]] = json.loads(out)["plugins"]
    (row,) = (each for each in rows if each["distribution"] == "acme-x")
    assert code == 0
    assert fault in (row["error"] if damaged else row["unmet"][0])
    assert not any(each["unmet"] for each in rows if each is not row)
    assert fault.split()[-1] in told(capsys, "list-plugins")[1]
    code, out = told(capsys, "doctor")
    assert code == 1
    assert fault in out
    assert "No problem found" not in out
    assert f"{'Broken plugins' if damaged else 'Plugins with missing requirements'}: acme-x." in out


def test_a_run_with_a_plugin_whose_requirements_are_not_met_says_so_and_goes_on(
    about: About, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    about("Requires-Dist: bnnlab>=99")
    run: dict[str, Any] = {"optimizer": "adam", "stream": "digits", "epochs": 1, "device": "cpu"}
    run["model"] = {"name": "mlp", "hidden": [4]}
    result = bnnlab.run({**run, "rule": "acme-bp"}, out=tmp_path, name="run")
    assert result.status == "complete"
    message = "acme-x requires bnnlab>=99; 0.1.0 is installed"
    assert message in (tmp_path / "run" / "log.txt").read_text()
    assert message in caplog.text
    caplog.clear()
    bnnlab.run({**run, "rule": "bp"})
    assert not caplog.records
