"""Flags for the settings of a run, made from the one table of them."""

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer

from bnnlab.errors import UsageError
from bnnlab.registry.components import PARTS, Component, Option
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.forms import forms, literals
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import Layer, layers_of_recipe
from bnnlab.settings.run import KINDS, RUN_OPTIONS
from bnnlab.settings.text import joined, parse_assignment, parse_value, read_config, written

Command = TypeVar("Command", bound=Callable[..., None])

_COMPONENTS = tuple(Option(kind, str, None, meaning) for kind, meaning in KINDS.items())
_OPTIONS = {option.name: option for option in (*_COMPONENTS, *RUN_OPTIONS)}
_SHORT = {
    "rule": "-r",
    "optimizer": "-o",
    "model": "-m",
    "stream": "-s",
    "epochs": "-e",
    "batch_size": "-b",
}
_PANELS: dict[str, str] = {
    **dict.fromkeys(map(str, PARTS), "Components"),
    **dict.fromkeys(
        ("label_smoothing", "accumulate", "clip_value", "patience", "keep"), "More of training"
    ),
    **dict.fromkeys(("warmup", "task_decay"), "Learning rates"),
    **{name: "Learning rates" for name in _OPTIONS if name.startswith("schedule")},
    **dict.fromkeys(("device", "threads", "precision", "kernels"), "Computing"),
    **{option.name: "Measuring and compiling" for option in RUN_OPTIONS if option.type is bool},
    **dict.fromkeys(("data", "out", "name"), "Files"),
    "checkpoint_minutes": "Resuming",
}
_FOLDERS = ("data", "out")

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any option, as optimizer.lr=0.1 (`bnn info KIND NAME`). May be repeated.",
        metavar="NAME=VALUE",
        rich_help_panel="Components",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Run file (TOML). Flags override it.",
        metavar="FILE",
        rich_help_panel="Files",
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="Run file of a plugin (`bnn list-recipes`). --config overrides it.",
        metavar="NAME",
        rich_help_panel="Files",
    ),
]
Short = Annotated[
    bool,
    typer.Option(
        "--short", help="The short form of the --recipe, if it has one.", rich_help_panel="Files"
    ),
]


def with_flags(*settings: str) -> Callable[[Command], Command]:
    """Give a command a flag for each of these settings, and `--set`.

    The command finds them in its `**said`, for `layer` to read. What is not given is None.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        *own, _said = signature.parameters.values()
        flags = [_parameter(name, _flag(_OPTIONS[name])) for name in settings]
        parameters = [*flags, _parameter("set", Assignments), *own]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _flag(option: Option) -> Any:
    """Return the declaration of a setting's flag for typer. `resolve` checks its values.

    The flag of a list may be repeated.
    """
    name = option.name.replace("_", "-")
    words = [f"--{name}/--no-{name}" if option.type is bool else f"--{name}"]
    words += [_SHORT[option.name]] if option.name in _SHORT else []
    many = get_origin(option.type) is list
    flag = typer.Option(
        *words,
        help=" ".join([option.help, *_values(option, many)]),
        metavar=None if option.type is bool else _metavar(option, many),
        rich_help_panel=_PANELS.get(option.name, "Training"),
    )
    kind = option.type if option.type in (bool, int, float) else list[str] if many else str
    return Annotated[kind | None, flag]


def _values(option: Option, many: bool) -> list[str]:
    """Return sentences on the values of a setting that its help leaves out."""
    if many:
        return ["May be repeated."]
    if all(form.values for form in forms(option.type)):
        choices = literals(option.type)
        marked = [f"{each} (default)" if each == option.default else str(each) for each in choices]
        return [f"One of {', '.join(marked)}."]
    is_said = option.default is not None and option.type is not bool
    return [f"Default: {written(option.default)}."] if is_said else []


def _metavar(option: Option, many: bool) -> str:
    """Return what stands for the value of a flag: `N`, `N|LIST`, `DIR|none`."""
    text = "DIR" if option.name in _FOLDERS else "NAME"
    words = {int: "N", float: "X", NoneType: "none"}
    every = forms(option.type)
    each = every[0].items if many else every
    return "|".join("LIST" if form.items else words.get(form.type, text) for form in each)


def layer(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the command line's layer of settings, of its flags and of `--set`.

    Raises:
        UsageError: If a setting is given two values.
    """
    given = {key: _read(key, value) for key, value in said.items() if value not in (None, [], {})}
    assignments = given.pop("set", [])
    return joined([given, *map(parse_assignment, assignments)])


def layers_of_files(config: Path | None, recipe: str | None, short: bool) -> list[Layer]:
    """Return the layers of a recipe and of a run file, if they are given, weakest first.

    Raises:
        UsageError: If there is no such recipe, short form or file, or none for the short form.
    """
    if short and recipe is None:
        raise UsageError("--short is the short form of a recipe: name it, as --recipe PLUGIN/NAME")
    layers = [] if recipe is None else layers_of_recipe(PluginHost(), recipe, short)
    return [*layers, Layer(read_config(config), str(config))] if config else layers


def _read(name: str, value: Any) -> Any:
    """Return a flag's value; text where the setting takes numbers or `none` is read as TOML."""
    kinds = get_args(_OPTIONS[name].type) if name in _OPTIONS else ()
    if not {int, float} & {*kinds}:
        return value
    if isinstance(value, list):  # of a flag that may be repeated, or has a list as TOML has it
        read = map(parse_value, value)
        return [it for each in read for it in (each if isinstance(each, list) else [each])]
    return parse_value(value) if isinstance(value, str) else value


def refuse_others(settings: Mapping[str, Any], kinds: Collection[str], command: str) -> None:
    """Raise a UsageError on settings of other components than these."""
    for key in sorted(settings.keys() - {*kinds}):
        its = " and the ".join(kinds)
        raise UsageError(f"--set {key}: {command} takes options of the {its} only")


def naming(host: PluginHost) -> Callable[[Plugin, Component], str]:
    """Return what names a component: with its distribution where two have the same name."""
    counts = Counter(str(component) for _, component in host.components())
    return lambda plugin, c: c.name if counts[str(c)] < 2 else f"{plugin.distribution}/{c.name}"
