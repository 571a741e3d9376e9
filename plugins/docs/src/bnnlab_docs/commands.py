"""The command `docs`."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import print_out
from bnnlab.errors import UsageError

HOME = Path(__file__).with_name("site") / "index.html"
"""The first page of the site; `make docs` builds it."""


def docs(
    print: Annotated[
        bool, typer.Option("--print", help="Print where the site is, and open nothing.")
    ] = False,
) -> None:
    """Open the documents in a browser, and print where they are. No network is used.

    Example:  bnn docs
    """
    if not HOME.is_file():
        raise UsageError(
            f"this installation has no built site: {HOME.parent} is missing. "
            "Run `make docs` in a checkout of bnnlab."
        )
    print_out(str(HOME), soft_wrap=True)
    if not print:
        webbrowser.open(HOME.as_uri())  # where there is no browser, the line above is enough
