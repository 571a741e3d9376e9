"""The built site in a browser, as a file: it can be read and searched, and asks nobody."""

import json
import time
from collections.abc import Iterator

import chromium
import pytest

from bnnlab_docs.commands import HOME

pytestmark = [
    pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium"),
    pytest.mark.skipif(not HOME.is_file(), reason="there is no built site: make docs"),
    pytest.mark.slow,  # a browser takes seconds to start
]
SEARCH = "[...document.body.children].map((each) => each.shadowRoot).find((it) => it)"
PATIENCE = 20
"""Seconds that a search may take."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def expect_that_nobody_is_asked(page: chromium.Page) -> None:
    """Check that all that was loaded is a file, and that the console is empty."""
    loaded = [each["request"]["url"] for each in page.seen("Network.requestWillBeSent")]
    assert loaded, "the page itself is loaded"
    assert [url for url in loaded if not url.startswith(("file:", "data:", "about:"))] == []
    assert page.seen("Log.entryAdded") == []
    assert page.seen("Runtime.exceptionThrown") == []
    assert page.seen("Runtime.consoleAPICalled") == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    "place", ["index", "methods/eqprop", "reference/cli", "results/vit", "reference/python/layers"]
)
def test_a_page_fits_the_window_and_asks_nobody(
    page: chromium.Page, place: str, width: int
) -> None:
    page.open(HOME.parent / f"{place}.html", width=width)
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js("document.querySelector('h1').getBoundingClientRect().width") > width / 3
    expect_that_nobody_is_asked(page)


@pytest.mark.parametrize(
    ("words", "place"),
    [("forgetting", "results/rehearsal.html"), ("EqProp", "methods/eqprop.html")],
)
def test_the_search_finds_words_without_a_server(
    page: chromium.Page, words: str, place: str
) -> None:
    page.open(HOME)
    page.js("document.querySelector('.md-search__button').click()")
    field = f"{SEARCH}.querySelector('input')"
    typed = f"{field}.value = {json.dumps(words)}"
    page.js(f"{typed}; {field}.dispatchEvent(new Event('input', {{ bubbles: true }}))")
    end = time.monotonic() + PATIENCE
    found: list[str] = []
    while not found and time.monotonic() < end:
        found = page.js(f"[...{SEARCH}.querySelectorAll('a')].map((each) => each.href)")
    assert any(f"/{place}?" in address for address in found), found
    expect_that_nobody_is_asked(page)
