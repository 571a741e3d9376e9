"""The documents say what is so: their code runs, and their tables equal the code."""

import dataclasses
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
import torch

import bnnlab
from bnnlab.cli import main
from bnnlab.engine.result import MEASURES, Result
from bnnlab.interfaces.prediction import Prediction
from bnnlab.interfaces.probe import Control, Moment, Run
from bnnlab.interfaces.rule import Batch
from bnnlab.registry import hookspecs
from bnnlab.registry.components import CAPABILITIES, PARTS
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config

ROOT = Path(__file__).parents[1]
PATH = os.environ.get("PYTHONPATH", "").split(os.pathsep)
README = (ROOT / "README.md").read_text()
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
RUNNING = (ROOT / "docs" / "running.md").read_text()
STUDIES = (ROOT / "docs" / "studies.md").read_text()
OWN = (ROOT / "docs" / "own.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readmes_code_runs_and_is_under_fifteen_lines(capsys):
    loop, script = blocks(README, "python")
    printed = []
    for code in (loop, script):
        assert len([line for line in code.splitlines() if line.strip()]) < 15
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            exec(compile(code, "README.md", "exec"), {})
        printed.append(capsys.readouterr().out)
    assert re.fullmatch(r"\[\[0\.\d+, 0\.\d+\], \[0\.\d+, 0\.\d+\]\] -?0\.\d+\n", printed[0])
    assert 0.5 < float(printed[1]) <= 1


def test_the_code_of_the_page_on_ones_own_runs(own_folder, bnn, capsys):
    """In one namespace, as a script; the file is written, and the commands are called."""
    scope = {"__name__": "__main__"}
    with torch.random.fork_rng(devices=[]):
        for code in re.findall(r"^```python\n(.*?)```", OWN, re.MULTILINE | re.DOTALL):
            if "def bnnlab_components" in code:
                (own_folder / "soft.py").write_text(code)
            else:
                exec(compile(code, "docs/own.md", "exec"), scope)
    assert (scope["prediction"][:, 0] - scope["wave"].sin()).abs().mean() < 0.3
    assert scope["again"].accuracy == scope["result"].accuracy
    weights = [bnnlab.load("runs/mine", model=scope["objects"]["model"]), scope["again"].model]
    assert torch.equal(*(next(model.parameters()) for model in weights))
    shown = dict(re.findall(r'^(\w+) = "(.*)"$', OWN, re.MULTILINE))
    assert {**read_config(Path("runs/mine/run.toml"))["rule"], "digest": shown["digest"]} == shown
    (commands,) = re.findall(r"^```\n(bnn .*?)```", OWN, re.MULTILINE | re.DOTALL)
    for words in commands.splitlines():
        answer = bnn(*shlex.split(words)[1:])
        assert answer.code == 0, answer.err


def test_the_readmes_table_names_every_component():
    table = README[README.index("## Components") :]
    for plugin, component in PluginHost().components():
        name = component.name.replace("permuted-", "NAME-")
        name = re.sub(r"^(permuted|split|chunked)-.*", r"\1-NAME", component.name)
        assert f"`{name}`" in table, component
        assert plugin.distribution in table


def test_the_readmes_commands_name_what_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_commands_in_the_pages_are_understood_and_fit(monkeypatch, capsys):
    host = PluginHost()
    monkeypatch.setattr("bnnlab.cli.running.PluginHost", lambda: host)
    for what_runs in ("bnnlab.cli.running._execute", "bnnlab_studies.commands.repeat.repeat"):
        monkeypatch.setattr(what_runs, lambda places, *_: require(host, resolve(host, places)))
    monkeypatch.setattr("bnnlab.cli.info.PluginHost", lambda: host)
    monkeypatch.setattr("bnnlab.cli.anatomy.take_apart", lambda *_: ([], None))
    folders = {plugin.distribution.removeprefix("bnnlab-") for plugin in host.plugins}
    of_plugins = [ROOT / "plugins" / name / "README.md" for name in sorted(folders)]
    pages = [ROOT / "README.md", *ROOT.glob("docs/results/*.md"), *of_plugins]
    text = "".join(block for page in pages for block in blocks(page.read_text(), ""))
    pattern = r"^(?:\.venv/bin/)?bnn ((?:run|info) .*?)(?: +#.*)?$"
    commands = re.findall(pattern, text.replace("\\\n", " "), re.MULTILINE)
    assert len(commands) > 40
    for words in (each.replace("RULE", "bp").replace("OPTIMIZER", "ewc") for each in commands):
        assert main(shlex.split(words)) == 0, (words, capsys.readouterr().err)


def test_the_guides_sweep_file_is_a_plan(tmp_path, capsys):
    (text,) = (block for block in blocks(STUDIES, "toml") if "[sweep]" in block)
    file = tmp_path / "rates.toml"
    file.write_text(text)
    assert main(["sweep", str(file), "--dry-run"]) == 0
    assert "2 x 2 cells" in text
    assert "4 cells x 5 seeds = 20 runs" in capsys.readouterr().out


def headings(page: Path) -> set[str]:
    """Return a page's headings as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_every_link_leads_to_a_file_and_a_heading():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    for page in [*pages, *ROOT.glob("plugins/*/README.md")]:
        for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
            name, _, heading = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page}: {link}"
            assert not heading or heading in headings(target), f"{page}: {link}"


def test_a_readme_of_methods_has_the_same_headings_in_every_plugin():
    host = PluginHost()
    for _, component in (each for part in PARTS for each in host.components(part)):
        package = component.target.partition(".")[0].removeprefix("bnnlab_")
        page = (ROOT / "plugins" / package / "README.md").read_text()
        found = re.findall(r"^## (.*)$", page, re.MULTILINE)
        assert found == ["Installation", "Usage", "Method", "Results", "Development"], package


def test_the_author_guide_lists_exactly_the_capabilities():
    table = PLUGINS[PLUGINS.index("## Capabilities") : PLUGINS.index("## Hooks")]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|$", table, re.MULTILINE)
    assert dict(rows) == dict(CAPABILITIES)


def test_the_author_guide_heads_every_hook_with_its_arguments():
    headed = set(re.findall(r"^### (bnnlab_\w+\(.*?\))$", PLUGINS, re.MULTILINE))
    hooks = {
        f"{name}({', '.join(inspect.signature(hook).parameters)})"
        for name, hook in vars(hookspecs).items()
        if name.startswith("bnnlab_")
    }
    assert headed == hooks


def test_the_author_guide_names_what_a_probe_is_given():
    table = PLUGINS[PLUGINS.index("| argument | its attributes |") :].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", table, re.MULTILINE))
    given = {"run": Run, "at": Moment, "batch": Batch, "prediction": Prediction, "control": Control}
    for name, kind in given.items():
        assert {*inspect.get_annotations(kind)} <= set(re.findall(r"`(\w+)", rows[name])), name


def test_the_running_guide_explains_every_key_of_a_result():
    keys = {field.name for field in dataclasses.fields(Result)} - {"model", "folder", "measures"}
    table = RUNNING[RUNNING.index("## The result") : RUNNING.index("## Weights")]
    assert keys <= set(re.findall(r"`(\w+)`", table))
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    assert {name: rows[name] for name in MEASURES} == {n: m.unit for n, m in MEASURES.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The author guide's files, written down, and installed as pip would leave them."""
    root = tmp_path_factory.mktemp("guide")
    files = dict(re.findall(r"^`([\w./]+)`[^\n]*:\n```\w+\n(.*?)```", PLUGINS, re.M | re.DOTALL))
    assert len(files) == len(re.findall("^```.", PLUGINS, re.M)), "a block without a file's name"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for package in (root / "src").iterdir():
        (package / "__init__.py").touch()
    for name in ("signbp", "acme"):  # "the one above with `acme` for `signbp`"
        about = tomli.loads(files["pyproject.toml"].replace("signbp", name))["project"]
        info = root / "src" / f"bnnlab_{name}-{about['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
        )
        ((group, points),) = about["entry-points"].items()
        lines = [f"{entry} = {module}" for entry, module in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return root


def run(words: str, folder: Path) -> None:
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
def test_the_author_guides_examples_pass_their_contracts(written):
    run("pytest -q -p no:cacheprovider tests", written)


@pytest.mark.slow
def test_the_author_guides_examples_run_together(written, monkeypatch):
    (words,) = re.findall(r"`bnn (run --rule dfa .*?)`", PLUGINS)
    more = "--epochs 1 --set model.channels=8 --set stream.tasks=2 --out . --name all -q"
    run(f"bnnlab.cli {words} {more}", written)
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
    observer = importlib.import_module("bnnlab_acme.plugin")
    before = table.read_text()
    table.write_text(before + "1,1,0.0,1.0\n")  # an epoch after the checkpoint
    observer.bnnlab_run_started(folder, resumed=True)
    assert table.read_text() == before
