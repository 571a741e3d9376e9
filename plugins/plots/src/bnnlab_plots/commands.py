"""Pictures: `bnn plot`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import bnnlab_plots
from bnnlab.cli.console import print_out
from bnnlab.storage.checkpoint import warn_if_old

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


@app.callback()
def plot() -> None:
    """Draw what runs recorded.

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


def _write(runs: list[Path], figure: "Figure", file: Path) -> None:
    for run in runs:
        warn_if_old(run)
    bnnlab_plots.save(figure, file)
    print_out(f"written to {file}", soft_wrap=True)
