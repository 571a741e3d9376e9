"""Results as HTML, for notebooks: without a script or a style sheet.

Text takes the colour of the page, and a cell with a colour of its own sets both: so all can be read
on light and on dark pages.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bnnlab.engine.figures import (
    SHARE,
    Rows,
    Score,
    chosen,
    has_one_task,
    head,
    heading,
    score_of,
    tail,
)

_COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Of viridis, as in the pictures."""

Cell = str | float | None
"""Of a table: a text, or a score, which has a colour; None was not measured."""


def result_html(result: Mapping[str, Any], told: Rows, folder: Path | None) -> str:
    """Return the accuracy matrix of a result, its measures, and what they belong to.

    Args:
        result: What result.json holds.
        told: What `bnnlab.engine.result.told` returns.
        folder: Of the run.
    """
    parts = [f"<b>{escape(head(result))}</b>"]
    if not has_one_task(result):
        matrix = matrix_html(result["accuracy"], result["flips"], score_of(result))
        parts += [escape(heading(result)), matrix]
    parts.append(table(told, texts=(0, 2)))
    return stacked([*parts, escape(tail(result, folder))])


def matrix_html(
    accuracy: Sequence[Sequence[float | None]], flips: Sequence[float | None], score: Score = SHARE
) -> str:
    """Return an accuracy matrix, or that of another score; of many tasks, some of them."""
    count = len(accuracy)
    shown = chosen(count)
    heads = ["after", *(f"on {j + 1}" for j in shown), *(["flips"] if flips else [])]
    rows: list[list[Cell]] = []
    for i in shown:
        share = flips[i] if flips else None
        last = ["" if share is None else SHARE.number(share)] if flips else []
        rows.append([f"task {i + 1}", *(accuracy[i][j] for j in shown), *last])
    note = f"{len(shown)} of {count} tasks are shown." if len(shown) < count else ""
    return table(rows, heads, score=score) + note


def stacked(parts: Sequence[str]) -> str:
    """Return pieces of HTML, one below another."""
    return "".join(f'<div style="margin:4px 0;overflow-x:auto">{part}</div>' for part in parts)


def table(
    rows: Sequence[Sequence[Cell]],
    heads: Sequence[str] = (),
    texts: Sequence[int] = (0,),
    score: Score = SHARE,
) -> str:
    """Return a table of escaped texts and coloured accuracies.

    Args:
        rows: The cells.
        heads: Of the columns.
        texts: The columns that are aligned to the left.
        score: What the numbers are.
    """

    def line(tag: str, cells: Sequence[Cell]) -> str:
        sides = ["left" if place in texts else "right" for place in range(len(cells))]
        inner = "".join(_cell(score, tag, *each) for each in zip(sides, cells, strict=True))
        return f"<tr>{inner}</tr>"

    top = f"<thead>{line('th', heads)}</thead>" if heads else ""
    body = "".join(line("td", row) for row in rows)
    return f'<table style="border-collapse:collapse">{top}<tbody>{body}</tbody></table>'


def _cell(score: Score, tag: str, side: str, content: Cell) -> str:
    colours, shown = "", "-"
    if isinstance(content, str):
        shown = escape(content)
    elif content is not None:
        colours, shown = _colours(content), score.number(content)
    return f'<{tag} style="padding:2px 8px;border:0;text-align:{side};{colours}">{shown}</{tag}>'


def _colours(share: float) -> str:
    """Return the background of an accuracy, and a colour that can be read on it."""
    place = min(1.0, max(0.0, share)) * (len(_COLOURS) - 1)
    low = min(int(place), len(_COLOURS) - 2)
    pairs = zip(_COLOURS[low], _COLOURS[low + 1], strict=True)
    mixed = ",".join(f"{round(a + (place - low) * (b - a))}" for a, b in pairs)
    return f"background:rgb({mixed});color:{'#fff' if share < 0.6 else '#000'}"
