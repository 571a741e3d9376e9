"""`bnn install` and `bnn uninstall` with the real uv and pip, in environments of their own.

No index is asked: what plugins need is there. Each environment has all packages of this one but
ours.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wheels

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PLUGINS = ("dfa", "report", "studies")
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
BROKEN = {
    "acme-missing": "requires acme-nowhere, which is not installed",
    "acme-conflict": "requires numpy<1; ",
    "acme-next": "made for plugin API v2; this core has v1",
    "acme-raises": "ZeroDivisionError: division by zero",
}
"""What is said of each."""
HOOK = "import bnnlab\n\n@bnnlab.hookimpl\ndef bnnlab_components():\n    return []\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of wheels: the core, three of its plugins, and four that are broken."""
    made = tmp_path_factory.mktemp("wheels")
    wheels.build([ROOT, *(ROOT / "plugins" / name for name in PLUGINS)], made)
    wheels.write(made, "acme-missing", needs=["bnnlab", "acme-nowhere"], source=HOOK)
    wheels.write(made, "acme-conflict", needs=["bnnlab", "numpy<1"], source=HOOK)
    wheels.write(made, "acme-next", needs=["bnnlab"], source=HOOK, group="bnnlab.v2")
    wheels.write(made, "acme-raises", needs=["bnnlab"], source="1 / 0")
    return made


class Environment:
    """A virtual environment, in which `bnn` finds uv or not."""

    def __init__(self, folder: Path, tool: str) -> None:
        self.folder, self._bin = folder, folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        for package in Path(sysconfig.get_path("purelib")).iterdir():
            if "bnnlab" in package.name or package.name == "__pycache__":
                continue
            if package.suffix == ".dist-info":  # uv follows no link to one
                ignored = shutil.ignore_patterns("RECORD", "licenses")
                shutil.copytree(package, site / package.name, ignore=ignored)
            else:
                (site / package.name).symlink_to(package)
        if tool == "uv":
            (self._bin / "uv").symlink_to(str(UV))
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": str(self._bin),
            "UV_OFFLINE": "1",
        }

    def add(self, *words: str | Path) -> None:
        """Install without dependencies, with the pip that is a package of the environment."""
        pip = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
        command = [self._bin / "python", *pip, "--no-index", *words]
        subprocess.run(command, env=self.environment, check=True)

    def bnn(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Call `bnn`, which must exit with this code."""
        command = [self._bin / "bnn", *words]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def plugins(self) -> dict[str, str]:
        """Return what is wrong with each plugin; of one that works, nothing."""
        rows = json.loads(self.bnn("list-plugins", "--json").stdout)["plugins"]
        return {each["distribution"]: each["error"] or "; ".join(each["unmet"]) for each in rows}


Make = Callable[[str], Environment]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    def make(tool: str) -> Environment:
        if tool == "uv" and UV is None:
            pytest.skip("uv is not installed")
        return Environment(tmp_path / tool, tool)

    yield make
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_plugins_come_and_go_beside_broken_ones(tool: str, make: Make, folder: Path) -> None:
    environment = make(tool)
    bnn, source = environment.bnn, ("--find-links", folder, "--offline")
    environment.add(*folder.glob("bnnlab-*.whl"), *folder.glob("acme_*.whl"))
    bnn("install", "rule:dfa", "report", *source)
    found = environment.plugins()
    assert {name for name, wrong in found.items() if not wrong} == {
        *(f"bnnlab-{name}" for name in PLUGINS)
    }
    assert found.keys() >= BROKEN.keys()
    assert all(said in found[name] for name, said in BROKEN.items())
    assert "Direct feedback alignment" in bnn("info", "rule", "dfa").stdout
    said = " ".join(bnn("doctor", code=1).stdout.split())
    assert "Broken plugins: acme-next, acme-raises. Plugins with missing requirements: " in said
    assert "acme-conflict, acme-missing. To remove a plugin: `bnn uninstall NAME`." in said

    refused = bnn("uninstall", "studies", code=2)
    assert "bnnlab-report would not work without bnnlab-studies" in refused.stderr
    bnn("uninstall", "studies", "report", *BROKEN)
    assert environment.plugins() == {"bnnlab-dfa": ""}

    failed = bnn("install", "acme-conflict", "report", *source, code=1)
    assert f"error: {tool} failed with exit code 1; its last words are above" in failed.stderr
    assert "numpy" in failed.stderr
    assert environment.plugins() == {"bnnlab-dfa": ""}, "nothing is half installed"


def test_a_checkouts_plugins_are_editable(make: Make) -> None:
    environment = make("uv")
    uv = [str(UV), "pip", "install", "--offline", "--quiet"]
    python = environment.folder / "bin" / "python"
    uv += ["--python", str(python)]
    tools = ["--target", str(environment.folder / "tools"), "hatchling", "editables"]
    if subprocess.run([*uv, *tools]).returncode:
        pytest.skip("uv has no hatchling in its cache, to build with")
    subprocess.run([*uv, "--no-deps", "--editable", str(ROOT)], check=True)
    environment.bnn("install", "report")
    assert environment.plugins() == {"bnnlab-report": "", "bnnlab-studies": ""}
    (site,) = environment.folder.glob("lib/python*/site-packages")
    (about,) = site.glob("bnnlab_studies-*.dist-info/direct_url.json")
    assert json.loads(about.read_text())["dir_info"] == {"editable": True}
    environment.bnn("uninstall", "command:compare", "report")
    assert environment.plugins() == {}
