"""The table that sums up all studies, from docs/results/summary.toml."""

import re
from collections.abc import Callable, Iterator

import tomli

from bnnlab import UsageError
from bnnlab.errors import did_you_mean
from generated.rendering import Cells, Described, entry, lines
from generated.studies import HOME

HEADINGS = ("method", "task", "protocol", "accuracy, %", "baseline, %", "details")


def summary(cells_of: Callable[[str], Cells]) -> Iterator[str]:
    """Yield the lines of the table.

    Args:
        cells_of: Returns the runs of a study by its name.

    Raises:
        UsageError: If a row names a cell that its study lacks, or that has no result.
    """
    rows = tomli.loads((HOME / "summary.toml").read_text(encoding="utf-8"))["row"]
    yield from lines(HEADINGS, (_row(row, cells_of(row["study"])) for row in rows))
    yield ""


def _row(row: Described, cells: Cells) -> list[str]:
    protocol = _protocol(row, row["cell"], cells)

    def beside(found: re.Match[str]) -> str:
        its = _protocol(row, found[1], cells)
        return _figure(row, found[1], cells) + (f", protocol {its}" if its != protocol else "")

    own, baseline = _figure(row, row["cell"], cells), re.sub(r"{(.+?)}", beside, row["baseline"])
    return [row["method"], row["task"], protocol, own, baseline, row["details"]]


def _figure(row: Described, cell: str, cells: Cells) -> str:
    column = {"measure": row.get("measure", "average_accuracy"), "show": "range"}
    return entry({}, column, {"cell": cell}, cells[cell], cells)


def _protocol(row: Described, cell: str, cells: Cells) -> str:
    if not cells.get(cell):
        nearest = did_you_mean(cell, [name for name, runs in cells.items() if runs])
        raise UsageError(f"summary.toml: {row['study']} has no result of {cell!r}.{nearest}")
    return str(cells[cell][0]["protocol"])[:8]
