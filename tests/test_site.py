"""The source of the site: each page is there, its links lead somewhere, and code says what is so.

Zensical is not needed. `make docs` builds the pages, and checks them as built.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import bnnlab
from bnnlab.cli import app
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import load_index
from bnnlab.settings.run import KINDS, RUN_OPTIONS
from bnnlab_site.check import faults
from bnnlab_site.markdown import CODE, FENCED, escaped, portable
from bnnlab_site.navigation import navigation
from bnnlab_site.sources import Links

ROOT = Path(__file__).parents[1]
ASSEMBLE = """
import sys
from pathlib import Path
from bnnlab_site.assemble import assemble
assemble(*map(Path, sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of pages. The process that makes them has all plugins on its path."""
    folder = tmp_path_factory.mktemp("site")
    path = os.pathsep.join([str(ROOT / "site"), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-c", ASSEMBLE, str(ROOT), str(folder)]
    subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, check=True)
    return folder / "docs"


@pytest.fixture(scope="module")
def pages(source: Path) -> dict[str, str]:
    """Return the pages by their place."""
    return {it.relative_to(source).as_posix(): it.read_text() for it in source.rglob("*.md")}


def of_plugin(pages: dict[str, str], distribution: str) -> str:
    name = distribution.removeprefix("bnnlab-")
    (page,) = (
        pages[place] for place in (f"methods/{name}.md", f"tools/{name}.md") if place in pages
    )
    return page


@pytest.mark.slow
def test_every_plugin_has_a_page_with_its_components(pages: dict[str, str]) -> None:
    for entry in load_index().plugins:
        page = of_plugin(pages, entry.distribution)
        options = page.partition("## All options")[2]
        for offer in entry.offers:
            kind, _, name = offer.partition(":")
            assert kind == "command" or f"`{name}`" in options, offer


def test_a_page_has_all_options_of_its_components(pages: dict[str, str]) -> None:
    for plugin, component in PluginHost().components():
        page = of_plugin(pages, plugin.distribution)
        for option in component.options:
            assert f"\n| `{option.name}` | " in page, (component, option.name)


def test_every_command_has_its_section(pages: dict[str, str]) -> None:
    own = typer.main.get_group(app).commands
    offers = (offer.split(":") for entry in load_index().plugins for offer in entry.offers)
    added = {name for kind, name in offers if kind == "command"}
    assert {*re.findall("^## bnn (.*)$", pages["reference/cli.md"], re.M)} == {*own, *added}


def test_a_section_has_usage_options_and_examples(pages: dict[str, str]) -> None:
    _, _, section = pages["reference/cli.md"].partition("\n## bnn check\n")
    section = section.partition("\n## ")[0]
    assert "bnn check [OPTIONS]" in section
    assert re.search(r"^\| `-o, --optimizer NAME` \| Optimizer: ", section, re.M)
    assert re.search(r"^```\nbnn check", section, re.M)


def test_every_setting_has_its_row(pages: dict[str, str]) -> None:
    rows = {*re.findall(r"^\| `(\w+)` \|", pages["reference/settings.md"], re.M)}
    assert {*KINDS, *(option.name for option in RUN_OPTIONS)} <= rows


def test_every_public_name_and_hook_has_its_heading(pages: dict[str, str]) -> None:
    reference = [text for place, text in pages.items() if place.startswith("reference/python/")]
    names = re.findall("^## `(.*)`$", "\n".join(reference), re.M)
    public = [name for name in bnnlab.__all__ if not name.startswith("_")]
    assert sorted(name for name in names if not name.startswith("bnnlab_")) == sorted(public)
    assert "bnnlab_run_ended" in names


def test_every_link_leads_to_a_page_or_a_file(source: Path, pages: dict[str, str]) -> None:
    for place, text in pages.items():
        prose = CODE.sub("", FENCED.sub("", text))
        for link in re.findall(r"\[[^]]*\]\((?![a-z]+:|#)([^)#]+)", prose):
            assert (source / place).parent.joinpath(link).is_file(), f"{place}: {link}"


# ------------------------------------------------------------------ how it is made


@pytest.fixture
def links(tmp_path: Path) -> Links:
    """Return the links of a repository of two pages, a picture and a source file."""
    for name in ("docs/a.md", "docs/images/b.png", "plugins/c/README.md", "core/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    places = {tmp_path / "docs/a.md": "a.md", tmp_path / "plugins/c/README.md": "methods/c.md"}
    return Links(tmp_path, places)


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("[A](../../docs/a.md#b)", "[A](../a.md#b)"),
        ("see [a\nb](README.md)", "see [a\nb](c.md)"),
        ("![B](../../docs/images/b.png)", "![B](../images/b.png)"),
        ("[code `d`](../../core/d.py) and [core](../../core)", "code `d` and core"),
        ("[it](#there), [out](https://a.b/c)", "[it](#there), [out](https://a.b/c)"),
        ("`[no](x.md)`\n```\n[no](x.md)\n```", "`[no](x.md)`\n```\n[no](x.md)\n```"),
    ],
)
def test_a_link_leads_to_the_place_of_its_page(links: Links, written: str, made: str) -> None:
    assert links.rewrite(written, links.root / "plugins/c/README.md") == made
    assert links.broken == []


def test_a_link_that_leads_to_nothing_is_named_with_its_page(links: Links) -> None:
    links.rewrite("[x](y.md#z)", links.root / "docs/a.md")
    assert links.broken == ["docs/a.md: y.md#z"]


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("text:\n- a\n- b\n", "text:\n\n- a\n- b\n"),
        ("- a\n  - b\n", "- a\n    - b\n"),
        ("text\n| a |\n|---|\n", "text\n\n| a |\n|---|\n"),
        ("of w and\n|m| is large\n", "of w and\n|m| is large\n"),
        ("text:\n```\na\n- b\n```\n", "text:\n\n```\na\n- b\n```\n\n"),
        ("1. a\n   ```\n   b\n   ```\n2. c\n", "1. a\n\n    ```\n    b\n    ```\n\n2. c\n"),
    ],
)
def test_blocks_begin_where_they_do_on_a_forge(written: str, made: str) -> None:
    assert portable(written) == made


def test_plain_text_stays_what_it_is() -> None:
    assert escaped("a_b [c] | <d> `e_f|g`") == r"a\_b \[c\] \| &lt;d> `e_f|g`"


def test_a_page_in_no_section_is_refused() -> None:
    titles = {"index.md": "Home", "faq.md": "Questions"}
    assert navigation(titles) == [
        {"Start": [{"Home": "index.md"}]},
        {"Guides": [{"Questions": "faq.md"}]},
    ]
    with pytest.raises(ValueError, match=r"lost\.md"):
        navigation({**titles, "lost.md": "Lost"})


def test_what_is_wrong_with_a_built_site_is_found(tmp_path: Path) -> None:
    good = '<a href="b.html#here"></a><a href="#top"></a><p id="top"></p><img src="c%20d.png">'
    (tmp_path / "a.html").write_text(good)
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="https://a.b/c">out</a>')
    (tmp_path / "c d.png").touch()
    assert [*faults(tmp_path)] == []
    (tmp_path / "b.html").write_text('<img src="e.png"><script src="https://a.b/c.js"></script>')
    assert sorted(faults(tmp_path)) == [
        "a.html: b.html#here: no such heading",
        "b.html: e.png: no such page or file",
        "b.html: loads https://a.b/c.js",
    ]
