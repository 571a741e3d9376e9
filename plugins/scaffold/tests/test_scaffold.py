"""What `bnn new-plugin` writes: whole packages, under names that can be used, or nothing."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bnnlab.cli import main
from bnnlab.errors import install_command
from bnnlab.registry.host import PluginHost
from bnnlab_scaffold import writing
from bnnlab_scaffold.names import LONGEST, checked
from bnnlab_scaffold.package import Author, Kind, License, Package

ROOT = Path(__file__).parents[3]
KINDS = [*Kind]
GIT = shutil.which("git")
LONG = "a" + "-b" * (LONGEST // 2)
PATH = os.environ.get("PYTHONPATH", "").split(os.pathsep)

Bnn = Callable[..., str]


@pytest.fixture
def bnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bnn:
    """Return what calls the command in an empty folder; git knows nobody. It returns its words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def call(*words: object, code: int = 0) -> str:
        found = main(["new-plugin", *map(str, words)])
        out, err = capsys.readouterr()
        assert found == code, err
        return err if code else out

    return call


# -------------------------------------------------------------------- packages


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_has_all_that_is_published(kind: Kind, bnn: Bnn) -> None:
    bnn("sparrow", "--kind", kind)
    root = Path("bnnlab-sparrow")
    assert {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()} == {
        ".github/workflows/ci.yml",
        ".github/workflows/publish.yml",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/bnnlab_sparrow/__init__.py",
        "src/bnnlab_sparrow/contracts.py",
        "src/bnnlab_sparrow/plugin.py",
        "src/bnnlab_sparrow/py.typed",
        f"src/bnnlab_sparrow/{kind}.py",
        "tests/test_contract.py",
        f"tests/test_{kind}.py",
    }
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["name"] == "bnnlab-sparrow"
    assert project["entry-points"] == {"bnnlab.v1": {"sparrow": "bnnlab_sparrow.plugin"}}
    headings = re.findall("^## (.*)$", (root / "README.md").read_text(), re.MULTILINE)
    assert headings == ["Installation", "Usage", "Method", "Results", "Development"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("license", License)
def test_every_file_is_what_its_name_says(kind: Kind, license: License) -> None:
    for place, text in writing.files(Package("sparrow", kind, license)).items():
        assert not re.search(r"(?<!\$)\{\{|\{%|[ \t]$|\n\n\n\n|\n\n\Z", text, re.MULTILINE), place
        assert text.endswith("\n") or place.endswith("py.typed"), place
        if place.endswith(".py"):
            compile(text, place, "exec")
        if place.endswith(".yml"):
            assert {"name", "jobs", "permissions"} <= yaml.safe_load(text).keys()


def test_its_pins_are_those_that_the_page_on_compatibility_asks_for() -> None:
    own = tomllib.loads((ROOT / "plugins" / "scaffold" / "pyproject.toml").read_text())["project"]
    made = tomllib.loads(writing.files(Package("sparrow", Kind.STREAM))["pyproject.toml"])
    page = (ROOT / "docs" / "compatibility.md").read_text()
    (pin,) = re.findall(r'promised names only:\*\* `dependencies = \["(.*?)"\]`', page)
    assert pin in made["project"]["dependencies"]
    kit = made["project"]["optional-dependencies"]["test"]
    assert kit == [pin.replace("bnnlab", "bnnlab-testing")]
    assert own["requires-python"] == made["project"]["requires-python"]


@pytest.mark.parametrize("name", ["sparrow", LONG])
@pytest.mark.skipif(not shutil.which("ruff"), reason="there is no ruff")
def test_its_style_is_right_for_short_and_long_names(name: str, tmp_path: Path) -> None:
    for kind in KINDS:
        writing.write(writing.files(Package(name, kind)), tmp_path / kind)
    for words in (["check"], ["format", "--check", "--diff"]):
        command = ["ruff", *words, "--no-cache", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("license", "words"),
    [
        ("MIT", "Permission is hereby granted, free of charge"),
        ("Apache-2.0", "END OF TERMS AND CONDITIONS"),
        ("BSD-3-Clause", "Neither the name of the copyright holder"),
    ],
)
def test_a_licence_is_there_in_full(license: str, words: str, bnn: Bnn) -> None:
    assert license in bnn("sparrow", "--kind", "rule", "--license", license)
    root = Path("bnnlab-sparrow")
    assert words in (root / "LICENSE").read_text()
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["license"] == license


# -------------------------------------------------------------------- authors


def authors_of(folder: str) -> list[dict[str, str]]:
    text = Path(folder, "pyproject.toml").read_text(encoding="utf-8")
    found: list[dict[str, str]] = tomllib.loads(text)["project"]["authors"]
    return found


@pytest.mark.skipif(not GIT, reason="there is no git")
@pytest.mark.parametrize(
    ("name", "email", "author"),
    [
        ("Ada Lovelace", "ada@example.org", {"name": "Ada Lovelace", "email": "ada@example.org"}),
        (r"Zoë \"Z\" \\ O'Neil", "zoe@localhost", {"name": 'Zoë "Z" \\ O\'Neil'}),
    ],
)
def test_the_author_is_whom_git_knows(
    name: str, email: str, author: dict[str, str], bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Path("gitconfig").absolute()
    config.write_text(f'[user]\n\tname = "{name}"\n\temail = {email}\n', encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert f"by {author['name']}" in bnn("sparrow", "--kind", "rule")
    assert authors_of("bnnlab-sparrow") == [author]
    assert author["name"] in Path("bnnlab-sparrow", "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["unknown to git", "without git"])
def test_an_author_whom_nobody_knows_has_a_name_that_can_be_published(
    path: str, bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path)
    assert "name yourself in pyproject.toml (authors)" in bnn("sparrow", "--kind", "rule")
    assert authors_of("bnnlab-sparrow") == [{"name": "The bnnlab-sparrow authors"}]


def test_an_author_is_written_as_others_are() -> None:
    assert str(Author("Ada", "ada@example.org")) == "Ada <ada@example.org>"


# -------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "kind", "why", "near"),
    [
        ("Sparrow", "rule", "use a-z", "sparrow"),
        ("MyRule", "rule", "use a-z", "my-rule"),
        ("my_rule", "rule", "use a-z", "my-rule"),
        ("bnnlab_foo", "rule", "use a-z", "foo"),
        ("2bit", "model", "use a-z", "bit"),
        ("über-net", "model", "use a-z", "uber-net"),
        ("a--b", "rule", "use a-z", "a-b"),
        ("", "rule", "use a-z", "my-rule"),
        ("!", "command", "use a-z", "my-command"),
        ("x" * 26, "rule", "more than 25 characters", "x" * 18),
        ("class", "rule", "a word of Python", "my-class"),
        ("match", "rule", "a word of Python", "my-match"),
        ("random", "rule", "has a module 'random'", "my-random"),
        ("torch", "rule", "has a module 'torch'", "my-torch"),
        ("optim", "optimizer", "has a module 'optim'", "my-optim"),
        ("bnnlab", "rule", "has a module 'bnnlab'", "my-bnnlab"),
        ("dfa", "rule", "bnnlab-dfa is a known plugin", "my-dfa"),
        ("bnnlab-dfa", "command", "bnnlab-dfa is a known plugin", "my-dfa"),
        ("adam", "optimizer", "another optimizer has this name", "my-adam"),
        ("info", "command", "another command has this name", "my-info"),
        ("plot", "command", "another command has this name", "my-plot"),
        ("task", "stream", "uses the name 'Task' for something else", "my-task"),
        ("b", "model", "uses the name 'B' for something else", "my-b"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_one_that_can(
    name: str, kind: str, why: str, near: str, bnn: Bnn
) -> None:
    said = bnn(name, "--kind", kind, code=2)
    assert said.startswith(f"error: no new plugin can be called {name!r}: ")
    assert why in said
    assert said.endswith(f" Choose another name, such as {near!r}.\n")
    assert [*Path().iterdir()] == []


def test_a_name_that_is_installed_is_refused(bnn: Bnn, make_plugin: Callable[..., None]) -> None:
    make_plugin("bnnlab-wren", "", entry="wren")
    make_plugin("acme", "", entry="finch")
    for name in ("wren", "finch"):
        assert "is installed" in bnn(name, "--kind", "rule", code=2)


def test_a_name_may_be_taken_by_another_kind(bnn: Bnn) -> None:
    bnn("adam", "--kind", "rule")


def test_the_prefix_of_distributions_is_not_doubled(bnn: Bnn) -> None:
    bnn("bnnlab-sparrow", "--kind", "rule")
    assert Path("bnnlab-sparrow/src/bnnlab_sparrow/rule.py").exists()
    assert checked("bnnlab-bnnlab-finch", Kind.RULE, PluginHost()) == "finch"


def test_a_kind_that_is_none_is_refused(bnn: Bnn) -> None:
    assert "'rule'" in bnn("sparrow", "--kind", "rules", code=2)
    said = bnn("sparrow", code=2)
    assert said.startswith("error: Missing option '--kind'. Choose from: rule, ")
    assert "\\n" not in said


# -------------------------------------------------------------------- folders


def test_a_folder_that_holds_something_is_left_alone(bnn: Bnn) -> None:
    Path("bnnlab-sparrow").mkdir()
    Path("bnnlab-sparrow/mine").touch()
    Path("file").touch()
    said = bnn("sparrow", "--kind", "rule", code=2)
    assert said == (
        "error: bnnlab-sparrow is not empty: name another place by --dest, which need not exist.\n"
    )
    assert "file is no folder" in bnn("sparrow", "--kind", "rule", "--dest", "file", code=2)
    assert sorted(map(str, Path().rglob("*"))) == ["bnnlab-sparrow", "bnnlab-sparrow/mine", "file"]


def test_an_empty_folder_is_filled_also_from_within(
    bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    bnn("sparrow", "--kind", "rule", "--dest", ".")
    assert Path("pyproject.toml").exists()
    assert [each.name for each in Path("..").iterdir()] == ["empty"]


def test_a_package_may_lie_in_folders_that_are_not_there_yet(bnn: Bnn) -> None:
    said = bnn("sparrow", "--kind", "rule", "--dest", "some where/else")
    assert "pip install -e 'some where/else[test]'" in said
    assert Path("some where/else/pyproject.toml").exists()


def test_nothing_is_left_of_a_package_that_cannot_be_written(
    bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def fill_up(path: Path, text: str, **how: str) -> int:
        if path.name == "pyproject.toml":
            raise OSError(28, "No space left on device")
        return write(path, text, **how)

    monkeypatch.setattr(Path, "write_text", fill_up)
    said = bnn("sparrow", "--kind", "rule", code=1)
    why = "bnnlab-sparrow cannot be written: No space left on device. Name another by --dest."
    assert said == f"error: {why}\n"
    assert [*Path().iterdir()] == []


@pytest.mark.parametrize("dest", ["file/x", 250 * "x"])
def test_a_place_where_no_folder_can_be_is_named(dest: str, bnn: Bnn) -> None:
    Path("file").touch()
    said = bnn("sparrow", "--kind", "rule", "--dest", dest, code=1)
    assert said.startswith(f"error: {dest} cannot be written: ")
    assert said.endswith(" Name another by --dest.\n")
    assert [each.name for each in Path().iterdir()] == ["file"]


# -------------------------------------------------------------------- what is said


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_lines_install_test_and_use_it(
    kind: Kind, bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnlab_scaffold.commands.program", lambda name: name)
    monkeypatch.setattr("bnnlab_scaffold.commands.command", lambda *words: " ".join(words))
    uses = ["run --name sparrow", "sparrow runs/sparrow"]
    assert [line.strip() for line in bnn("sparrow", "--kind", kind).splitlines()[4:]] == [
        "pip install -e './bnnlab-sparrow[test]'",
        "python -m pytest bnnlab-sparrow",
        *(uses if kind is Kind.COMMAND else [f"run --{kind} sparrow"]),
    ]


def test_without_the_kit_it_says_how_to_install_it(
    bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnlab_scaffold.commands.distributions", lambda name: [])
    said = bnn("sparrow", "--kind", "rule")
    assert f"its tests need the kit: {install_command('bnnlab-testing')}\n" in said


# -------------------------------------------------------------------- what is written works


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    """Write a package of each kind, and its metadata as an installation leaves them."""
    folders = {kind: tmp_path_factory.mktemp("packages") / kind for kind in Kind}
    for kind, folder in folders.items():
        package = Package(f"new-{kind}", kind)
        writing.write(writing.files(package), folder)
        about = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        info = folder / "src" / f"{package.module}-{about['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
        )
        ((group, points),) = about["entry-points"].items()
        lines = [f"{entry} = {module}" for entry, module in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return folders


def call(packages: dict[Kind, Path], folder: Path, *words: str) -> None:
    """Run a Python module in a folder, where all packages are installed; it must succeed."""
    path = [str(each / "src") for each in packages.values()]
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*path, *PATH])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", Kind)
def test_its_types_are_right(kind: Kind, packages: dict[Kind, Path]) -> None:
    pytest.importorskip("mypy")
    cache = packages[Kind.RULE].parent / "mypy"  # torch is read once
    call(packages, packages[kind], "mypy", "--cache-dir", str(cache))
