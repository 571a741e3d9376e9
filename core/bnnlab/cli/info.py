"""The command `info`."""

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnlab.cli.choosing import Assignments, naming, refuse_others
from bnnlab.cli.console import Json, line, print_described, print_json, print_out, print_table
from bnnlab.cli.describing import print_options, type_of
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.guards import collection
from bnnlab.registry.components import CAPABILITIES, MANY, PARTS, Kind, Option, noun
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import check
from bnnlab.settings.layers import resolve, resolve_components
from bnnlab.settings.run import Choice
from bnnlab.settings.text import joined, parse_assignment, written

if TYPE_CHECKING:
    from bnnlab.cli.anatomy import Anatomy

SIZES = "--input, --classes and --tokens"


def info(
    kind: Annotated[
        str | None, typer.Argument(help="model, rule, optimizer, stream, probe, track or engine")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="The component's name.")] = None,
    set: Assignments = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input", help="For a model: shape of one input; default 3,32,32.", metavar="C,H,W"
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option("--classes", help="For a model: number of logits; default 10.", min=1),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", help="For a model of token ids: how many there are.", min=1),
    ] = None,
    json: Json = False,
) -> None:
    """Describe a component: its purpose, its source, and all its options.

    Without NAME, it lists what can be described.
    For a model, it also lists the segments with their weights and operations.
    For a converted model, it also lists the layers that stayed real, and why.
    Plugins may say more of a model, such as what an export of it would have.
    For a component that is made of others, it also lists their options.

    Examples:
      bnn info   |   bnn info optimizer   |   bnn info rule dfa
      bnn info model mlp --input 1,28,28 --set 'model.hidden=[256]'
    """
    host = PluginHost()
    asked = None if kind is None else _kind(host, kind)
    is_sized = (input, classes, tokens) != (None, None, None)
    if asked is None or name is None:
        if set or is_sized:
            raise UsageError(f"--set, {SIZES} are for one component: give its name")
        _list(host, asked, json)
        return
    if is_sized and asked != Kind.MODEL:
        raise UsageError(f"{SIZES} are for a model only, not for a {asked}")
    choice = _choose(host, asked, name, set or [])
    anatomy: Anatomy | None = None
    if asked == Kind.MODEL:
        with collection.put_off():
            from bnnlab.cli.anatomy import take_apart

        shape = "3,32,32" if input is None else input
        anatomy = take_apart(host, choice, shape, classes or 10, tokens)
    if json:
        print_json(_document(choice) | (anatomy.document() if anatomy else {}))
        return
    _print_component(host, choice)
    if anatomy:
        anatomy.show()


def _kind(host: PluginHost, text: str) -> Kind:
    """Return the kind of this name.

    Raises:
        UsageError: If it is none; where it is the name of a component, with what to type.
    """
    if text in list(Kind):
        return Kind(text)
    every = [component for _, component in host.components()]
    named = [f"`bnn info {each.kind} {text}`" for each in every if each.name == text]
    if named:
        raise UsageError(f"{text!r} is not a kind. The kind comes first: {' or '.join(named)}.")
    near = did_you_mean(text, [*Kind, *(each.name for each in every)])
    hint = near or f" It is one of {', '.join(Kind)}."
    raise UsageError(f"unknown kind {text!r}.{hint} `bnn info` lists all components.")


def _list(host: PluginHost, kind: Kind | None, json: bool) -> None:
    """List the components, or those of a kind with their summaries."""
    name = naming(host)
    rows = [(c.kind, name(plugin, c), c.summary) for plugin, c in host.components(kind)]
    if json:
        fields = ("kind", "name", "summary")
        print_json({"components": [dict(zip(fields, row, strict=True)) for row in rows]})
        return
    if kind is None:
        names = [(each, ", ".join(row[1] for row in rows if row[0] is each)) for each in Kind]
        print_table(("kind", "names"), [row for row in names if row[1]])
        print_out("To describe the components of a kind: bnn info KIND")
    elif rows:
        print_table((kind, "what it is"), [row[1:] for row in rows])
    else:
        print_out(f"No installed plugin has a {noun(kind)}.")
        print_out("To see all plugins: bnn list-plugins --all")
        return
    print_out(f"To describe one, with its options: bnn info {kind or 'KIND'} NAME")


def _choose(host: PluginHost, kind: Kind, name: str, assignments: list[str]) -> Choice:
    named = {name: {}} if kind in MANY else name
    settings = joined([{kind: named}, *map(parse_assignment, assignments)])
    refuse_others(settings, [kind], "info")
    if kind in MANY and (others := settings[kind].keys() - {name}):
        raise UsageError(f"--set {kind}.{min(others)}: info takes options of {kind}.{name} only")
    return resolve_components(host, [settings], [kind])[kind]


def _document(choice: Choice) -> dict[str, Any]:
    component, plugin = choice.component, choice.plugin
    plain = ("kind", "name", "summary", "source", "argument", "state_bytes")
    return {
        **{name: getattr(component, name) for name in plain},
        "distribution": plugin.distribution,
        "version": plugin.version,
        "provides": sorted(component.provides),
        "requires": sorted(component.requires),
        "measures": {
            name: {"unit": unit, "meaning": meaning}
            for name, (unit, meaning) in component.measures.items()
        },
        "options": [_entry(option, option.name) for option in component.options],
        "parts": [
            {
                "option": place,
                "kind": part.component.kind,
                "name": part.name,
                "options": [
                    _entry(each, f"{place}.{each.name}") for each in part.component.options
                ],
            }
            for place, part in _parts(choice)
        ],
        "segments": [],
        "conversion": None,
        "sections": [],
    }


def _entry(option: Option, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_of(option),
        "default": option.default,
        "help": option.help,
        "shared": option.shared,
        **option.bounds,
        "search": option.search,
    }


def _parts(choice: Choice) -> list[tuple[str, Choice]]:
    """Return all that a component is made of, each with its place, as `base.base`."""
    _, *parts = choice.within("")
    return [(place.removeprefix("."), part) for place, part in parts]


def _print_head(choice: Choice, before: str = "") -> None:
    component, plugin = choice.component, choice.plugin
    origin = f"   from {plugin.distribution} {plugin.version}"
    print_out(line((f"{before}{component.kind} {component.name}", "bold"), (origin, "dim")))


def _print_component(host: PluginHost, choice: Choice) -> None:
    component = choice.component
    _print_head(choice)
    print_out(component.summary)
    print_out(line((f"Source: {component.source}", "dim")))
    print_out()
    print_options(component.options, noun(component.kind))
    for place, part in _parts(choice):
        _print_head(part, f"{place}: ")
        print_options(part.component.options, noun(part.component.kind), f"{place}.")
    if component.measures:
        print_out("Measures, with their units:")
        measures = component.measures.items()
        print_described([(line((name, "bold")), *about) for name, about in measures])
        print_out()
    abilities = [
        (word, name, CAPABILITIES.get(name, "defined by the plugin"))
        for word, names in (("requires", component.requires), ("provides", component.provides))
        for name in sorted(names)
    ]
    if abilities:
        print_table((), abilities)
    if component.default_model is not None:
        print_out(f"Default model with this rule: {component.default_model}.")
    if component.state_bytes is not None:
        count = f"{component.state_bytes} bytes per weight (float32, default options)"
        print_out(f"optimizer state: {count}; the weight: 4")
    print_out(f"Example: {_example(host, choice)}", soft_wrap=True)


def _example(host: PluginHost, choice: Choice) -> str:
    """Return a command that uses a component, with what must be set so that it fits."""
    component = choice.component
    command = "sweep FILE" if component.kind is Kind.ENGINE else "run"
    file = choice.plugin.file
    where = f"--plugin {shlex.quote(str(file))} " if file else ""
    example = f"bnn {where}{command} --{component.kind} {component.name}"
    if component.argument is not None:
        example += f":{written(choice.options[component.argument])}"
    elif component.options:
        needed = (each for each in component.options if each.default == "" and not each.path)
        option = next(needed, component.options[0])
        value = "PATH" if option.path or option.default == "" else written(option.default)
        is_many = component.kind in MANY
        table = f"{component.kind}.{component.name}" if is_many else component.kind
        example += f" --set '{table}.{option.name}={value}'"
    return f"{example}{_besides(host, choice)}"


def _besides(host: PluginHost, choice: Choice) -> str:
    """Return what else a run with a component needs, if it does not fit the defaults."""
    kind = choice.component.kind
    if kind not in PARTS:
        return ""
    try:
        config = resolve(host, [{kind: choice.table}])
    except UsageError:  # plugins of the defaults are not installed, or an option must be given
        return ""
    changes = check(host, config).alternatives
    others = (f" {each}" for each in changes if not re.match(f"--(set '?)?{kind}[. ]", each))
    return next(others, "")
