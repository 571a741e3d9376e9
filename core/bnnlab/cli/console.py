"""Where output goes: results to standard output, all else to standard error."""

import json
import sys
from typing import Annotated, Any

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")
]


def print_json(document: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_out(*renderables: Any, soft_wrap: bool = False) -> None:
    """Print to standard output, wrapped to the terminal unless `soft_wrap` leaves lines whole."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; `main` knows better

    Piped(highlight=False).print(*renderables, soft_wrap=soft_wrap)


def report_error(message: str) -> None:
    """Print an error to standard error, as it is: a command in it can be copied."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    console.print(
        Text("error: ", style="bold red").append(message, style="not bold default"), soft_wrap=True
    )


def report_note(message: str) -> None:
    """Print a line to standard error, as it is."""
    sys.stderr.write(message + "\n")
