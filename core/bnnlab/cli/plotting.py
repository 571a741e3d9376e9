"""Pictures: `plot`."""

from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import print_out

app = typer.Typer(no_args_is_help=True)

Run = Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="File to write, .png or .svg; by default in the run's folder."),
]


@app.callback()
def plot() -> None:
    """Draw what runs recorded. Needs matplotlib.

    Example:  bnn plot diagnosis runs/NAME
    """


@app.command()
def diagnosis(run: Run, out: Out = None) -> None:
    """Draw how a run's gradients compared with the exact ones, per segment over time.

    The run must have been made with --set diagnose=true.

    Example:  bnn plot diagnosis runs/NAME
    """
    from bnnlab.plots import plot_diagnosis, save

    file = out or run / "diagnosis.png"
    save(plot_diagnosis(run), file)
    print_out(f"written to {file}", soft_wrap=True)
