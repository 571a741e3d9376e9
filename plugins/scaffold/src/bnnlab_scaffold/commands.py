"""The command `new-plugin`."""

import shlex
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import print_out
from bnnlab.errors import RunError, command, install_command, program
from bnnlab_scaffold.package import Kind, License, Package

Name = Annotated[
    str,
    typer.Argument(
        help="Of the component or the command: lower-case words, joined by hyphens.", metavar="NAME"
    ),
]
Offered = Annotated[Kind, typer.Option("--kind", help="What the plugin offers.")]
Dest = Annotated[
    Path | None,
    typer.Option(
        "--dest", help="Folder to write, new or empty. Without it: bnnlab-NAME.", metavar="DIR"
    ),
]
Licence = Annotated[License, typer.Option("--license", help="Licence of the package.")]


def new_plugin(
    name: Name, kind: Offered, dest: Dest = None, license: Licence = License.MIT
) -> None:
    """Write a plugin package that can be installed, tested, run and published as it is.

    It has a small component that works. Put yours in its place.

    Examples:
      bnn new-plugin sparrow --kind rule
      bnn new-plugin sparrow --kind stream --dest ~/sparrow --license Apache-2.0
    """
    from bnnlab.registry.host import PluginHost
    from bnnlab_scaffold import names, writing
    from bnnlab_scaffold.author import author

    package = Package(names.checked(name, kind, PluginHost()), kind, license, author())
    folder = dest or Path(package.distribution)
    texts = writing.files(package)
    try:
        writing.expect_free(folder)
        writing.write(texts, folder)
    except OSError as error:
        why = error.strerror or error
        raise RunError(f"{folder} cannot be written: {why}. Name another by --dest.") from error
    print_out(
        f"written to {folder}: the {kind} {package.name!r}, {license}, by {package.authors}",
        soft_wrap=True,
    )
    if package.author is None:
        print_out("git knows no name: name yourself in pyproject.toml (authors) and LICENSE")
    if not any(distributions(name="bnnlab-testing")):
        print_out(f"its tests need the kit: {install_command('bnnlab-testing')}", soft_wrap=True)
    print_out()
    print_out("to install it, test it and use it:")
    for line in _next(package, folder):
        print_out(f"  {line}", soft_wrap=True)


def _next(package: Package, folder: Path) -> Iterator[str]:
    """Yield the commands that install, test and use a package."""
    path = f"./{folder}" if len(folder.parts) == 1 else str(folder)  # no name in an index
    yield f"{program('pip')} install -e {shlex.quote(f'{path}[test]')}"
    yield f"{program('python')} -m pytest {shlex.quote(str(folder))}"
    if package.kind is Kind.COMMAND:
        yield command("run", "--name", package.name)
        yield command(package.name, f"runs/{package.name}")
    else:
        yield command("run", f"--{package.kind}", package.name)
