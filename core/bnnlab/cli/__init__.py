"""The `bnn` command. Nothing here imports torch before a command needs it."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bnnlab import __version__
from bnnlab.cli import fit, info, installing, inventory, running
from bnnlab.cli.commands import Commands
from bnnlab.cli.console import finish, prepare, report_error, report_traceback
from bnnlab.errors import NOTE, BnnlabError, LogFormatter, UsageError, first_line
from bnnlab.guards.threads import wait_briefly
from bnnlab.registry import one_file


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bnnlab {__version__}")
        raise typer.Exit


def bnn(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Allowed anywhere.")
    ] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            "--plugin",
            help="A plugin that is one file, for this command. Allowed anywhere; may be repeated.",
            metavar="FILE",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Train binarised neural networks with any learning rule and any optimizer.

    Begin with [bold]bnn run[/bold]: it trains a small network, without a download.
    """


app = typer.Typer(
    name="bnn",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the run failed (or the answer is no), 2 wrong use, "
    "128 + N stopped by signal N.",
)
app.callback()(bnn)
for command in (
    running.run,
    running.list_recipes,
    running.schema,
    inventory.list_plugins,
    installing.install,
    installing.uninstall,
    info.info,
    fit.check,
    fit.matrix,
    inventory.doctor,
):
    app.command()(command)


def _messages(debug: bool) -> logging.Handler:
    """Send notes and warnings (with --debug, all) to standard error; `main` reports errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("{levelname}: {message}", style="{"))
    handler.addFilter(lambda record: debug or NOTE <= record.levelno <= logging.WARNING)
    return handler


def _without_files(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take `--plugin FILE` out of a command, wherever it stands; return the rest and the files."""
    rest, files = list[str](), list[str]()
    each = iter(words)
    for word in each:
        name, equals, file = word.partition("=")
        if name != "--plugin":
            rest.append(word)
            continue
        files.append(file if equals else next(each, ""))
        if not files[-1]:
            raise UsageError("--plugin: name a file, as --plugin my_rule.py")
    return rest, files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    wait_briefly()
    prepare()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    handler, logger = _messages(debug), logging.getLogger("bnnlab")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        if "\0" in "".join(words):
            raise UsageError("the command contains a NUL character")
        words, files = _without_files([word for word in words if word != "--debug"])
        with one_file.given(files):
            answer = app(words, prog_name="bnn", standalone_mode=False)
        finish()
        return answer if isinstance(answer, int) else 0
    except (KeyboardInterrupt, typer.Abort):  # typer may turn the one into the other
        report_error("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        return 0
    except Exception as error:
        message, code = _answer(error)
        if debug or message is None:
            report_traceback()
        if message is None:
            said = [n for n in getattr(error, "__notes__", ()) if n.startswith("command ")]
            whose = said[0] if said else "bnnlab or in a plugin"
            message = f"this is a bug in {whose}; please report the traceback above"
        if message:  # `bnn` alone shows the help, and has nothing to add
            report_error(message)
        return code
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _answer(error: Exception) -> tuple[str | None, int]:
    """Return an error's message for people, None if it is a bug; and the exit code."""
    if isinstance(error, BnnlabError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        return first_line(error), 1
    # typer brings its own copy of click, or uses the installed one: known by what they do.
    explain = getattr(error, "format_message", None)
    if explain is None:
        return None, 1
    text = " ".join(explain().split())  # it may be a list of choices, one a line
    return text, getattr(error, "exit_code", 2)
