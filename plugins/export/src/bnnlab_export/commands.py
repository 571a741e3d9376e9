"""The command `export`."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import Json, print_json, print_out
from bnnlab.errors import UsageError

Run = Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="File to write: model.bnn.", metavar="FILE")
]
Draws = Annotated[
    int | None,
    typer.Option(
        "--draws",
        help="Weight draws in the file. By default as many as the run's evaluations average over.",
        min=1,
        metavar="N",
    ),
]
Mode = Annotated[
    bool, typer.Option("--mode", help="The deployed weights alone, also where there are draws.")
]
WeightsOnly = Annotated[
    bool,
    typer.Option("--weights-only", help="Also where no layer has signs for inputs: no faster."),
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        help="bnn: for bnnlab-runtime. onnx, qonnx (for FINN), torch: a graph for other programs.",
        metavar="FORM",
    ),
]
Task = Annotated[
    int | None,
    typer.Option(
        "--task",
        help="For this task alone, from 0, where tasks are told, or have images of their own.",
        metavar="N",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what the file would have, and write none.")
]


def export(
    run: Run,
    out: Out = None,
    draws: Draws = None,
    mode: Mode = False,
    weights_only: WeightsOnly = False,
    to: To = "bnn",
    task: Task = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write a run's model as one file, which bnnlab-runtime or another program predicts with.

    The file is written only if its predictions are the model's on the whole test part. An earlier
    export, or an empty file, is replaced; any other file is not.

    Exit codes: 0 written, 1 predictions differ or the file cannot be written, 2 wrong use, or a
    model that cannot be exported.

    Examples:
      bnn export runs/NAME -o model.bnn

      bnn export runs/NAME --dry-run

      bnn export runs/NAME --to onnx -o model.onnx
    """
    from bnnlab_export.reading import export_run

    if out is None and not dry_run:
        raise UsageError("say where the file is to be, --out model.bnn; or --dry-run for none")
    if out is not None and dry_run:
        raise UsageError("--dry-run writes no file, and --out names one: leave one out")
    if mode and draws is not None:
        raise UsageError("--mode takes the deployed weights, and --draws draws some: leave one out")
    count = 0 if mode else draws
    with redirect_stdout(sys.stderr):  # what a layer prints is no result
        found = export_run(run, out, draws=count, weights_only=weights_only, to=to, task=task)
    if json:
        print_json(found.as_dict())
        return
    for line in found.lines():
        print_out(line, soft_wrap=True)
