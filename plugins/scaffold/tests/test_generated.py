"""What is written passes its own tests, as it is, and the type checker."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bnnlab_scaffold import writing
from bnnlab_scaffold.package import Kind, Package

PATH = os.environ.get("PYTHONPATH", "").split(os.pathsep)


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


def test_their_own_tests_pass_and_a_part_of_the_kits(packages: dict[Kind, Path]) -> None:
    """The whole kit tests them in `test_from_wheels`."""
    chosen = ["-k", "not TestNew or can_be_made or class_loads"]
    words = ["pytest", "-q", "-p", "no:cacheprovider", *chosen, *map(str, packages.values())]
    call(packages, packages[Kind.RULE], *words)


@pytest.mark.slow
@pytest.mark.parametrize("kind", Kind)
def test_its_types_are_right(kind: Kind, packages: dict[Kind, Path]) -> None:
    pytest.importorskip("mypy")
    cache = packages[Kind.RULE].parent / "mypy"  # torch is read once
    call(packages, packages[kind], "mypy", "--cache-dir", str(cache))
