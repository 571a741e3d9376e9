"""Pictures: `bnn plot`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import bnnlab_plots
from bnnlab.cli.console import print_out
from bnnlab.storage.checkpoint import warn_if_old
from bnnlab_plots.compare import MEASURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

app = typer.Typer(no_args_is_help=True)

Run = Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")]
Runs = Annotated[list[Path], typer.Argument(help="Runs' folders.", metavar="RUN...")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="File to write: .png, .svg or .pdf. Without it: in the folder of the first run.",
    ),
]


Cells = Annotated[
    list[Path], typer.Argument(help="What to compare, as for `bnn compare`.", metavar="CELL...")
]
Measure = Annotated[str, typer.Option("--measure", help="What to compare.", metavar="NAME")]
Across = Annotated[
    bool, typer.Option("--across-protocols", help="Compare runs of different protocols, too.")
]


@app.callback()
def plot() -> None:
    """Draw what runs recorded and learned.

    Example:  bnn plot accuracy runs/NAME
    """


@app.command()
def accuracy(runs: Runs, out: Out = None) -> None:
    """Draw the accuracy on each task over time and the accuracy matrix; compare several runs.

    Example:  bnn plot accuracy runs/NAME runs/OTHER --out compared.svg
    """
    _write(runs, bnnlab_plots.plot_accuracy(runs), out or runs[0] / "accuracy.png")


@app.command()
def weights(run: Run, out: Out = None) -> None:
    """Draw latent weights, learned scales and flips of a run, per layer over the tasks.

    Example:  bnn plot weights runs/NAME
    """
    _write([run], bnnlab_plots.plot_weights(run), out or run / "weights.png")


@app.command()
def diagnosis(run: Run, out: Out = None) -> None:
    """Draw how a run's gradients compared with the exact ones, per segment over time.

    The run must have been made with --diagnose.

    Example:  bnn plot diagnosis runs/NAME
    """
    _write([run], bnnlab_plots.plot_diagnosis(run), out or run / "diagnosis.png")


@app.command()
def confusion(run: Run, out: Out = None) -> None:
    """Draw which classes a run takes for which, and its accuracy on each class over the tasks.

    The run must have been made with --probe confusion.

    Example:  bnn plot confusion runs/NAME
    """
    _write([run], bnnlab_plots.plot_confusion(run), out or run / "confusion.png")


@app.command()
def uncertainty(run: Run, out: Out = None) -> None:
    """Draw a reliability diagram, and entropies and detection of unknown inputs over the tasks.

    The run must have a posterior, or have been made with --uncertainty.

    Example:  bnn plot uncertainty runs/NAME
    """
    _write([run], bnnlab_plots.plot_uncertainty(run), out or run / "uncertainty.png")


@app.command()
def regions(run: Run, out: Out = None) -> None:
    """Draw which class a run predicts where, over its two inputs, beyond the points, too.

    The run must have two real inputs and a class per input. It is made again from its folder and
    its stream's data. Of a posterior: by the deployed weights, by the mean of the weight draws, and
    where the draws disagree.

    Example:  bnn plot regions runs/NAME
    """
    _write([run], bnnlab_plots.plot_regions(run), out or run / "regions.png")


@app.command()
def band(run: Run, out: Out = None) -> None:
    """Draw the real numbers that a run predicts over its one input, beyond the points, too.

    The run must have one real input and real numbers as targets. It is made again from its folder
    and its stream's data. Of a posterior: the mean of the weight draws, and their deviation.

    Example:  bnn plot band runs/NAME
    """
    _write([run], bnnlab_plots.plot_band(run), out or run / "band.png")


@app.command()
def compare(
    cells: Cells, measure: Measure = MEASURE, across_protocols: Across = False, out: Out = None
) -> None:
    """Draw cells of runs compared with the first one, as `bnn compare` compares them.

    Each cell is a run, a folder of runs that differ in the seed, or a study's folder.

    This needs bnnlab-studies.

    Examples:
      bnn plot compare runs/adam runs/meta
      bnn plot compare runs/study --measure forgetting
    """
    figure = bnnlab_plots.plot_compare(cells, measure, across_protocols)
    place = cells[0] if cells[0].is_dir() else cells[0].parent
    _write([], figure, out or place / "compare.png")


def _write(runs: list[Path], figure: "Figure", file: Path) -> None:
    for run in runs:
        warn_if_old(run)
    bnnlab_plots.save(figure, file)
    print_out(f"written to {file}", soft_wrap=True)
