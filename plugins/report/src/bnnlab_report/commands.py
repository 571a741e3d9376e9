"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import print_file, print_out
from bnnlab_studies.study import MEASURE

Places = Annotated[
    list[Path],
    typer.Argument(
        help="Runs, folders of runs that differ in the seed, or studies. As in `bnn compare`, each "
        "cell is compared with the first one.",
        metavar="RUN|STUDY...",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="File to write. -: standard output.", metavar="FILE")
]
Measure = Annotated[
    str, typer.Option("--measure", help="What the cells are judged by.", metavar="NAME")
]


def report(places: Places, out: Out = Path("report.html"), measure: Measure = MEASURE) -> None:
    """Write what runs and studies found as one HTML file, which needs no network.

    It has what `bnn compare` and `bnn show` print, with figures, settings and versions.

    An earlier report is replaced; any other file is not.

    Examples:
      bnn report runs/adam runs/meta -o report.html
      bnn report runs/study --measure forgetting
    """
    import bnnlab_report

    if str(out) == "-":
        print_file(bnnlab_report.render(places, measure))
        return
    bnnlab_report.write(places, out, measure)
    print_out(f"written to {out}", soft_wrap=True)
