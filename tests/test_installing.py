"""What `make` installs is enough for what it runs; a plugin that it leaves out is skipped aloud."""

import re
import shlex
import sys
from itertools import product
from pathlib import Path

import pytest
import tomli

from bnnlab.cli import main
from bnnlab.errors import install_command
from bnnlab.registry.components import PARTS
from bnnlab.registry.discovery import find_plugins
from bnnlab.registry.index import load_index
from bnnlab_studies.inspection import state_of
from bnnlab_studies.plan import command_of
from bnnlab_studies.record import Record

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_make_demo_installs_what_the_demo_needs() -> None:
    (names,) = re.findall(r"^DEMO := \$\(addprefix plugins/,(.*)\)$", MAKEFILE, re.MULTILINE)
    project = tomli.loads((ROOT / "plugins" / "demo" / "pyproject.toml").read_text())["project"]
    needed = [re.split(r"[^\w-]", each)[0] for each in project["dependencies"]]
    own = {each.removeprefix("bnnlab-") for each in needed if each.startswith("bnnlab-")}
    assert {*names.split()} == {*own, "demo"}
    assert "$(BIN)/bnn demo\n" in MAKEFILE


def test_the_tests_of_a_plugin_that_is_not_installed_are_skipped_with_what_installs_it(
    pytester: pytest.Pytester,
) -> None:
    plugins = pytester.mkdir("plugins")
    pytester.makeconftest((ROOT / "conftest.py").read_text())
    for folder, distribution in (("acme", "bnnlab-acme"), ("dfa", "bnnlab-dfa")):
        tests = plugins / folder / "tests"
        tests.mkdir(parents=True)
        project = f'[project]\nname = "{distribution}"\n'
        (plugins / folder / "pyproject.toml").write_text(project)
        (tests / "conftest.py").write_text(f"import bnnlab_{folder}")
        (tests / "test_it.py").write_text(f"import bnnlab_{folder}\ndef test_it(): ...")
    result = pytester.runpytest_inprocess("-rs", "--import-mode=importlib")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines("*bnnlab-acme is not installed: make test-acme*")


# ------------------------------------------------------------------ what is not installed


@pytest.fixture
def core_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide all plugins, and be in a folder with a sweep file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bnnlab.registry.host.find_plugins", list)
    monkeypatch.setattr("shutil.which", lambda _: None)
    (tmp_path / "run.toml").write_text('optimizer = "bop"\nprobe = "confusion"\ndiagnose = true')


DEFAULTS = "mlp dfa metaplasticity vision"


@pytest.mark.usefixtures("core_alone")
@pytest.mark.parametrize(
    ("words", "plugins"),
    [
        ("run", DEFAULTS),
        ("check", DEFAULTS),
        ("matrix", "mlp vision"),
        ("info rule bp", "backprop"),
        ("run --rule bp --optimizer adam", "mlp backprop vision"),
        ("run --optimizer bop --seeds 3 --fresh", "studies mlp dfa bop vision analysis"),
        ("run -c run.toml", "mlp dfa bop vision analysis"),
        ("run --recipe dfa/permuted-mnist", "dfa"),
        ("compare a b", "studies"),
        ("plot accuracy x", "plots"),
        ("report x", "report"),
        ("tune x", "optuna"),
    ],
)
def test_one_command_installs_all_that_a_line_needs(
    words: str, plugins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    (command,) = re.findall("To install (?:it|them): `(.*)`", error)
    assert command.partition("bnn install ")[2] == plugins
    assert error.count("\n") == 1


@pytest.mark.usefixtures("core_alone")
def test_outside_a_checkout_the_command_has_the_folder_of_wheels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that is said is one that `bnn install` takes."""
    monkeypatch.setattr("bnnlab.errors.PLUGINS", tmp_path / "nowhere")
    assert main(["run", "--rule", "hsic"]) == 2
    said = capsys.readouterr().err
    assert "mlp hsic metaplasticity vision --find-links DIR` (DIR: the folder of" in said
    assert main(["install", "hsic"]) == 2
    assert "are on no package index yet" in capsys.readouterr().err
    assert load_index().source == "none", "where it is another, the command needs no folder"


@pytest.mark.usefixtures("core_alone")
@pytest.mark.parametrize("source", ["index", "wheels"])
def test_where_registry_toml_has_a_source_the_command_is_short(
    source: str,
    user_config: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bnnlab.errors.PLUGINS", tmp_path / "nowhere")
    (user_config / "registry.toml").write_text(f'source = "{source}"\n')
    assert main(["run", "--rule", "hsic"]) == 2
    assert "bnn install mlp hsic metaplasticity vision`.\n" in capsys.readouterr().err
    (user_config / "registry.toml").write_text("")
    assert main(["run", "--rule", "hsic"]) == 2
    assert "--find-links DIR`" in capsys.readouterr().err


@pytest.mark.usefixtures("core_alone")
def test_an_unknown_name_is_said_beside_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--rule", "xyz"]) == 2
    error = capsys.readouterr().err
    assert "unknown rule 'xyz'. No installed plugin has one. Known: bp, bptt, d" in error
    assert "bnn install mlp metaplasticity vision" in error


def test_the_cells_of_a_study_need_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[sweep.grid]\nrule = ["hsic", "bp", "pepita", "hsci"]')
    monkeypatch.setenv("BNNLAB_ONLY", "studies, mlp, metaplasticity, vision, backprop")
    lacking = ("bnnlab-hsic", "bnnlab-pepita")
    monkeypatch.setattr(
        "bnnlab.registry.host.find_plugins",
        lambda: [plugin for plugin in find_plugins() if plugin.distribution not in lacking],
    )
    assert main(["sweep", str(file)]) == 2
    error = capsys.readouterr().err
    assert "unknown rule 'hsci'. Did you mean 'hsic'?" in error
    assert "To install them: `bnn install hsic pepita`" in error
    file.write_text('[sweep.grid]\nrule = ["hsic", "bp", "pepita"]')
    assert main(["sweep", str(file)]) == 2
    assert capsys.readouterr().err.startswith("error: rule 'hsic' comes with bnnlab-hsic, rule")


@pytest.fixture
def not_active(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the path lead to another environment than this Python's."""
    for folder, name in product(("own bin", "other"), ("pip", "bnn")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "own bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("not_active")
def test_a_command_that_goes_on_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    (run / "run.toml").write_text("seed = 0\n")
    (said,) = state_of(Record.read(run))[1:]
    assert said == f"to continue: 'own bin/bnn' run --resume '{run}'"
    assert command_of(Path("study")) == "'own bin/bnn' sweep study"
    monkeypatch.setenv("PATH", str(tmp_path / "own bin"))
    assert command_of(Path("study")) == "bnn sweep study"


@pytest.mark.usefixtures("not_active")
def test_a_command_that_installs_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = install_command("bnnlab-optuna[plot]", "acme", "acme").strip("`")
    assert shlex.split(command) == ["own bin/bnn", "install", "optuna[plot]", "acme"]
    monkeypatch.setenv("PATH", str(tmp_path / "own bin"))
    assert install_command("bnnlab-dfa") == "`bnn install dfa`"


# ------------------------------------------------------------------ names, pages and extras


def test_no_page_and_no_message_installs_us_from_an_index() -> None:
    """The names are not registered: whoever registers one could publish anything under it."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    code = [*ROOT.glob("core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    for file in [*pages, *ROOT.glob("plugins/*/README.md"), *code]:
        for line in file.read_text().splitlines():
            by_name = re.search(r"pip install [^`]*(?<![/\w-])bnnlab(-\w|[\[`\s]|$)", line)
            assert not by_name or "--find-links" in line, f"{file}: {line}"


def test_the_readme_of_every_plugin_installs_it_by_its_short_name() -> None:
    for page in ROOT.glob("plugins/*/README.md"):
        assert f"\nbnn install {page.parent.name}" in page.read_text(), page


def test_the_extras_have_every_plugin() -> None:
    extras = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    index = load_index()
    parts = {
        entry.distribution
        for entry in index.plugins
        if any(offer.startswith(f"{part}:") for part in PARTS for offer in entry.offers)
    }
    assert set(extras["methods"]) == parts
    trackers = {entry.distribution for entry in index.plugins if "track:" in str(entry.offers)}
    assert set(extras["track"]) == trackers
    (others,) = re.findall(r"bnnlab\[(.*)\]", extras["all"][0])
    named = {*extras["all"][1:], *(each for name in others.split(",") for each in extras[name])}
    folders = {f"bnnlab-{each.parent.name}" for each in ROOT.glob("plugins/*/pyproject.toml")}
    assert named == folders - {"bnnlab-tracking"}, "trackers bring that along"
