"""What all pictures share: figures without pyplot, what a run recorded, colours, saving."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from bnnlab.engine.differences import in_words
from bnnlab.engine.figures import Score, score_of
from bnnlab.engine.result import Result
from bnnlab.errors import UsageError, explain, first_line
from bnnlab.storage.folder import METRICS, read_metrics
from bnnlab.storage.rows import unpacked

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from numpy import float64
    from numpy.typing import NDArray

Source = Path | Result
"""What is drawn: a run's folder; or its result, which has less to draw but needs no folder."""
WIDTH = 7.5
"""Of a picture, in inches: a printed page."""
SMALL = 7
"""Points: size of names and notes."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
"""Okabe and Ito's (Color Universal Design, 2008), without the yellow, which paper swallows."""
MARKERS = "os^Dv*PX"
STYLES = ("-", "--", "-.", ":")
MOST = 3
"""Differences of two protocols that a note names."""


def difference(protocols: Sequence[Mapping[str, Any]]) -> str:
    """Return a note that these protocols differ; of two, where."""
    said = in_words(*protocols) if len(protocols) == 2 else []
    if not said:
        return "The protocols differ: these runs did not learn the same, or were not scored alike."
    more = [f"and {len(said) - MOST} more"] * (len(said) > MOST)
    return fill(f"The protocols differ: {'; '.join([*said[:MOST], *more])}.", 100)


def new_figure(height: float) -> "Figure":
    """Return an empty figure of this height in inches.

    Raises:
        UsageError: If matplotlib is not installed.
    """
    try:
        from bnnlab_plots.picture import Picture
    except ImportError as error:
        raise UsageError("plots need matplotlib: `pip install matplotlib`") from error
    return Picture(figsize=(WIDTH, height), layout="constrained")


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
def reading(run: Source) -> Iterator[None]:
    """Turn what fails on recorded values of another form into an error that names their file.

    Raises:
        UsageError: If the block finds a value missing, or of another type or length.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
        where = name_of(run) if isinstance(run, Result) else run / METRICS
        raise UsageError(f"{where} is damaged: {explain(error)}") from error


def recorded(run: Source, event: str) -> list[dict[str, Any]]:
    """Return a run's lines of metrics about an event, without an incomplete last line.

    A result has lines about evaluations; what probes measured is in the last one. The other lines
    are in the folder of its run, if there is one.

    Raises:
        UsageError: If there is no such run, or its metrics are damaged.
    """
    if not isinstance(run, Result):
        return [line for line in read_metrics(run) if line.get("event") == event]
    if event != "evaluation":
        folder = run.folder
        return recorded(folder, event) if folder and (folder / METRICS).is_file() else []
    lines = [{"task": n, "accuracy": row} for n, row in enumerate(run.accuracy)]
    return [*lines[:-1], *({**run, **line} for line in lines[-1:])]


def result(run: Source) -> dict[str, Any]:
    """Return what result.json holds; nothing of a run that has not ended."""
    if isinstance(run, Result):
        return run.as_dict()
    try:
        text = (run / "result.json").read_text(encoding="utf-8")
        found = json.loads(text, object_hook=unpacked)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "components" in found else {}


def score(*runs: Source) -> Score:
    """Return what runs report per task; before its end, a run's metrics say it."""
    return score_of(*(result(r) or next(iter(recorded(r, "untrained")), {}) for r in runs))


def scored_on(run: Source) -> str:
    """Return the part of its tasks that a run is scored on: `test` or `validation`."""
    if isinstance(run, Result):
        return run.evaluate_on
    try:
        settings = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "test"
    return str(settings.get("evaluate_on", "test"))


def name_of(run: Source) -> str:
    """Return the name of a run's folder; without one, the title."""
    folder = run.folder if isinstance(run, Result) else run
    return title(run) if folder is None else plain(folder.resolve().name)


def title(run: Source) -> str:
    """Return the names of a run's components and its seed; before its end, the folder's name."""
    ended = result(run)
    if not ended:
        return name_of(run)
    names = [ended["components"][kind]["name"] for kind in ("rule", "optimizer", "model", "stream")]
    return " + ".join(names) + f", seed {ended['seed']}"


def learned(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the figures of the last of these evaluations are of, and where others are of less.

    Evaluations may be of some of the tasks that are learned.
    """
    are_parts = [None in line["accuracy"][: line["task"] + 1] for line in lines]
    task, which = lines[-1]["task"] + 1, "that were scored then"
    of = f"the tasks {which}" if are_parts[-1] else "all tasks learned"
    before = [f"before: over the tasks {which}"] if any(are_parts[:-1]) else []
    return ["after task 1" if task == 1 else f"after task {task}, over {of}", *before]


def plain(name: str) -> str:
    """Escape a name, as matplotlib reads `$` as a formula and hides names that begin with `_`."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def shades(count: int) -> list[Any]:
    """Return colours from dark to light, which are told apart when grey, too."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.9 * number / max(1, count - 1)) for number in range(count)]


def looks(number: int) -> dict[str, Any]:
    """Return colour, marker and style of a line, which are told apart when grey, too."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": STYLES[number % len(STYLES)],
    }


def marks(count: int) -> dict[str, Any]:
    """Return how a line of so many points is marked: where there are many, at some of them."""
    return {"markersize": 4, "markevery": max(1, count // 20)}


def marked(values: "NDArray[float64]") -> dict[str, Any]:
    """Return how a line is marked, some of whose values may be NaN: at those that are not."""
    import numpy as np  # the help of commands needs none of it

    there = np.flatnonzero(np.isfinite(values))
    return {"markersize": 4, "markevery": [*there[:: max(1, len(there) // 20)]]}


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


def plain_ticks(line: "Axis") -> None:
    """Write plain numbers at a logarithmic axis: powers of ten, but within a decade any."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    low, high = line.get_view_interval()
    if high <= 10 * low:
        line.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
        line.set_minor_locator(NullLocator())
    line.set_major_formatter("{x:g}")
