"""The pages for authors of plugins: their code is written down, installed, tested and run."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys

import pytest
import tomli
from pages import ROOT, blocks, name, read

from bnnlab.interfaces.prediction import Prediction
from bnnlab.interfaces.probe import Control, Moment, Run
from bnnlab.interfaces.rule import Batch
from bnnlab.registry import hookspecs
from bnnlab.registry.components import CAPABILITIES

PATH = os.environ.get("PYTHONPATH", "").split(os.pathsep)
PLUGIN_PAGES = [name(page) for page in sorted(ROOT.glob("docs/plugins/*.md"))]


def test_the_page_on_options_lists_exactly_the_capabilities():
    table = read("docs/plugins/options.md").partition("## Capabilities")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|$", table, re.MULTILINE)
    assert dict(rows) == dict(CAPABILITIES)


def test_the_page_on_hooks_heads_every_hook_with_its_arguments():
    page = read("docs/plugins/hooks.md")
    headed = set(re.findall(r"^### (bnnlab_\w+\(.*?\))$", page, re.MULTILINE))
    hooks = {
        f"{name}({', '.join(inspect.signature(hook).parameters)})"
        for name, hook in vars(hookspecs).items()
        if name.startswith("bnnlab_")
    }
    assert headed == hooks


def test_the_page_on_probes_names_what_a_probe_is_given():
    page = read("docs/plugins/probe.md")
    table = page[page.index("| argument | its attributes |") :].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", table, re.MULTILINE))
    given = {"run": Run, "at": Moment, "batch": Batch, "prediction": Prediction, "control": Control}
    for argument, kind in given.items():
        named = set(re.findall(r"`(\w+)", rows[argument]))
        assert {*inspect.get_annotations(kind)} <= named, argument


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of all pages, written down, and their distributions as pip would leave them."""
    root = tmp_path_factory.mktemp("pages")
    for page in PLUGIN_PAGES:
        for block in blocks(read(page)):
            assert block.file or not block.language, f"{page}: a block without a file's name"
            if block.file == "pyproject.toml":
                install(tomli.loads(block.text)["project"], root / "src")
            elif block.file:
                (root / block.file).parent.mkdir(parents=True, exist_ok=True)
                is_shared = block.file == "src/bnnlab_acme/contracts.py"
                is_new = is_shared or not (root / block.file).exists()
                assert is_new, f"{page}: {block.file} is on another page"
                with (root / block.file).open("a") as file:
                    file.write(block.text)
    return root


def install(about, place):
    """Write the metadata of a distribution."""
    package = about["name"].replace("-", "_")
    info = place / f"{package}-{about['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    ((group, points),) = about["entry-points"].items()
    lines = [f"{entry} = {module}" for entry, module in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    (place / package).mkdir(exist_ok=True)
    (place / package / "__init__.py").touch()


def run(words, folder):
    """Run a Python module in this folder, among its plugins; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *words.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), *PATH])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_examples_pass_their_contracts(written):
    run("pytest -q -p no:cacheprovider tests", written)


@pytest.mark.slow
def test_the_examples_run_together(written, monkeypatch):
    (words,) = re.findall(r"`bnn (run --rule dfa .*?)`", read("docs/plugins/index.md"))
    more = "--epochs 1 --set model.channels=8 --set stream.tasks=2 --out . --name all -q"
    run(f"bnnlab.cli {words} {more}", written)
    run("bnnlab.cli info model mlp --json", written)
    folder = written / "all"
    run("bnnlab.cli acme-best all --json", written)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "complete"
    assert result["accuracy"][0][0] > 0.3  # chance is 0.1
    assert all(share > 0 for share in result["flips"])
    table = folder / "epochs.csv"
    assert [line.split(",")[:2] for line in table.read_text().splitlines()] == [
        ["task", "epoch"],
        ["0", "0"],
        ["1", "0"],
    ]

    monkeypatch.syspath_prepend(written / "src")
    observer = importlib.import_module("bnnlab_acme.observers")
    before = table.read_text()
    table.write_text(before + "1,1,0.0,1.0\n")  # an epoch after the checkpoint
    observer.bnnlab_run_started(folder, resumed=True)
    assert table.read_text() == before
