"""What trackers of any service show: histograms, the accuracy matrix, pictures."""

import struct
import traceback
import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bnnlab.errors import UsageError

QUANTILES = ("minimum", "lower quartile", "median", "upper quartile", "maximum")
"""What the five numbers of a learned scale are, in a line `weights`."""
CELL = 24
"""Width and height of a cell of a heat map, in pixels."""
LOW, HIGH, MISSING = (247, 251, 255), (8, 48, 107), (200, 200, 200)
"""Colours of 0, 1 and what was not measured."""

Matrix = Sequence[Sequence[float | None]]


def histogram(latent: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """Return the counts and the edges of the bins of a histogram in a line `weights`."""
    counts, low, high = latent["counts"], latent["low"], latent["high"]
    width = (high - low) / len(counts)
    return counts, [*(low + width * number for number in range(len(counts))), high]


def matrix_table(matrix: Matrix, tasks: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Return the heads and rows of a table of the accuracy matrix."""
    return ["after", *tasks], [[task, *row] for task, row in zip(tasks, matrix, strict=False)]


def heat_map(matrix: Matrix) -> bytes:
    """Return a PNG picture of the accuracy matrix: row i after task i, dark where it is high."""
    pixels = [b"".join(bytes(_colour(value)) * CELL for value in row) for row in matrix]
    rows = b"".join((b"\0" + line) * CELL for line in pixels)
    size = struct.pack(">IIBBBBB", CELL * len(matrix[0]), CELL * len(matrix), 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _colour(value: float | None) -> tuple[int, ...]:
    if value is None:
        return MISSING
    share = min(max(value, 0.0), 1.0)  # R2 may be below 0
    return tuple(round(low + share * (high - low)) for low, high in zip(LOW, HIGH, strict=True))


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def draw_all(run: Path, folder: Path) -> list[Path]:
    """Draw every picture that bnnlab-plots can draw of a run; return the files in `folder`.

    Without bnnlab-plots or matplotlib there are none. What else fails is printed.
    """
    if find_spec("bnnlab_plots") is None:
        return []
    import bnnlab_plots as plots

    files = []
    for name in ("accuracy", "weights", "diagnosis", "confusion", "uncertainty"):
        draw = getattr(plots, f"plot_{name}")
        try:
            figure = draw([run]) if name == "accuracy" else draw(run)
            plots.save(figure, folder / f"{name}.png")
        except UsageError:  # the run did not measure what it shows
            continue
        except Exception:  # a picture is worth no line
            traceback.print_exc()
            continue
        files.append(folder / f"{name}.png")
    return files
