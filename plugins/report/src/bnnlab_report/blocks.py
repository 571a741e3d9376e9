"""What a page is made of: sections of notes, tables, figures and code."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from bnnlab.engine.figures import Score
from bnnlab_studies.tables import is_fraction, text

if TYPE_CHECKING:
    from bnnlab_report.drawing.intervals import Intervals
    from bnnlab_report.drawing.matrix import Matrix
    from bnnlab_report.drawing.plot import Plot

MISSING = "not measured"
"""How a value is shown that is not there."""
LONG = 8
"""Rows of a table that an eye can search."""
SHORT = 25
"""Characters of a name that has room on a line."""


@dataclass(frozen=True)
class Number:
    """A number in a table.

    Attributes:
        value: In full precision, as the download has it; None: there is none.
        text: As it is shown.
    """

    value: float | None
    text: str


Cell = Number | str


@dataclass(frozen=True)
class Table:
    """A table. The first column names its rows.

    Attributes:
        name: Of the file with its data, and the last part of its anchor.
        caption: What it shows.
        heads: Of the columns.
        rows: Their cells.
    """

    name: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    kind: str = "table"

    @property
    def filtered(self) -> bool:
        """Whether it has a field that filters its rows."""
        return len(self.rows) > LONG

    @property
    def short(self) -> bool:
        """Whether the names of its rows are short: none of them is folded."""
        return all(isinstance(row[0], Number) or len(row[0]) < SHORT for row in self.rows)

    @property
    def numeric(self) -> list[bool]:
        """Whether each column is one of numbers."""
        columns = [*zip(*self.rows, strict=True)] or [()] * len(self.heads)
        return [bool(it) and all(isinstance(cell, Number) for cell in it) for it in columns]


@dataclass(frozen=True)
class Figure:
    """A drawing, and the table of what it shows.

    Attributes:
        name: Of the files with its drawing and data, and its anchor.
        title: What is drawn.
        about: How to read it.
        drawing: What is drawn.
        heads, rows: Of the table: all that it shows, as numbers.
        caption: Of the table, if it is not the title.
    """

    name: str
    title: str
    about: str
    drawing: "Plot | Matrix | Intervals"
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    @property
    def table(self) -> Table:
        """All that it shows."""
        return Table(self.name, self.caption or self.title, self.heads, self.rows)


@dataclass(frozen=True)
class Figures:
    """Figures side by side, where there is room."""

    figures: Sequence[Figure]
    kind: str = "figures"

    @property
    def form(self) -> str:
        """What the first one draws; matrices need less room than others."""
        return self.figures[0].drawing.kind


@dataclass(frozen=True)
class Note:
    """A paragraph. A `warning` is marked as one."""

    text: str
    is_warning: bool = False
    kind: str = "note"


@dataclass(frozen=True)
class Code:
    """Commands or a file, to be copied."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown on request."""

    summary: str
    blocks: "Sequence[Block]"
    kind: str = "folded"


Block = Note | Table | Figures | Code | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its anchor.
        title: Its heading.
        blocks: What is in it.
    """

    name: str
    title: str
    blocks: Sequence[Block]


def number(name: str, value: Any, score: Score, *, missing: str = MISSING, **how: Any) -> Number:
    """Return a value of a setting or measure as `bnn compare` shows it.

    Args:
        name: Of the setting or measure: fractions are shown in %.
        value: None and what is not finite is missing.
        score: Of the runs.
        missing: What is shown then.
        how: `sign` and `digits` of `bnnlab_studies.tables.text`.
    """
    if value is None or not isfinite(value):
        return Number(None, missing)
    return Number(value, text(name, value, score, **how))


def count(value: int) -> Number:
    """Return a whole number."""
    return Number(value, f"{value:,}")


def plain(value: float | None, digits: int = 3, missing: str = MISSING) -> Number:
    """Return a number with so many significant digits."""
    if value is None or not isfinite(value):
        return Number(None, missing)
    return Number(value, f"{value:#.{digits}g}")


def drawn(name: str, value: float | None, score: Score) -> float | None:
    """Return a value of a measure as figures have it: fractions in %."""
    return 100 * value if value is not None and is_fraction(name, score) else value


def spread(amount: int, most: int) -> list[int]:
    """Return at most so many of the numbers below one, evenly, the first and last included."""
    if amount <= most:
        return [*range(amount)]
    return [round(place * (amount - 1) / (most - 1)) for place in range(most)]
