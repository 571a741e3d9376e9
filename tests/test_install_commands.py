"""`bnn install` and `bnn uninstall`: what uv and pip are told. A script stands for either."""

import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wheels

from bnnlab.registry import requirements

PLUGINS = Path(__file__).parents[1] / "plugins"
Bnn = Callable[..., Any]

pytestmark = [
    pytest.mark.usefixtures("own_folder"),
    pytest.mark.skipif(sys.platform == "win32", reason="the scripts are of a POSIX shell"),
]

SCRIPT = """#!/bin/sh
PATH=/bin:/usr/bin
printf '%s\\n' "$@" > {log}
while [ $# -gt 0 ]; do
    [ "$1" = --constraint ] && cp "$2" {log}.pins
    shift
done
echo "its last words" >&2
exit {code}
"""


class Tool:
    """A script in the place of uv, or of a Python that has pip."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._log = folder, folder / "log"

    def be(self, name: str, code: int = 0, script: str = SCRIPT) -> None:
        """Write the script."""
        self.folder.mkdir(exist_ok=True)
        file = self.folder / name
        file.write_text(script.format(log=shlex.quote(str(self._log)), code=code))
        file.chmod(0o755)

    @property
    def words(self) -> list[str]:
        """What it was called with last; empty if it was not called."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    @property
    def pins(self) -> set[str]:
        """The constraints that it was given."""
        return set(Path(f"{self._log}.pins").read_text().splitlines())


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Return what is found first, beside this Python; it is nothing yet.

    The sources have later versions than those that are installed.
    """
    there = {name: {"Version": "0"} for name in requirements.installed()}
    monkeypatch.setattr("bnnlab.registry.sources.installed", lambda: there)
    own = SimpleNamespace(executable=sys.executable, path=sys.path)
    monkeypatch.setattr("bnnlab.registry.trial.sys", own)  # imports are tried with the real one
    made = Tool(tmp_path / "own bin")
    monkeypatch.setattr(sys, "executable", str(made.folder / "python"))
    monkeypatch.setenv("PATH", str(made.folder))
    return made


@pytest.fixture
def no_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bnnlab.errors.PLUGINS", tmp_path / "nowhere")


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder where two plugins of somebody else are installed; both raise."""
    site = tmp_path / "site"
    raises = "raise SystemExit('imported')"
    for wheel in (
        wheels.write(tmp_path, "acme-base", needs=["bnnlab>=0.1"], source=raises),
        wheels.write(tmp_path, "acme-more", needs=["acme_base"], source=raises),
    ):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch, make_plugin: Callable[..., None]) -> None:
    """Install plugins whose entry points have other names than they have; nothing needs another."""
    make_plugin("bnnlab-miss", "", entry="twin")
    make_plugin("acme-twin", "", entry="twin")
    make_plugin("bnnlab-nodep", "", entry="entry-of-nodep")
    monkeypatch.setattr("bnnlab.registry.requirements.needing", lambda _: [])


# ------------------------------------------------------------------ what is installed, and how


def test_uv_is_given_the_folder_and_what_must_stay(bnn: Bnn, tool: Tool) -> None:
    tool.be("uv")
    answer = bnn("install", "dfa")
    assert (answer.code, answer.out) == (0, "Installed: bnnlab-dfa.\n")
    begin = ["pip", "install", "--python", sys.executable, "--no-sources", "--constraint"]
    file, *places = tool.words[len(begin) :]
    assert tool.words[: len(begin)] == begin
    assert places == ["--editable", str(PLUGINS / "dfa")]
    assert not Path(file).exists()
    assert {f"{name}=={version(name)}" for name in ("bnnlab", "torch", "numpy")} <= tool.pins
    assert not any(pin.startswith("bnnlab-dfa==") for pin in tool.pins)


def test_without_uv_pip_is_called(bnn: Bnn, tool: Tool) -> None:
    tool.be("python")
    assert bnn("install", "dfa").code == 0
    assert tool.words[:4] == ["-m", "pip", "install", "--disable-pip-version-check"]
    assert tool.words[-2:] == ["--editable", str(PLUGINS / "dfa")]
    assert bnn("uninstall", "report").code == 0
    assert tool.words == ["-m", "pip", "uninstall", "--yes", "bnnlab-report"]


def test_without_both_it_is_said_what_to_do(
    bnn: Bnn, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = {name: its for name, its in requirements.installed().items() if name != "pip"}
    monkeypatch.setattr(requirements, "installed", lambda: without)
    answer = bnn("install", "dfa")
    assert answer.code == 2
    assert "there is neither uv nor pip" in answer.err
    assert f"`{shlex.quote(sys.executable)} -m ensurepip`" in answer.err


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("dfa", "dfa"),
        ("bnnlab-dfa", "dfa"),
        ("Bnnlab_DFA", "dfa"),
        ("rule:drtp", "dfa"),
        ("drtp", "dfa"),
        ("optimizer:bimu", "bimu"),
        ("mobilenet_v2", "convnets"),
        ("plot", "plots"),
        ("testing", "testing"),
        ("runtime", "../runtime"),
        ("optuna[plot,postgresql]", "optuna[plot,postgresql]"),
    ],
)
def test_a_plugin_is_found_by_its_name_and_by_what_it_offers(
    name: str, folder: str, bnn: Bnn, tool: Tool
) -> None:
    tool.be("uv")
    words = shlex.split(bnn("install", name, "--dry-run").out)
    assert os.path.normpath(f"{PLUGINS}/{folder}") in words
    assert tool.words == [], "nothing is called"
    constraints = Path(words[words.index("--constraint") + 1])
    assert "torch==" in constraints.read_text(), "the command can be copied"
    constraints.unlink()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dffa", "no plugin is called 'dffa', and none is known to offer it. Did you mean 'dfa'?"),
        ("rule:bimu", "Did you mean 'optimizer:bimu'?"),
        ("rule:drtpp", "Did you mean 'rule:drtp'?"),
        ("torch", "no plugin is called 'torch'"),
        ("bnnlab", "bnnlab is the core, and is installed."),
        ("optuna[plots]", "bnnlab-optuna has no extra 'plots': it has plot, "),
        ("dfa[plot]", "bnnlab-dfa has no extra 'plot': it has none."),
        ("", "no plugin is called ''"),
        ("dfa[plot", "dfa[plot: "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    name: str, hint: str, bnn: Bnn, tool: Tool
) -> None:
    tool.be("uv")
    answer = bnn("install", name)
    assert (answer.code, answer.out) == (2, "")
    assert hint in answer.err
    assert not tool.words


def test_what_a_plugin_needs_of_ours_comes_from_the_same_place(
    bnn: Bnn, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.be("uv")
    monkeypatch.setattr("bnnlab.registry.sources.installed", dict)
    bnn("install", "plots[compare]", "tensorboard")
    places = [word for word in tool.words if word.startswith(str(PLUGINS))]
    named = [place.removeprefix(f"{PLUGINS}/") for place in places]
    assert named == ["plots[compare]", "studies", "tensorboard", "tracking"]


def test_what_is_installed_in_this_version_stays_as_it_is(
    bnn: Bnn, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.be("uv")
    monkeypatch.setattr("bnnlab.registry.sources.installed", requirements.installed)
    for words in (["dfa"], ["dfa", "--dry-run"]):
        answer = bnn("install", *words)
        assert (answer.code, answer.out, tool.words) == (0, "", [])
        assert "bnnlab-dfa is already installed. To install it anew: first `" in answer.err
    later = wheels.write(tmp_path / "dist", "bnnlab-dfa", "9.0")
    assert bnn("install", "dfa", "--find-links", "dist").code == 0
    assert f"bnnlab-dfa @ {later.as_uri()}" in tool.words
    wheels.write(tmp_path / "dist", "bnnlab-studies", version("bnnlab-studies"))
    answer = bnn("install", "dfa", "studies", "--find-links", "dist")
    assert answer.out == "Installed: bnnlab-dfa.\n"
    assert [word for word in tool.words if "studies" in word] == []


def test_what_is_installed_and_lacks_something_is_installed_again(
    bnn: Bnn, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.be("uv")
    monkeypatch.setattr("bnnlab.registry.sources.installed", requirements.installed)
    monkeypatch.setattr("bnnlab.registry.sources.unmet", lambda *_: ["requires acme"])
    assert bnn("install", "dfa").out == "Installed: bnnlab-dfa.\n"


# ------------------------------------------------------------------ wheels


def test_wheels_are_taken_as_files(bnn: Bnn, tool: Tool, tmp_path: Path) -> None:
    tool.be("uv")
    folder = tmp_path / "my wheels"
    wheels.write(folder, "bnnlab", "9.0")
    wheels.write(folder, "bnnlab-acme", "1.9")
    needs = ["bnnlab[acme]", "bnnlab-acme-base", "bnnlab-dfa", "numpy", "x; extra == 'more'"]
    newest = wheels.write(folder, "bnnlab-acme", "1.10", needs=needs)
    wheels.write(folder, "bnnlab-acme", "2.0", tag="cp27-none-any")
    base = wheels.write(folder, "bnnlab-acme-base")
    (folder / "bnnlab_acme-odd.whl").touch()
    assert bnn("install", "acme", "--find-links", "my wheels", "--offline").code == 0
    places = tool.words[tool.words.index("--constraint") + 2 :]
    named = [f"bnnlab-acme @ {newest.as_uri()}", f"bnnlab-acme-base @ {base.as_uri()}"]
    assert places == [*named, "--find-links", str(folder), "--no-index"]
    base.unlink()
    answer = bnn("install", "acme", "--find-links", "my wheels")
    assert answer.code == 2
    assert "there is no bnnlab-acme-base in the wheels of my wheels" in answer.err
    newest.write_text("no archive")
    assert "is no wheel that can be read" in bnn("install", "acme", "--find-links", "my wheels").err


def test_an_extra_of_the_core_is_taken_from_the_wheels_too(
    bnn: Bnn, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip would look up bnnlab-testing in an index, where it may be anybody's."""
    tool.be("uv")
    monkeypatch.setattr("bnnlab.registry.sources.installed", dict)
    wheel = wheels.write(tmp_path, "acme-rule", needs=["bnnlab[testing]>=0.1"])
    kit = wheels.write(tmp_path, "bnnlab-testing", "0.1.0")
    assert bnn("install", "acme-rule", "--find-links", ".").code == 0
    named = [f"acme-rule @ {wheel.as_uri()}", f"bnnlab-testing @ {kit.as_uri()}"]
    assert named == [word for word in tool.words if word.endswith(".whl")]


@pytest.mark.usefixtures("no_checkout")
def test_the_users_registry_says_where_wheels_are(
    bnn: Bnn, tool: Tool, tmp_path: Path, user_config: Path
) -> None:
    tool.be("uv")
    answer = bnn("install", "dfa")
    assert answer.code == 2
    assert "are on no package index yet" in answer.err
    assert "install NAME --find-links DIR`" in answer.err
    wheel = wheels.write(user_config / "wheels", "bnnlab-dfa", "0.1.5")
    (user_config / "registry.toml").write_text('source = "wheels"')
    assert bnn("install", "dfa").code == 0
    assert f"bnnlab-dfa @ {wheel.as_uri()}" in tool.words
    assert "there is no bnnlab-bop in the wheels of" in bnn("install", "bop").err
    (user_config / "registry.toml").write_text('source = "nowhere"')
    assert "nowhere is no folder" in bnn("install", "dfa").err
    (user_config / "registry.toml").write_text('source = "index"')
    assert bnn("install", "dfa[x]").code == 0
    assert tool.words[-1] == "bnnlab-dfa[x]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--find-links", "x", "--index"], "--find-links and --index: choose one."),
        (["--offline"], "--offline needs wheels: name their folder with --find-links DIR."),
        (["--find-links", "x"], "x is no folder."),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], message: str, bnn: Bnn) -> None:
    answer = bnn("install", "dfa", *words)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err


# ------------------------------------------------------------------ failing


def test_a_failure_ends_with_the_last_words_and_1(
    tool: Tool, capfd: pytest.CaptureFixture[str]
) -> None:
    from bnnlab.cli import main

    tool.be("uv", code=3)
    assert main(["install", "dfa"]) == 1
    out, err = capfd.readouterr()
    said = "error: uv failed with exit code 3; its last words are above. Nothing was installed."
    assert (out, err.splitlines()) == ("", ["its last words", said])
    assert not Path(tool.words[tool.words.index("--constraint") + 1]).exists()


def test_what_a_failed_install_had_added_is_removed(
    bnn: Bnn, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    info = shlex.quote(str(site / "acme_half-1.0.dist-info"))
    metadata = "printf 'Name: acme-half\\nVersion: 1.0\\n'"
    half = f'[ "$2" = install ] && mkdir {info} && {metadata} > {info}/METADATA && exit 1\n'
    tool.be("uv", script=SCRIPT.replace("while", f"{half}rm -r {info}\nwhile"))
    assert bnn("install", "dfa").code == 1
    assert tool.words == ["pip", "uninstall", "--python", sys.executable, "acme-half"]
    assert not list(site.iterdir())


@pytest.mark.parametrize(
    ("source", "group", "why"),
    [
        ("import os; os._exit(0)", None, "its import ends the process, with exit code 0"),
        ("1 / 0", None, "ZeroDivisionError: division by zero"),
        ("import bnnlab", "bnnlab.v9", "made for plugin API v9; this core has v1"),
    ],
)
def test_what_is_installed_and_cannot_be_imported_is_an_error(
    source: str,
    group: str | None,
    why: str,
    bnn: Bnn,
    tool: Tool,
    tmp_path: Path,
    make_plugin: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool.be("uv")
    make_plugin("acme-odd", source, group=group)
    wheels.write(tmp_path / "dist", "acme-odd")
    words = ("install", "acme-odd", "--find-links", "dist")
    answer = bnn(*words)
    assert (answer.code, answer.out) == (1, "Installed: acme-odd.\n")
    assert f"what is installed does not work: acme-odd: {why}. To remove it: `" in answer.err
    monkeypatch.setattr("bnnlab.registry.sources.installed", requirements.installed)
    again = bnn(*words)
    assert (again.code, again.out) == (1, "")
    assert f"does not work: acme-odd: {why}. " in again.err


# ------------------------------------------------------------------ uninstalling


def test_plugins_of_others_are_removed_without_an_import(bnn: Bnn, tool: Tool, acme: Path) -> None:
    tool.be("uv")
    answer = bnn("uninstall", "acme-base")
    assert (answer.code, tool.words) == (2, [])
    assert "acme-more would not work without acme-base." in answer.err
    assert "uninstall acme-base acme-more`" in answer.err
    assert bnn("uninstall", "more", "acme_base", "acme-more").code == 0
    assert tool.words == ["pip", "uninstall", "--python", sys.executable, "acme-more", "acme-base"]
    assert bnn("install", "dfa").code == 0
    assert not {"acme_base", "acme_more"} & sys.modules.keys()


def test_who_needs_a_distribution_is_found_over_others(acme: Path) -> None:
    assert {"acme-base", "acme-more"} <= {*requirements.needing(["torch"])}
    assert requirements.needing(["acme-more"]) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bnnlab", "bnnlab is the core, and stays"),
        ("torch", "no installed plugin is called 'torch'. `bnn list-plugins` lists what is."),
        ("drtp", "bnnlab-dfa is not installed. `bnn list-plugins` lists what is."),
    ],
)
def test_what_cannot_be_removed_is_refused(
    name: str, message: str, bnn: Bnn, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.be("uv")
    monkeypatch.setattr("bnnlab.cli.installing.find_plugins", list)
    monkeypatch.setattr("bnnlab.registry.requirements.installed", dict)
    answer = bnn("uninstall", name)
    assert (answer.code, tool.words) == (2, [])
    assert message in answer.err


@pytest.mark.parametrize(
    ("names", "removed"),
    [
        (["miss"], "bnnlab-miss"),
        (["nodep", "bnnlab-nodep"], "bnnlab-nodep"),
        (["entry-of-nodep"], "bnnlab-nodep"),
        (["drtp"], "bnnlab-dfa"),
    ],
)
def test_what_is_installed_comes_before_what_is_known(
    names: list[str], removed: str, bnn: Bnn, tool: Tool, others: None
) -> None:
    tool.be("uv")
    assert bnn("uninstall", *names).code == 0
    assert tool.words == ["pip", "uninstall", "--python", sys.executable, removed]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mis", "no installed plugin is called 'mis'. Did you mean 'miss'?"),
        ("mobilenet_v9", "plugin is called 'mobilenet_v9'. `bnn list-plugins` lists what is."),
        ("twin", "'twin' may mean acme-twin or bnnlab-miss. Name the one to remove."),
    ],
)
def test_another_plugin_is_not_proposed_for_its_components(
    name: str, message: str, bnn: Bnn, tool: Tool, others: None
) -> None:
    answer = bnn("uninstall", name)
    assert (answer.code, tool.words) == (2, [])
    assert message in answer.err


def test_a_dry_run_removes_nothing(bnn: Bnn, tool: Tool, acme: Path) -> None:
    tool.be("uv")
    words = shlex.split(bnn("uninstall", "acme-more", "--dry-run").out)
    assert words[1:] == ["pip", "uninstall", "--python", sys.executable, "acme-more"]
    assert not tool.words
    subprocess.run(words, check=True, capture_output=True)
    assert tool.words == words[1:]
