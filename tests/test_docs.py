"""The documents say what is so: their code runs, and their tables equal the code."""

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli

from bnnlab import hookspecs
from bnnlab.components import CAPABILITIES
from bnnlab.experiment import Result
from bnnlab.host import PluginHost

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()
RUNNING = (ROOT / "docs" / "running.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readmes_loop_runs_and_is_under_fifteen_lines(capsys):
    (code,) = blocks(README, "python")
    assert len([line for line in code.splitlines() if line.strip()]) < 15
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("permutation") == 2


def test_the_readmes_table_names_every_component():
    table = README[README.index("## What there is") :]
    for plugin, component in PluginHost().components():
        name = component.name.replace("permuted-", "NAME-")
        name = re.sub(r"^(permuted|split|chunked)-.*", r"\1-NAME", component.name)
        assert f"`{name}`" in table, component
        assert plugin.distribution in table


def test_the_readmes_commands_name_what_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for page in re.findall(r"\]\((?!http)([^)#]+)\)", README + PLUGINS + RUNNING):
        assert (ROOT / page).exists(), page


def test_the_author_guide_lists_exactly_the_capabilities():
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|$", PLUGINS, re.MULTILINE)
    assert dict(rows) == dict(CAPABILITIES)


def test_the_author_guide_heads_every_hook_with_its_arguments():
    headed = set(re.findall(r"^### (bnnlab_\w+\(.*?\))$", PLUGINS, re.MULTILINE))
    hooks = {
        f"{name}({', '.join(inspect.signature(hook).parameters)})"
        for name, hook in vars(hookspecs).items()
        if name.startswith("bnnlab_")
    }
    assert headed == hooks


def test_the_running_guide_explains_every_key_of_a_result():
    keys = {field.name for field in dataclasses.fields(Result)} - {"model", "folder"}
    table = RUNNING[RUNNING.index("## The result") :]
    assert keys <= set(re.findall(r"`(\w+)`", table))


@pytest.fixture
def written_plugin(tmp_path):
    """The author guide's example, written down, and installed as pip would leave it."""
    (project,) = blocks(PLUGINS, "toml")
    plugin, rule, test = blocks(PLUGINS, "python")
    package = tmp_path / "src" / "bnnlab_signbp"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(plugin)
    (package / "rule.py").write_text(rule)
    (tmp_path / "test_rule.py").write_text(test)
    about = tomli.loads(project)["project"]
    info = tmp_path / "src" / "bnnlab_signbp-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )
    ((group, points),) = about["entry-points"].items()
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return tmp_path


def test_the_author_guides_example_passes_its_contract_and_trains(written_plugin, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(written_plugin / "src"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_rule.py"]
    done = subprocess.run(command, cwd=written_plugin, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    words = "run --rule signbp --epochs 1 --out none -q --set stream.tasks=1"
    command = [sys.executable, "-m", "bnnlab.cli", *words.split()]
    done = subprocess.run(command, cwd=written_plugin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
