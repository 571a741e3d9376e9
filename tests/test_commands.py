"""Plugins add commands to `bnn`: a broken one, or one whose name is taken, hurts no other."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from hatchling.build import build_wheel

from bnnlab import Command
from bnnlab.cli import main
from bnnlab.registry.discovery import find_plugins
from bnnlab.registry.host import PluginHost
from bnnlab_testing.pytest_plugin import MakePlugin

GREET = """
from pathlib import Path

import typer

from bnnlab import UsageError
from bnnlab.cli.console import Json, print_json, print_out, print_table

def greet(name: str, json: Json = False, code: int = 0, card: Path | None = None):
    \"\"\"Greet somebody.\"\"\"
    if name == "everybody":
        raise LookupError("they are too many")
    if name == "nobody":
        raise UsageError("nobody is there.")
    print_json({"greeted": name}) if json else print_out(f"hello {name}")
    raise typer.Exit(code)

app = typer.Typer()
@app.command("aloud")
def aloud(times: int = 1):
    print_out("HELLO")

app.command("quietly")(lambda: print_table(["task", "loss"], [(3, 0.25)]))

odd = 3

def untyped(what: object): ...

async def waits(): ...

bugs = typer.Typer()
@bugs.command("one")
def one(debug: bool = False): ...

"""


def adding(*commands: tuple[str, ...], more: str = "") -> str:
    """Return the source of a plugin that adds commands: name, target, summary."""
    return f"""
from bnnlab import Command, hookimpl

{more}

@hookimpl
def bnnlab_commands():
    return [Command(*each) for each in {commands!r}]
"""


Bnn = Callable[..., Any]


@pytest.fixture
def acme(make_plugin: MakePlugin) -> MakePlugin:
    """Return what makes plugins, after one that adds commands: right ones and wrong ones."""
    commands = (
        ("greet", "acme_greet:greet", "Greet [anybody]\n by name."),
        ("greets", "acme_greet:app", "Greet all."),
        ("odd", "acme_greet:odd", "A number."),
        ("untyped", "acme_greet:untyped", "Takes what cannot be typed."),
        ("absent", "acme_not_there:app", "Is not there."),
        ("waits", "acme_greet:waits", "Is never awaited."),
        ("bugs", "acme_greet:bugs", "Has a command with an option of bnn's."),
    )
    make_plugin("acme", adding(*commands), modules={"acme_greet": GREET})
    return make_plugin


@pytest.mark.usefixtures("acme")
def test_the_help_lists_a_plugins_commands_and_imports_none(bnn: Bnn) -> None:
    answer = bnn("--help")
    assert (answer.code, answer.err) == (0, "")
    assert "Greet [anybody]\\n by name." in answer.out
    assert answer.out.index("doctor") < answer.out.index("greets") < answer.out.index("plot")
    assert "acme_greet" not in sys.modules


@pytest.mark.usefixtures("acme")
def test_a_plugins_command_runs_as_one_of_the_cores_does(bnn: Bnn) -> None:
    assert bnn("greet", "Ada") == (0, "hello Ada\n", "")
    assert bnn("greet", "Ada", "--json", "--code", "3") == (3, '{\n  "greeted": "Ada"\n}\n', "")
    assert bnn("greet", "nobody") == (2, "", "error: nobody is there.\n")
    assert "Traceback" in bnn("greet", "nobody", "--debug").err
    assert bnn("greet").err.startswith("error: Missing argument")
    assert "Usage: bnn greet [OPTIONS]" in bnn("greet", "-h").out
    assert bnn("greets", "aloud").out == "HELLO\n"
    assert bnn("greets", "quietly").out.split() == ["task", "loss", "3", "0.25"]


@pytest.mark.usefixtures("acme")
def test_a_plugins_command_is_checked_as_one_of_the_cores_is(bnn: Bnn) -> None:
    assert bnn("greet", "Ada", "--code", "1", "--code", "2").err == (
        "error: --code is given 2 times, and takes one value.\n"
    )
    assert bnn("greet", "Ada", "--json", "--json").code == 0  # says the same again
    assert "--times is given 2 times" in bnn("greets", "aloud", "--times=1", "--times=2").err
    assert bnn("greet", "Ada", "--card", "").err == "error: --card: the path is empty.\n"
    answer = bnn("greet", "Ada", "--card", long := 300 * "a")
    assert (answer.code, answer.err) == (2, f"error: cannot read {long}: File name too long.\n")


@pytest.mark.usefixtures("acme")
def test_a_plugins_command_that_raises_names_its_plugin(bnn: Bnn) -> None:
    answer = bnn("greet", "everybody")
    assert (answer.code, answer.out) == (1, "")
    assert "LookupError: they are too many" in answer.err
    said = (
        "error: this is a bug in command 'greet' of acme 1.0; please report the traceback above\n"
    )
    assert answer.err.endswith(said)


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent", "ModuleNotFoundError: No module named 'acme_not_there'"),
        ("odd", "TypeError: 3 is not a callable object"),
        ("waits", "TypeError: waits is a generator or coroutine: make it a plain function"),
        ("bugs", "TypeError: one: --debug is an option of bnn itself; choose another name"),
        ("untyped", "RuntimeError: Type not yet supported: <class 'object'>"),
    ],
)
def test_a_command_that_does_not_load_names_its_plugin(bnn: Bnn, name: str, why: str) -> None:
    said = f"error: command '{name}' of acme 1.0 cannot be loaded: {why}\n"
    assert bnn(name) == (2, "", said)


@pytest.mark.usefixtures("acme")
def test_an_unknown_command_is_answered_with_the_nearest(bnn: Bnn) -> None:
    assert bnn("gret").err == "error: unknown command 'gret'. Did you mean 'greet'?\n"
    assert "Did you mean 'doctor'?" in bnn("docter").err
    _, _, known = bnn("xyzzy").err.partition("Known: ")
    assert {"greet", "plot", "run"} < {*known.removesuffix(".\n").split(", ")}


def test_a_name_that_is_taken_is_said_with_the_distribution(bnn: Bnn, acme: MakePlugin) -> None:
    acme("acme-b", adding(("greet", "acme_greet:app", "B."), ("doctor", "acme_greet:app", "B.")))
    listed = bnn("--help").out
    assert all(f" {name} " in listed for name in ("acme/greet", "acme-b/greet", "acme-b/doctor"))
    assert bnn("greet").err == (
        "error: two plugins offer command 'greet'. Choose one: acme/greet or acme-b/greet.\n"
    )
    assert bnn("acme/greet", "Ada").out == "hello Ada\n"
    assert bnn("acme-b/doctor", "aloud").out == "HELLO\n"
    assert "Check this installation" in bnn("doctor", "--help").out
    assert bnn("acme-b/greeet").err == "error: unknown command 'greeet'. Did you mean 'greet'?\n"


def test_a_plugin_that_is_broken_takes_only_its_own_commands(bnn: Bnn, acme: MakePlugin) -> None:
    acme("acme-raises", adding(("one", "a:b", "One."), more="raise LookupError('no luck')"))
    acme("acme-twice", adding(("two", "a:b", "Two."), ("two", "a:c", "Two.")))
    acme("acme-wrong", adding().replace("return [", "return ['three'] + ["))
    acme("acme-name", adding(("Four", "a:b", "Four.")))
    errors = {each.distribution: str(each.error) for each in PluginHost().plugins if each.error}
    assert errors == {
        "acme-raises": "LookupError: no luck",
        "acme-twice": "ValueError: offers command:two twice",
        "acme-wrong": "TypeError: bnnlab_commands must return a sequence of Command; "
        "it returned ['three']",
        "acme-name": "ValueError: command name 'Four': use a-z, 0-9, '.', '_' and '-'",
    }
    assert bnn("greet", "Ada").out == "hello Ada\n"
    broken = "comes with acme-raises, which is broken: LookupError: no luck."
    assert bnn("acme-raises/one").err == f"error: command 'one' {broken}\n"


def test_plugins_that_are_off_add_no_command(
    bnn: Bnn, acme: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [plugin.distribution for plugin, _ in PluginHost().commands()]
    monkeypatch.setenv("BNNLAB_DISABLE", ", ".join(every))
    assert "Commands of plugins" not in bnn("--help").out
    off = "error: command 'plot' comes with bnnlab-plots, which is disabled.\n"
    assert bnn("plot", "accuracy", "x") == (2, "", off)
    monkeypatch.setenv("BNNLAB_ONLY", "nothing")
    listed = bnn("--help")
    assert listed.code == 0
    assert "doctor" in listed.out
    assert "commands of plugins are not listed: BNNLAB_ONLY" in listed.err


def test_a_command_that_is_not_installed_says_how_to_get_it(
    bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = [each for each in find_plugins() if each.distribution != "bnnlab-plots"]
    monkeypatch.setattr("bnnlab.registry.host.find_plugins", lambda: without)
    assert bnn("plot", "accuracy", "x").err == (
        "error: command 'plot' comes with bnnlab-plots, which is not installed. "
        "To install it: `bnn install plots`.\n"
    )
    assert "plot" not in bnn("--help").out
    shown = " ".join(bnn("list-plugins", "--all").out.split())
    assert "bnnlab-plots available command: plot" in shown
    assert shown.endswith("To install one: `bnn install NAME`.")


@pytest.mark.usefixtures("acme")
def test_listings_show_commands(bnn: Bnn) -> None:
    assert "command: greet, greets, odd, untyped, absent, waits, bugs" in bnn("list-plugins").out
    assert (
        '"commands": [\n        {\n          "name": "greet"' in bnn("list-plugins", "--json").out
    )


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("bnn g", ["greet", "greets"]),
        ("bnn greets ", ["aloud", "quietly"]),
        ("bnn greet --j", ["--json"]),
        ("bnn gret --vers", ["--version"]),  # there is no such command: one of bnn's own
        ("bnn absent --vers", ["--version"]),
    ],
)
def test_completion_knows_a_plugins_commands(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    completed: list[str],
) -> None:
    monkeypatch.setenv("_BNN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit):
        main([])
    printed = capsys.readouterr()
    assert (printed.out.split(), printed.err) == (completed, "")


@pytest.mark.parametrize("fields", [("Up", "a:b"), ("up", "a.b"), ("a/b", "a:b")])
def test_a_command_says_what_is_wrong_with_it(fields: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"command.*{fields[0]}"):
        Command(*fields, "A thing.")


PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "acme-greetings"
version = "1.2"
[project.entry-points."bnnlab.v1"]
greetings = "acme_greetings.plugin"
[tool.hatch.build.targets.wheel]
packages = ["acme_greetings"]
"""


@pytest.mark.slow
def test_a_third_partys_distribution_adds_a_command(tmp_path: Path) -> None:
    package = tmp_path / "acme_greetings"
    package.mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").touch()
    (package / "commands.py").write_text(GREET)
    plugin = adding(("greet", "acme_greetings.commands:greet", "Greet somebody."))
    (package / "plugin.py").write_text(plugin)
    with chdir(tmp_path):
        wheel = build_wheel(str(tmp_path))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    site = tmp_path / "site"
    subprocess.run(
        [*pip, "--no-deps", "--no-index", "--target", site, tmp_path / wheel], check=True
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    script = (
        "import sys; from bnnlab.cli import main\n"
        "assert main(['--help']) == 0 and main(['greet', 'Ada']) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & {*sys.modules}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Greet somebody." in done.stdout
    assert done.stdout.endswith("hello Ada\n")
