"""From nothing to a run, for each kind: an environment with wheels alone, and what a user calls."""

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from bnnlab_scaffold.package import Kind

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
OURS = ("scaffold", "testing", "dfa", "metaplasticity", "mlp", "vision")
"""The command, the kit, and what a run has by default."""
BUILD = """
import os, sys
from hatchling.build import build_wheel

for source in sys.argv[2:]:
    os.chdir(source)
    build_wheel(sys.argv[1])
"""
"""What pip does for each source, in one process for all."""


class Place:
    """A folder with an environment, and a folder of wheels."""

    def __init__(self, root: Path) -> None:
        self.root, self.wheels, environment = root, root / "wheels", root / "environment"
        self.wheels.mkdir()
        venv.create(environment, with_pip=False)
        where = {"base": str(environment), "platbase": str(environment)}
        self.site = Path(sysconfig.get_path("purelib", "venv", where))
        self.bin = Path(sysconfig.get_path("scripts", "venv", where))

    def call(self, *words: str) -> str:
        """Call a program of the environment in the folder, and return what it prints."""
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            words,
            cwd=self.root,
            env={**env, "PATH": os.pathsep.join([str(self.bin), env["PATH"]])},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def build(self, *sources: Path) -> None:
        self.call("python", "-c", BUILD, str(self.wheels), *map(str, sources))

    def install(self, *what: str) -> None:
        """Install from the folder of wheels alone, by uv if it is there."""
        install = ["python", "-m", "pip", "install", "--disable-pip-version-check"]
        if uv := shutil.which("uv"):
            install = [uv, "pip", "install", "--python", str(self.bin / "python")]
        self.call(*install, "--quiet", "--no-index", f"--find-links={self.wheels}", *what)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place with the packages of others that are installed here, and our wheels."""
    place = Place(tmp_path_factory.mktemp("place"))
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "bnnlab" in package.name:
            continue
        if package.suffix == ".dist-info":  # uv does not look through links
            shutil.copytree(package, place.site / package.name)
        else:
            (place.site / package.name).symlink_to(package)
    place.build(ROOT, *(ROOT / "plugins" / name for name in OURS))
    place.install("bnnlab", *(f"bnnlab-{name}" for name in OURS))
    return place


@pytest.mark.parametrize("kind", Kind)
def test_a_plugin_is_written_built_installed_tested_and_used(kind: Kind, place: Place) -> None:
    name = f"sparrow-{kind}"
    place.call("bnn", "new-plugin", name, "--kind", kind)
    place.build(place.root / f"bnnlab-{name}")
    place.install(f"bnnlab-{name}[test]")
    listed = json.loads(place.call("bnn", "list-plugins", "--json"))["plugins"]
    (found,) = (plugin for plugin in listed if plugin["distribution"] == f"bnnlab-{name}")
    assert found["status"] == "ok"
    place.call("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"bnnlab-{name}")

    uses = [] if kind is Kind.COMMAND else [f"--{kind}", name]
    uses += ["--set", f"probe.{name}.level=0.3"] if kind is Kind.PROBE else []
    place.call("bnn", "run", *uses, "--epochs", "2", "--name", name, "--quiet")
    result = json.loads((place.root / "runs" / name / "result.json").read_text())
    assert result["learning_accuracy"] > 0.3  # chance is 0.1
    if kind is Kind.PROBE:
        assert result["sparrow_probe_epochs"] >= 1
        said = place.call("bnn", "test-plugin", f"bnnlab-{name}")  # from its wheel alone
        assert "options.level: 0.4\n" in said
    if kind is Kind.COMMAND:
        rows = json.loads(place.call("bnn", name, f"runs/{name}", "--json"))
        assert [row["end"] for row in rows] == result["accuracy"][-1]


def test_the_environment_had_nothing_else(place: Place) -> None:
    code = "import bnnlab, sys; print(bnnlab.__file__); print(*sys.path, sep='\\n')"
    file, *path = place.call("python", "-c", code).splitlines()
    assert Path(file).is_relative_to(place.site)
    assert not [each for each in path if each.startswith(str(ROOT))]
