"""The documents say what is so: their code runs, and their tables equal the code.

test_pages.py runs every block and every `bnn` line, test_plugin_pages.py the tutorials.
"""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import tomli
import torch
import typer
from pages import PAGES, ROOT, blocks, commands, installed, name, read, understood

import bnnlab
from bnnlab.cli import app, main
from bnnlab.engine.result import MEASURES, Result
from bnnlab.errors import UsageError
from bnnlab.registry.components import PARTS
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config

# ---------------------------------------------------------------------------------- all pages


def headings(page: Path) -> set[str]:
    """Return a page's headings as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_every_link_leads_to_a_file_and_a_heading():
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)]+)\)", read(name(page))):
            file, _, heading = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), f"{page}: {link}"
            assert not heading or heading in headings(target), f"{page}: {link}"


def test_every_command_in_the_pages_is_understood(monkeypatch):
    host, group = PluginHost(), typer.main.get_command(app)
    monkeypatch.setattr("bnnlab.cli.commands.PluginHost", lambda: host)
    there = {*group.list_commands(group.make_context("bnn", [], resilient_parsing=True))}
    code = [block for page in PAGES for block in blocks(read(name(page)))]
    lines = [words for block in code for words in commands(block)]
    assert len(lines) > 100
    for words in lines:
        words = words[2:] if words[0] == "--plugin" else words
        if words[0] in there or not host.index.offering(f"command:{words[0]}"):
            understood(group, words)


def test_an_unknown_command_in_a_page_is_named():
    group = typer.main.get_command(app)
    with pytest.raises(UsageError, match=r"unknown command 'rum'\. Did you mean 'run'"):
        understood(group, ["rum", "--rule", "dfa"])


def test_the_runs_in_the_pages_fit(monkeypatch, capsys):
    host = PluginHost()
    monkeypatch.setattr("bnnlab.cli.running.PluginHost", lambda: host)
    for what_runs in ("bnnlab.cli.running._execute", "bnnlab_studies.commands.repeat.repeat"):
        monkeypatch.setattr(what_runs, lambda places, *_: require(host, resolve(host, places)))
    monkeypatch.setattr("bnnlab.cli.info.PluginHost", lambda: host)
    monkeypatch.setattr("bnnlab.cli.anatomy.take_apart", lambda *_: None)
    text = [block for page in installed(host) for block in blocks(read(name(page)), "")]
    lines = [shlex.join(words) for block in text for words in commands(block)]
    # not those of plugins that are not installed, or with a file that is not there
    fit_here = r"^(run|info)\b(?!.*(\b(sparrow|signbp)\b|best\.toml))"
    fit = [line for line in lines if re.match(fit_here, line)]
    assert len(fit) > 40
    for line in (each.replace("RULE", "bp").replace("OPTIMIZER", "ewc") for each in fit):
        assert main(shlex.split(line)) == 0, (line, capsys.readouterr().err)


def test_what_make_is_asked_for_exists():
    makefile = read("Makefile")
    for page in PAGES:
        for block in blocks(read(name(page)), ""):
            for target in re.findall(r"^make ([\w-]+)", block.text, re.MULTILINE):
                of_all = re.sub("^test-.*", "test-%", target)
                assert re.search(rf"^({target}|{of_all}):", makefile, re.MULTILINE), target


def test_a_readme_of_methods_has_the_same_headings_in_every_plugin():
    host = PluginHost()
    for _, component in (each for part in PARTS for each in host.components(part)):
        package = component.target.partition(".")[0].removeprefix("bnnlab_")
        page = read(f"plugins/{package}/README.md")
        found = re.findall(r"^## (.*)$", page, re.MULTILINE)
        assert found == ["Installation", "Usage", "Method", "Results", "Development"], package


# ------------------------------------------------------------------------------------ one page


def test_the_readme_is_short_and_its_code_runs(capsys):
    readme = read("README.md")
    assert len(readme.splitlines()) < 120
    printed = []
    for block in blocks(readme, "python"):
        assert len([line for line in block.text.splitlines() if line.strip()]) < 15
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            exec(compile(block.text, "README.md", "exec"), {})
        printed.append(capsys.readouterr().out)
    loop, script = printed
    assert re.fullmatch(r"\[\[0\.\d+, 0\.\d+\], \[0\.\d+, 0\.\d+\]\] -?0\.\d+\n", loop)
    assert 0.5 < float(script) <= 1


@pytest.mark.slow
def test_the_code_of_the_page_on_ones_own_runs(own_folder, bnn, capsys):
    """In one namespace, as a script; the file is written, and the commands are called."""
    page, scope = read("docs/own.md"), {"__name__": "__main__"}
    with torch.random.fork_rng(devices=[]):
        for block in blocks(page, "python"):
            if block.file:
                (own_folder / block.file).write_text(block.text)
            else:
                exec(compile(block.text, "docs/own.md", "exec"), scope)
    assert (scope["prediction"][:, 0] - scope["wave"].sin()).abs().mean() < 0.3
    assert scope["again"].accuracy == scope["result"].accuracy
    weights = [bnnlab.load("runs/mine", model=scope["objects"]["model"]), scope["again"].model]
    assert torch.equal(*(next(model.parameters()) for model in weights))
    shown = dict(re.findall(r'^(\w+) = "(.*)"$', page, re.MULTILINE))
    assert {**read_config(Path("runs/mine/run.toml"))["rule"], "digest": shown["digest"]} == shown
    for words in (words for block in blocks(page, "") for words in commands(block)):
        answer = bnn(*words)
        assert answer.code == 0, answer.err


def test_the_table_of_components_names_every_component():
    table = read("docs/methods/index.md")
    for plugin, component in PluginHost().components():
        called = re.sub(r"^(permuted|rotated|split|chunked)-.*", r"\1-NAME", component.name)
        assert f"`{called}`" in table, component
        assert plugin.distribution in table


def test_the_guides_sweep_file_is_a_plan(tmp_path, capsys):
    (text,) = (b.text for b in blocks(read("docs/studies.md"), "toml") if "[sweep]" in b.text)
    file = tmp_path / "rates.toml"
    file.write_text(text)
    assert main(["sweep", str(file), "--dry-run"]) == 0
    assert "2 x 2 cells" in text
    assert "4 cells x 5 seeds = 20 runs" in capsys.readouterr().out


def test_the_running_guide_explains_every_key_of_a_result():
    keys = {field.name for field in dataclasses.fields(Result)} - {"model", "folder", "measures"}
    page = read("docs/running.md")
    table = page[page.index("## The result") : page.index("## Weights")]
    assert keys <= set(re.findall(r"`(\w+)`", table))
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    assert {name: rows[name] for name in MEASURES} == {n: m.unit for n, m in MEASURES.items()}


def test_the_messages_that_the_faq_explains_are_in_the_source():
    files = [*ROOT.glob("core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    files += ROOT.glob("runtime/src/**/*.py")
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # texts over several lines are one
    quoted = re.findall(r"^> (.+)$", read("docs/faq.md"), re.MULTILINE)
    assert len(quoted) > 20
    for message in quoted:
        for piece in message.split("..."):
            assert piece.strip() in source, message


def test_a_citation_names_the_version():
    version = tomli.loads(read("pyproject.toml"))["project"]["version"]
    assert f"\nversion: {version}\n" in read("CITATION.cff")
    assert f"version = {{{version}}}" in read("docs/cite.md")
