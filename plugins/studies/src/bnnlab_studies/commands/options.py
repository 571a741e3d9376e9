"""Options of the commands that carry out a study."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from bnnlab.cli.choosing import layer
from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.settings.run import MANY_HELP
from bnnlab.settings.text import joined

EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="What carries the runs out. Default: local.", metavar="NAME"),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", help="How many at a time: the engine's option jobs.", metavar="N"),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", help="Folder to make the study's folder in. Default: runs.", metavar="DIR"
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", help="Name of the study's folder. Default: the file's.", metavar="NAME"),
]
Trackers = Annotated[
    list[str] | None, typer.Option("--track", help=MANY_HELP[Kind.TRACKER], metavar="NAME")
]


def spoken(jobs: int | None, track: list[str] | None, **options: Any) -> Mapping[str, Any]:
    """Return what the command line sets, as settings."""
    options[Kind.TRACKER] = {name: {} for name in track or ()}
    return joined([layer(options), {"engine": {} if jobs is None else {"jobs": jobs}}])


def read_seeds(text: str) -> int | list[int]:
    """Return what `--seeds` says: how many seeds, or a list of them.

    Raises:
        UsageError: If it is neither.
    """
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {text!r}: write a number, as 5, or a list, as 0,3,7") from None
    return numbers if len(numbers) > 1 else numbers[0]
