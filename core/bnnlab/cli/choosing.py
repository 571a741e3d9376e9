"""The flags that several commands share: components, and `--set`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

Rule = Annotated[str | None, typer.Option("--rule", "-r", help="Learning rule.", metavar="NAME")]
Optimizer = Annotated[
    str | None, typer.Option("--optimizer", "-o", help="Optimizer.", metavar="NAME")
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model.", metavar="NAME")]
Stream = Annotated[
    str | None, typer.Option("--stream", "-s", help="Stream of tasks.", metavar="NAME")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Set any option; may be repeated. `bnn info` lists a component's options.",
        metavar="KIND.NAME=VALUE",
    ),
]


def layers(said: Mapping[str, Any], assignments: list[str] | None) -> list[Mapping[str, Any]]:
    """Return the command line's layers of settings: flags first, `--set` over them."""
    from bnnlab.settings.text import joined, parse_assignment

    flags = {key: value for key, value in said.items() if value is not None}
    return [flags, joined(map(parse_assignment, assignments or []))]
