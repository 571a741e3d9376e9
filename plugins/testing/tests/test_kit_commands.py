"""The contract of commands, on a command that is right, and on ones that are wrong on purpose."""

import re

import pytest

from bnnlab.registry.host import PluginHost
from bnnlab_testing import CommandContract
from bnnlab_testing.pytest_plugin import MakePlugin

FINE = '''
from typing import Annotated

import typer


def thing(runs: list[str], deep: Annotated[bool, typer.Option(help="How far.")] = False) -> None:
    """Count runs."""
'''
GROUP = '''
from pathlib import Path

import typer

app = thing = typer.Typer(no_args_is_help=True)


@app.callback()
def things() -> None:
    """Do things."""


@app.command()
def one(deep: bool = False) -> None:
    """Do one."""
'''
LAX = '''
import typer

thing = typer.Typer()


@thing.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def one(words: typer.Context) -> None:
    """Do one."""


@thing.command()
def two() -> None:
    """Do two."""
'''
WRITES = 'from pathlib import Path\n\nPath("cache").mkdir()\n'
ENTRY = """
{top}
from bnnlab import Command, hookimpl

@hookimpl
def bnnlab_commands():
    return [Command("acme-thing", "acme_commands:thing", "{summary}")]
"""
EVERY = [name for name in vars(CommandContract) if name.startswith("test_")]


class OfAThing(CommandContract):
    name = "acme-thing"


def install(
    make_plugin: MakePlugin, command: str = FINE, top: str = "", summary: str = "It."
) -> None:
    entry = ENTRY.format(top=top, summary=summary)
    make_plugin("acme-thing", entry, modules={"acme_commands": command})


@pytest.mark.parametrize("check", EVERY)
def test_a_command_that_is_right_passes(make_plugin: MakePlugin, check: str) -> None:
    install(make_plugin)
    getattr(OfAThing(), check)()


@pytest.mark.parametrize(
    ("wrong", "check", "message"),
    [
        pytest.param(
            {"top": "import torch"},
            "test_the_entry_module_is_data_alone",
            "imports torch",
            marks=pytest.mark.slow,  # it takes seconds
        ),
        ({"summary": ""}, "test_it_says_what_it_does", "the summary is empty"),
        (
            {"command": "def thing() -> None:\n    pass\n"},
            "test_it_says_what_it_does",
            "bnn acme-thing: the function has no docstring",
        ),
        (
            {"command": GROUP},
            "test_it_says_what_it_does",
            "bnn acme-thing one: without a help text: --deep",
        ),
        ({"command": LAX}, "test_a_misspelt_option_is_refused", "refused: bnn acme-thing one$"),
        ({"command": WRITES + FINE}, "test_its_help_does_nothing", "the current folder: cache"),
        (
            {"command": "print('hello')\n" + FINE},
            "test_its_help_does_nothing",
            "prints as it is imported: 'hello'",
        ),
    ],
    ids=["torch", "summary", "docstring", "help", "lax", "writes", "prints"],
)
def test_a_command_that_is_wrong_fails_the_check_for_it(
    make_plugin: MakePlugin, wrong: dict[str, str], check: str, message: str
) -> None:
    install(make_plugin, **wrong)
    with pytest.raises(AssertionError) as failed:
        getattr(OfAThing(), check)()
    assert re.search(message, str(failed.value).splitlines()[0], re.DOTALL)


def test_the_commands_that_are_installed_keep_the_contract() -> None:
    for _, command in PluginHost().commands():
        contract = OfAThing()
        vars(contract)["name"] = command.name
        contract.test_it_says_what_it_does()
        contract.test_a_misspelt_option_is_refused()
