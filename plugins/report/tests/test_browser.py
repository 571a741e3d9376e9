"""A report in a browser: it sorts, filters, changes its theme, saves, and loads nothing."""

import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import chromium
import pytest
from page_reading import EVIL

from bnnlab.errors import printable
from bnnlab_report import write

pytestmark = [
    pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium"),
    pytest.mark.slow,  # a browser takes seconds to start
]
MakeRun = Callable[..., Path]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def report(study: Path, make_run: MakeRun, tmp_path: Path) -> Path:
    """Return a report in which one cell has a name that must be text."""
    for seed in range(3):
        settings = {"optimizer": {"name": EVIL, "lr": 0.01}, "seed": seed}
        make_run(f"study/evil/seed-{seed}", 0.55 + seed / 100, layer=EVIL, **settings)
    write([study], tmp_path / "report.html")
    return tmp_path / "report.html"


def rows(page: chromium.Page, table: str, column: int) -> list[str]:
    place = f"document.querySelectorAll('[data-name={table}] tbody tr:not([hidden])')"
    found: list[str] = page.js(f"[...{place}].map((row) => row.cells[{column}].textContent)")
    return found


def saved(page: chromium.Page, button: str, folder: Path) -> str:
    """Click a button, and return what it saves."""
    how = {"behavior": "allow", "downloadPath": str(folder), "eventsEnabled": True}
    page.call("Browser.setDownloadBehavior", **how)
    page.js(f"document.querySelector({json.dumps(button)}).click()")
    page.wait("Browser.downloadProgress", state="completed")
    name = page.wait("Browser.downloadWillBegin")["suggestedFilename"]
    page.events.clear()
    return (folder / str(name)).read_text()


def test_tables_sort_and_filter(page: chromium.Page, report: Path) -> None:
    page.open(report)
    before = rows(page, "cells", 2)
    head = "document.querySelectorAll('[data-name=cells] thead th')[2]"
    for direction in ("ascending", "descending"):
        page.js(f"{head}.querySelector('button').click()")
        assert page.js(f"{head}.getAttribute('aria-sort')") == direction
        expected = sorted(before, key=float, reverse=direction == "descending")
        assert rows(page, "cells", 2) == expected != before
    field = "document.querySelector('[data-name=runs] .filter')"
    page.js(f"{field}.value = 'META seed-1'; {field}.dispatchEvent(new Event('input'))")
    assert len(rows(page, "runs", 0)) == 1
    assert page.js("document.querySelector('#runs-found').textContent") == "1 of 12 rows"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_that_of_the_system_until_one_is_chosen(
    page: chromium.Page, report: Path, theme: str
) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    page.open(report, theme=theme)
    light, dark = "rgb(255, 255, 255)", "rgb(20, 23, 27)"
    assert page.js(colour) == (light if theme == "light" else dark)
    page.js("document.querySelector('.theme').click()")
    assert page.js(colour) == (dark if theme == "light" else light)


def test_paper_is_white_and_has_no_buttons(page: chromium.Page, report: Path) -> None:
    page.open(report, theme="dark")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.call("Emulation.setEmulatedMedia", media="print", features=features)
    assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for what in (".theme", ".csv", ".svg", "nav", "details:not([open])"):
        assert page.js(f"document.querySelector('{what}').offsetHeight") == 0, what
    page.call("Emulation.setEmulatedMedia", media="")


def test_a_figure_is_saved_as_it_looks_and_needs_no_style(
    page: chromium.Page, report: Path, tmp_path: Path
) -> None:
    page.open(report, theme="dark")
    drawn = ElementTree.fromstring(saved(page, "#average button.svg", tmp_path))
    assert drawn.tag == f"{SVG}svg"
    (paper, *_) = drawn
    assert (paper.tag, paper.get("fill")) == (f"{SVG}rect", "rgb(20, 23, 27)")
    lines = [each for each in drawn.iter(f"{SVG}path") if each.get("stroke-width") == "2px"]
    assert len({line.get("color") for line in lines}) == 4
    assert printable(EVIL)[-20:] in "".join(drawn.itertext())
    assert not list(drawn.iter(f"{SVG}script"))


def test_data_are_saved_in_full_and_compute_nothing(
    page: chromium.Page, report: Path, tmp_path: Path
) -> None:
    page.open(report)
    found = [*csv.DictReader(io.StringIO(saved(page, "[data-name=cells] .csv", tmp_path)))]
    assert len(found) == 4
    assert float(found[0]["average accuracy %"]) == pytest.approx((0.6 + 0.66 + 0.71 + 1.5) / 6)
    assert {row["plasticity %"] for row in found if "plasticity %" in row} <= {""}
    page.js("document.querySelector('[data-name=cells] tbody th').textContent = '=1+1'")
    again = saved(page, "[data-name=cells] .csv", tmp_path / "again")
    assert again.splitlines()[1].startswith("'=1+1,")


def test_nothing_is_loaded_and_the_policy_stops_foreign_code(
    page: chromium.Page, report: Path
) -> None:
    page.open(report)
    assert [each["request"]["url"] for each in page.seen("Network.requestWillBeSent")] == [
        report.as_uri()
    ]
    assert not page.seen("Log.entryAdded")
    assert not page.seen("Runtime.exceptionThrown")
    evil = '<img src="http://127.0.0.1:9/x.png" onerror="window.hacked = 1">'
    report.write_text(report.read_text().replace("<h1>", f"{evil}<script>hacked = 1</script><h1>"))
    page.open(report)
    assert page.js("window.hacked ?? null") is None
    assert len(page.seen("Log.entryAdded")) >= 2, "the policy says what it stopped"
    lost = {each["requestId"]: each["blockedReason"] for each in page.seen("Network.loadingFailed")}
    for each in page.seen("Network.requestWillBeSent"):
        own = each["request"]["url"] == report.as_uri()
        assert own or lost[each["requestId"]] == "csp", "it is stopped before it is sent"


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(page: chromium.Page, report: Path, width: int) -> None:
    page.open(report, width=width)
    page.js("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.js("document.documentElement.scrollWidth") <= width
    tall = "[...document.querySelectorAll('svg text')].map((it) => it.getBoundingClientRect())"
    boxes = page.js(f"{tall}.filter((box) => box.width).map((box) => [box.left, box.right])")
    assert all(left >= 0 and right <= width for left, right in boxes)


NODE = os.environ.get("BNNLAB_NODE_MODULES", "")


@pytest.mark.skipif(
    not (NODE and shutil.which("node")), reason="BNNLAB_NODE_MODULES names no folder of packages"
)
def test_validators_find_nothing(report: Path) -> None:
    script = Path(__file__).with_name("validate.mjs")
    words = ["node", str(script), NODE, str(chromium.PROGRAM), str(report)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found, done.stderr
    assert not any(found.values()), found
