"""What became of the weights: flips, what is kept behind them, learned scales."""

from collections.abc import Mapping, Sequence
from typing import Any

from bnnlab_report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Note,
    Section,
    Table,
    count,
    plain,
    spread,
)
from bnnlab_report.contents.curves import FLIPS
from bnnlab_report.drawing.plot import Point, Series, scattered
from bnnlab_report.material import Material
from bnnlab_studies.cells import few
from bnnlab_studies.record import Record

LAYERS = 6
"""The most layers of a cell whose histograms are drawn."""
CELLS = 6
"""The most cells whose histograms are drawn."""
QUANTILES = ("least", "first quartile", "median", "third quartile", "largest")

Layer = Mapping[str, Any]


def section(material: Material) -> Section:
    """Return the section on weights."""
    flips = FLIPS.figure(material)
    blocks: list[Block] = [Figures([flips])] if flips else []
    drawn, scales, notes, lost = list[Figure](), list[list[Cell]](), list[str](), list[str]()
    for cell, runs in material.counted.items():
        run = next((run for run in runs if _tasks(material.metrics(run))), None)
        if run is None:
            lost.append(cell)
            continue
        tasks = _tasks(material.metrics(run))
        with material.reading(run):
            scales += _scales(cell, tasks)
            if material.looks[cell] < CELLS:
                drawn += _histograms(material, cell, run, tasks)
        if len(tasks[-1]) > LAYERS:
            notes.append(f"{cell}: {LAYERS} of {len(tasks[-1])} layers are drawn.")
    if lost:
        notes.append(f"Not recorded: {few(lost, ', ')}.")
    if len(material.cells) > CELLS:
        notes.append(f"Histograms of the first {CELLS} of {len(material.cells)} cells are drawn.")
    if drawn:
        text = (
            "Distributions of what the method keeps behind the weights: latent weights, natural "
            "parameters, or real weights themselves. Each is of one run."
        )
        blocks += [Note(text), Figures(drawn), *map(Note, notes)]
    if scales:
        heads = ("cell", "layer", "task", *QUANTILES)
        blocks.append(Table("scales", "Learned scales after each task", heads, scales))
    if not blocks:
        blocks = [Note("Nothing was recorded of the weights.")]
    return Section("weights", "Weights", blocks)


def _tasks(lines: Sequence[Mapping[str, Any]]) -> list[Sequence[Layer]]:
    """Return the layers after each task."""
    found = [line.get("layers") for line in lines if line.get("event") == "weights"]
    return [layers for layers in found if isinstance(layers, list) and layers]


def _scales(cell: str, tasks: Sequence[Sequence[Layer]]) -> list[list[Cell]]:
    return [
        [cell, layer["name"], count(task), *map(plain, layer["scale"])]
        for task, layers in enumerate(tasks, start=1)
        for layer in layers
        if layer.get("scale")
    ]


def _histograms(
    material: Material, cell: str, run: Record, tasks: Sequence[Sequence[Layer]]
) -> list[Figure]:
    """Return a figure per layer: after the first task and after the last one."""
    shown = sorted({0, len(tasks) - 1})
    figures = []
    for place in spread(len(tasks[-1]), LAYERS):
        found = {
            task + 1: histogram
            for task in shown
            if place < len(tasks[task]) and (histogram := tasks[task][place].get("latent"))
        }
        if not found:
            continue
        layer = str(tasks[-1][place]["name"])
        series = [
            Series(
                f"after task {task}",
                material.looks[cell],
                _densities(it),
                "steps" if task == len(tasks) else "before",
            )
            for task, it in found.items()
        ]
        rows: list[list[Cell]] = [
            [f"task {task}", plain(low, 6), plain(high, 6), count(amount)]
            for task, it in found.items()
            for low, high, amount in _bins(it)
        ]
        name = f"latent-{material.looks[cell] + 1}-{place + 1}"
        title = f"{cell}: {layer}"
        drawing = scattered(series, "latent weight", "density")
        heads, about = ("after", "from", "to", "weights"), f"Seed {run['seed']}."
        figures.append(Figure(name, title, about, drawing, heads, rows))
    return figures


def _bins(histogram: Mapping[str, Any]) -> list[tuple[float, float, int]]:
    """Return the ends of each bin, and how many weights are in it."""
    low, counts = histogram["low"], histogram["counts"]
    width = (histogram["high"] - low) / len(counts)
    return [(low + n * width, low + (n + 1) * width, it) for n, it in enumerate(counts)]


def _densities(histogram: Mapping[str, Any]) -> list[Point]:
    """Return the corners of a histogram of area 1, from its lower to its upper end."""
    bins = _bins(histogram)
    whole = sum(amount for _, _, amount in bins) or 1
    heights = [amount / whole / (high - low) for low, high, amount in bins]
    edges = [bins[0][0], *(high for _, high, _ in bins)]
    return [Point(x, y) for x, y in zip(edges, [0.0, *heights], strict=True)]
