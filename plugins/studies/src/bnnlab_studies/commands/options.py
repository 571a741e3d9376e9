"""Options of the commands that carry out a study."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from bnnlab.cli.choosing import layer
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
    str | None, typer.Option("--out", help="Folder to make the study's folder in. Default: runs.")
]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the study's folder. Default: the file's.")
]


def spoken(jobs: int | None, **options: Any) -> Mapping[str, Any]:
    """Return what the command line sets, as settings."""
    return joined([layer(options), {"engine": {} if jobs is None else {"jobs": jobs}}])
