"""What a command owes: it is listed without torch, explains itself, and does nothing unasked."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import typer

from bnnlab.cli import app
from bnnlab.registry.components import Command
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab_testing import fresh
from bnnlab_testing.claim_checks import assert_claims_can_be_measured
from bnnlab_testing.declaration_checks import assert_entry_is_data

_HELP = "import sys; from bnnlab.cli import main; sys.exit(main([sys.argv[1], '--help']))"


class CommandContract:
    """A class named `Test...` that inherits it checks the command that is called `bnn NAME`.

    Attributes:
        name: The command's name.
        xfail: Checks that it cannot pass, each with the reason; they must fail.
    """

    bnnlab_contract = True
    kind = Command.kind
    name: ClassVar[str]
    xfail: ClassVar[Mapping[str, str]] = {}

    @cached_property
    def offer(self) -> tuple[Plugin, Command]:
        """The plugin that offers the command, and its declaration."""
        return PluginHost().resolve_command(self.name)

    def test_the_entry_module_is_data_alone(self) -> None:
        """It is imported whenever commands are listed: without torch, and changing nothing.

        Name the function in `Command(target=...)`, and import nothing else of the plugin there.
        """
        assert_entry_is_data(self.offer[0])

    def test_its_claims_can_be_measured(self) -> None:
        """The cards in its plugin's claims.toml read, and the settings of both budgets fit."""
        assert_claims_can_be_measured(PluginHost(), self.offer[0])

    def test_it_says_what_it_does(self) -> None:
        """It has a summary of one line, a help text, and one for each option.

        Write a docstring for the function, and `Annotated[..., typer.Option(help="...")]`.
        """
        summary = self.offer[1].summary
        assert summary.strip(), "the summary is empty"
        assert "\n" not in summary, "the summary has more than one line"
        for name, command in self._commands():
            assert (command.help or "").strip(), f"bnn {name}: the function has no docstring"
            options = [each for each in command.params if each.param_type_name == "option"]
            silent = [each.opts[0] for each in options if not each.help]
            assert not silent, f"bnn {name}: without a help text: {', '.join(silent)}"

    def test_a_misspelt_option_is_refused(self) -> None:
        """An option that it does not have ends in an error: it never passes in silence.

        Leave out `ignore_unknown_options` and `allow_extra_args` of typer's context settings.
        """
        lax = [name for name, each in self._commands() if _is_lax(each)]
        assert not lax, f"unknown options are not refused: bnn {', bnn '.join(lax)}"

    def test_its_help_does_nothing(self) -> None:
        """`bnn NAME --help` in a new process prints the help alone, and leaves no file.

        Let the function do what the command does, and nothing happen as its module is imported.
        """
        with TemporaryDirectory() as folder:
            done = fresh.run(_HELP, self.name, cwd=folder)
            files = sorted(file.name for file in Path(folder).iterdir())
        assert done.returncode == 0, f"its help ends with {done.returncode}: {done.stderr}"
        assert not done.stderr, f"its help warns: {done.stderr}"
        first = done.stdout.strip().partition("\n")[0]
        assert "Usage" in first, f"its module prints as it is imported: {first!r}"
        assert not files, f"its help writes into the current folder: {', '.join(files)}"

    def _commands(self) -> Iterator[tuple[str, Any]]:
        """Yield the command and those below it, each with what is typed after `bnn`."""
        group: Any = typer.main.get_command(app)
        _, command, _ = group.resolve_command(typer.Context(group), [self.name])
        todo = [(self.name, command)]
        while todo:
            name, each = todo.pop()
            yield name, each
            todo += [(f"{name} {inner}", it) for inner, it in getattr(each, "commands", {}).items()]


def _is_lax(command: Any) -> bool:
    return any(map(command.context_settings.get, ("ignore_unknown_options", "allow_extra_args")))
