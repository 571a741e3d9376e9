"""The page on the command line, from the commands themselves."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import typer

from bnnlab.cli import app
from bnnlab.cli.commands import command_of
from bnnlab.errors import UsageError
from bnnlab.registry.components import Command
from bnnlab.registry.signatures import imported
from bnnlab_site.markdown import code, escaped, fenced, table
from bnnlab_site.plugins import Offers

_STYLE = re.compile(r"(?<!\\)\[/?(?:bold|dim|green|red|yellow|cyan)\]")
"""Of rich, as in `[bold]run[/bold]`; a bracket that is text is written with a backslash."""
_EXAMPLES = re.compile(r"^Examples?:(.*)", re.M | re.S)
_BESIDE = re.compile(r" {2,}\| {2,}|\n")
"""Between two examples."""


def commands_page(plugins: Iterable[Offers]) -> str:
    """Return the page: the commands of the core, and then those of plugins."""
    bnn: Any = typer.main.get_group(app)
    parts = ["# Commands", *_about(bnn, "bnn"), _plain(bnn.epilog)]
    for command in bnn.commands.values():
        parts += _section(command, f"bnn {command.name}")
    for offers in plugins:
        for command in offers.commands:
            parts += _of_plugin(offers, command)
    return "\n\n".join(parts) + "\n"


def _of_plugin(offers: Offers, command: Command) -> Iterator[str]:
    name = f"bnn {command.name}"
    page = f"[{offers.distribution}](../{offers.place})"
    try:
        made = command_of(command.name, imported(command.target))
    except UsageError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        yield f"## {name}\n\n{escaped(command.summary)}\n\nOf {page}, see {code(f'{name} -h')}."
        return
    head, *rest = _section(made, name)
    yield from (head, f"Of {page}.", *rest)


def _section(command: Any, path: str, level: int = 2) -> Iterator[str]:
    """Yield heading, usage, description, arguments and options of a command and those below it."""
    yield f"{'#' * level} {path}"
    yield from _about(command, path)
    for each in getattr(command, "commands", {}).values():
        yield from _section(each, f"{path} {each.name}", level + 1)


def _about(command: Any, path: str) -> Iterator[str]:
    context = command.context_class(command, info_name=path)
    yield fenced(" ".join([path, *command.collect_usage_pieces(context)]))
    yield from _description(command.help or "")
    records = (parameter.get_help_record(context) for parameter in command.params)
    rows = [(code(name), _plain(meaning)) for name, meaning in filter(None, records)]
    if rows:
        yield table(("argument or option", "meaning"), rows)


def _description(text: str) -> Iterator[str]:
    """Yield what a command says of itself, and its examples as a block of code."""
    yield _plain(_EXAMPLES.sub("", text))
    if found := _EXAMPLES.search(text):
        lines = (line.strip() for line in _BESIDE.split(found[1]))
        yield fenced(_unstyled("\n".join(filter(None, lines))))


def _plain(text: str) -> str:
    return escaped(_unstyled(text))


def _unstyled(text: str) -> str:
    return _STYLE.sub("", text).replace(r"\[", "[")
