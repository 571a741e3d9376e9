"""What all pictures share: figures without pyplot, what a run recorded, colours, saving."""

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnlab.errors import UsageError, explain, first_line
from bnnlab.storage.folder import METRICS, read_metrics

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH = 7.5
"""Of a picture, in inches: a printed page."""
SMALL = 7
"""Points: size of names and notes."""


def new_figure(height: float) -> "Figure":
    """Return an empty figure of this height in inches.

    Raises:
        UsageError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib: `pip install matplotlib`") from error
    return Figure(figsize=(WIDTH, height), layout="constrained")


def save(figure: "Figure", file: Path) -> None:
    """Write a picture in the format that the file's name ends with, PNG or SVG, say.

    Raises:
        UsageError: If there is no such format, or the file cannot be written.
    """
    formats = figure.canvas.get_supported_filetypes()
    if file.suffix[1:].lower() not in formats:
        raise UsageError(f"{file}: end the name with one of .{', .'.join(sorted(formats))}")
    try:
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    except RuntimeError as error:  # a format that needs a program, as .pgf needs LaTeX
        raise UsageError(f"cannot write {file}: {first_line(error)}") from error


@contextmanager
def reading(run: Path) -> Iterator[None]:
    """Turn what fails on recorded values of another form into an error that names their file.

    Raises:
        UsageError: If the block finds a value missing, or of another type or length.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UsageError(f"{run / METRICS} is damaged: {explain(error)}") from error


def recorded(run: Path, event: str) -> list[dict[str, Any]]:
    """Return a run's lines of metrics about an event, without an incomplete last line.

    Raises:
        UsageError: If there is no such run, or its metrics are damaged.
    """
    return [line for line in read_metrics(run) if line.get("event") == event]


def result(run: Path) -> dict[str, Any]:
    """Return what result.json holds; nothing of a run that has not ended."""
    try:
        found = json.loads((run / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "components" in found else {}


def scored_on(run: Path) -> str:
    """Return the part of its tasks that a run is scored on: `test` or `validation`."""
    try:
        settings = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "test"
    return str(settings.get("evaluate_on", "test"))


def title(run: Path) -> str:
    """Return the names of a run's components and its seed; before its end, the folder's name."""
    ended = result(run)
    if not ended:
        return plain(run.resolve().name)
    names = [ended["components"][kind]["name"] for kind in ("rule", "optimizer", "model", "stream")]
    return " + ".join(names) + f", seed {ended['seed']}"


def plain(name: str) -> str:
    """Escape a name, as matplotlib reads `$` as a formula and hides names that begin with `_`."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def shades(count: int) -> list[Any]:
    """Return colours from dark to light, which are told apart when grey, too."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.9 * number / max(1, count - 1)) for number in range(count)]


def spread(count: int, most: int) -> list[int]:
    """Return at most so many of the numbers 0 to count - 1, evenly, the first and last included."""
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def integer_ticks(*lines: "Axis") -> None:
    """Put the ticks of these axes at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    for line in lines:
        ticks = MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        line.set_major_locator(ticks)
