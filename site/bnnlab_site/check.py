"""Check a built site: every link leads somewhere, and nothing is loaded from elsewhere."""

from collections.abc import Iterator
from html.parser import HTMLParser
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that load what they name, and the attribute that names it."""


class _Page(HTMLParser):
    """What one page has: the names of its places, and the addresses that it links and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has."""
        said = {name: value or "" for name, value in attrs}
        self.places |= {said["id"]} if "id" in said else set()
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if tag in _LOADS and _LOADS[tag] in said:
            self.loads.append(said[_LOADS[tag]])


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong with a site, each with its page."""
    pages = {file: _Page(file.read_text("utf-8")) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        where = file.relative_to(site)
        for address in page.loads:
            if urlsplit(address).netloc:
                yield f"{where}: loads {address}"
        for address in {*page.links, *page.loads}:
            if fault := _broken(address, file, pages):
                yield f"{where}: {address}: {fault}"


def _broken(address: str, file: Path, pages: dict[Path, _Page]) -> str:
    """Return why an address leads to nothing; empty if it does, or leads elsewhere."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return ""
    path = unquote(parts.path)
    target = Path(normpath(file.parent / path)) if path else file
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "no such page or file"
    place = unquote(parts.fragment)
    lacks = place and target in pages and place not in pages[target].places
    return "no such heading" if lacks else ""
