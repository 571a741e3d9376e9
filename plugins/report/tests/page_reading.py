"""A report, read back: its tags, its tables, its text; and a name that must be text in it."""

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

Cell = tuple[str, float | None]
"""The text of a cell, and its number in full precision."""


EVIL = "<script>alert('1')</script> & \"quoted\"\n=1+1]]>\u202e\x1b[31m"
"""A name that breaks out of whatever does not escape it."""


@dataclass
class Read(HTMLParser):
    """What a page has.

    Attributes:
        tags: How often each tag is there.
        attributes: All of them: tag, name, value.
        tables: Rows of each table by its name, the heads first.
        text: All that is shown.
        titles: Number of each heading, in their order.
    """

    page: str
    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    tables: dict[str, list[list[Cell]]] = field(default_factory=dict)
    text: str = ""
    titles: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._cell: list[str] | None = None
        self._value: float | None = None
        self.feed(self.page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        its = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in its.items()]
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.titles.append(int(tag[1]))
        if "data-name" in its:
            assert its["data-name"] not in self.tables
            self._rows = self.tables[its["data-name"]] = []
        if tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = []
            self._value = float(its["data-v"]) if "data-v" in its else None

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} is closed, and another one open"
        if tag in ("td", "th") and self._cell is not None:
            self._rows[-1].append(("".join(self._cell), self._value))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & {*self._open}:
            self.text += data
        if self._cell is not None:
            self._cell.append(data)

    def column(self, table: str, head: str) -> list[float | str | None]:
        """Return a column: numbers in full precision, None for what is missing, else text."""
        heads, *rows = self.tables[table]
        place = [text for text, _ in heads].index(head)
        return [_content(row[place]) for row in rows]


def _content(cell: Cell) -> float | str | None:
    text, value = cell
    if value is not None:
        return value
    if text in ("not measured", "not defined", "one seed", "too few pairs", "no pair"):
        return None
    try:
        return float(text)
    except ValueError:
        return text
