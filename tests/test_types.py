"""Type checkers find the mistakes of a plugin, by the annotations of the core alone."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # they read torch

ROOT = Path(__file__).parents[1]
TYPED = Path(__file__).with_name("typed")
SOURCES = (ROOT / "core", ROOT / "runtime" / "src", *ROOT.glob("plugins/*/src"))
PATHS = [str(path) for path in SOURCES]


def marked() -> set[tuple[str, int]]:
    """Return the lines that say that they are wrong, as file and number."""
    return {
        (file.name, number)
        for file in TYPED.glob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if line.endswith("# wrong")
    }


def called(*words: str, folder: Path) -> str:
    """Return what a checker prints; the mistakes let it exit with 1."""
    done = subprocess.run([*words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_mypy_finds_every_wrong_line_and_no_other(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    settings = tmp_path / "mypy.ini"
    settings.write_text(
        f"[mypy]\nstrict = True\nignore_missing_imports = True\nmypy_path = {':'.join(PATHS)}\n"
    )
    files = map(str, TYPED.glob("*.py"))
    mypy = [sys.executable, "-m", "mypy", "--config-file", str(settings), "--no-incremental"]
    printed = called(*mypy, *files, folder=tmp_path)
    found = re.findall(r"(\w+\.py):(\d+): error", printed)
    lines = {(name, int(line)) for name, line in found}
    assert lines == marked(), f"{sorted(lines ^ marked())}\n{printed}"


def test_pyright_finds_every_wrong_line_and_no_other(tmp_path: Path) -> None:
    program = shutil.which("basedpyright", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("basedpyright, which is pyright with a node of its own, is not installed")
    settings = {
        "include": [str(TYPED)],
        "extraPaths": PATHS,
        "typeCheckingMode": "standard",  # that of pyright
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    words = [program, "--outputjson", "--pythonpath", sys.executable]
    printed = called(*words, folder=tmp_path)
    found = json.loads(printed)["generalDiagnostics"]
    lines = {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in found
        if each["severity"] == "error"
    }
    assert lines == marked(), sorted(lines ^ marked())
