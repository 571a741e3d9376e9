"""The command `info`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnlab.cli.choosing import Assignments
from bnnlab.cli.console import Json, line, print_entries, print_json, print_out
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import CAPABILITIES, Kind, Option
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import describe_type
from bnnlab.settings.layers import resolve_components
from bnnlab.settings.run import Choice
from bnnlab.settings.text import joined, parse_assignment, written

if TYPE_CHECKING:
    from bnnlab.interfaces.conversion import Conversion
    from bnnlab.nn.summary import Segment


def info(
    kind: Annotated[str, typer.Argument(help="model, rule, optimizer, stream or probe")],
    name: Annotated[str, typer.Argument(help="The component's name.")],
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
    json: Json = False,
) -> None:
    """Describe a component: its purpose, its source, and all its options.

    For a model, it also lists the segments with their weights and operations.

    For a converted model, it also lists the layers that stayed real, and why.

    Examples:
      bnn info rule dfa

      bnn info model mlp --input 1,28,28 --set 'model.hidden=[256]'
    """
    if kind not in list(Kind):
        hint = did_you_mean(kind, Kind) or f" It is one of {', '.join(Kind)}."
        raise UsageError(f"unknown kind {kind!r}.{hint}")
    host = PluginHost()
    layers = [{kind: name}, joined(map(parse_assignment, set or []))]
    for key in (key for layer in layers for key in layer if key != kind):
        raise UsageError(f"--set {key}: info takes options of the {kind} only")
    choice = resolve_components(host, layers, [Kind(kind)])[Kind(kind)]
    if kind != Kind.MODEL and (input, classes) != (None, None):
        raise UsageError(f"--input and --classes are for a model only, not for a {kind}")
    shape = "3,32,32" if input is None else input
    segments: list[Segment] = []
    conversion: Conversion | None = None
    if kind == Kind.MODEL:
        from bnnlab.cli.anatomy import print_segments, take_apart

        segments, conversion = take_apart(host, choice, shape, classes or 10)
    if json:
        print_json(_document(choice, segments, conversion))
        return
    _print_component(choice)
    if segments:
        print_segments(segments, shape)
    if conversion is not None:
        from rich.text import Text

        print_out(Text(f"\nConverted from a real network: {conversion}"), soft_wrap=True)


def _document(
    choice: Choice, segments: "list[Segment]", conversion: "Conversion | None"
) -> dict[str, Any]:
    component = choice.component
    return {
        "kind": str(component.kind),
        "name": component.name,
        "distribution": choice.plugin.distribution,
        "version": choice.plugin.version,
        "summary": component.summary,
        "source": component.source,
        "provides": sorted(component.provides),
        "requires": sorted(component.requires),
        "argument": component.argument,
        "state_bytes": component.state_bytes,
        "options": [
            {
                "name": option.name,
                "type": describe_type(option.type),
                "default": option.default,
                "help": option.help,
                **_limits(option),
            }
            for option in component.options
        ],
        "segments": [
            {"contents": row.contents, "output": list(row.output), **vars(row.counts)}
            for row in segments
        ],
        "conversion": None if conversion is None else asdict(conversion),
    }


def _print_component(choice: Choice) -> None:
    component, plugin = choice.component, choice.plugin
    origin = f"   from {plugin.distribution} {plugin.version}"
    print_out(line((f"{component.kind} {component.name}", "bold"), (origin, "dim")))
    print_out(component.summary)
    print_out(line((f"Source: {component.source}", "dim")))
    print_out()
    rows = []
    for option in component.options:
        meaning = (option.help + _conditions(option)).lstrip()
        default = written(option.default)
        rows.append((option.name, describe_type(option.type), default, meaning))
    if rows:
        print_entries(("option", "type", "default", "meaning"), rows)
    else:
        print_out("It has no options.")
    print_out()
    for word, names in (("requires", component.requires), ("provides", component.provides)):
        for capability in sorted(names):
            meaning = CAPABILITIES.get(capability, "defined by the plugin")
            print_out(f"{word} {capability}  ({meaning})")
    if component.default_model is not None:
        print_out(f"Default model with this rule: {component.default_model}.")
    if component.state_bytes is not None:
        print_out(_memory(component.state_bytes))
    example = f"bnn run --{component.kind} {component.name}"
    if component.argument is not None:
        example += f":{choice.options[component.argument]}"
    elif component.options:
        option = component.options[0]
        value = "PATH" if option.path else written(option.default)
        table = f"probe.{component.name}" if component.kind == "probe" else component.kind
        example += f" --set '{table}.{option.name}={value}'"
    print_out(f"Example: {example}", soft_wrap=True)


def _memory(count: int) -> str:
    return f"optimizer state: {count} bytes per weight (float32, default options); the weight: 4"


def _limits(option: Option) -> dict[str, float]:
    """Return the limits of an option by their names."""
    names = ("minimum", "above", "below", "maximum")
    return {name: bound for name in names if (bound := getattr(option, name)) is not None}


def _conditions(option: Option) -> str:
    words = {"minimum": "at least", "maximum": "at most"}
    bounds = [f"{words.get(name, name)} {bound:g}" for name, bound in _limits(option).items()]
    parts = [f" ({', '.join(bounds)})"] if bounds else []
    for word, given in (("requires", option.requires), ("provides", option.provides)):
        for value, names in given.items():
            parts.append(f" {written(value)} {word} {', '.join(names)}.")
    return "".join(parts)
