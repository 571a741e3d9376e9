"""Commands on compatibility: `check`, `matrix`."""

from typing import Any

import typer

from bnnlab.cli.choosing import (
    ConfigFile,
    Recipe,
    Short,
    layer,
    layers_of_files,
    naming,
    refuse_others,
    with_flags,
)
from bnnlab.cli.console import Json, Part, line, print_json, print_out, print_table, terminal_width
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings import fit
from bnnlab.settings.layers import resolve, resolve_components
from bnnlab.settings.run import KINDS

_MARKS: dict[bool, Part] = {True: ("yes", "green"), False: ("no", "red")}


@with_flags(*KINDS)
def check(
    config: ConfigFile = None,
    recipe: Recipe = None,
    short: Short = False,
    json: Json = False,
    **said: Any,
) -> None:
    """Check whether four components and the settings of a run fit. If not, say what would.

    A component that is not named is the default. Exits with 1 if something does
    not fit.

    Examples:
      bnn check --rule dfa --optimizer meta --set model.weights=real
      bnn check --recipe PLUGIN/NAME   |   bnn check --config run.toml
    """
    host, files = PluginHost(), layers_of_files(config, recipe, short)
    resolved = resolve(host, [*files, layer(said)])
    verdict = fit.check(host, resolved)
    names = {str(kind): choice.component.name for kind, choice in resolved.choices.items()}
    if json:
        print_json({**names, **verdict.as_dict()})
    else:
        listed = ", ".join(f"{kind} {name}" for kind, name in names.items())
        word = ("compatible", "green") if verdict.compatible else ("not compatible", "red")
        print_out(line(word, f": {listed}"))
        for reason in (*verdict.faults, *verdict.reasons):
            print_out(reason, indent=2)
        if verdict.reasons:
            print_out(f"would fit: {verdict.nearest()}", indent=2)
        if verdict.later:
            print_out(f"checked when a run begins: {'; '.join(verdict.later)}", indent=2)
    if not verdict.compatible:
        raise typer.Exit(1)


@with_flags("model", "stream")
def matrix(json: Json = False, **said: Any) -> None:
    """Show which rules work with which optimizers, for a model and a stream.

    Example:  bnn matrix --set model.weights=real
    """
    host, spoken = PluginHost(), layer(said)
    refuse_others(spoken, ("model", "stream"), "matrix")
    choices = resolve_components(host, [spoken], (Kind.MODEL, Kind.STREAM))
    pairs = fit.matrix(host, choices[Kind.MODEL], choices[Kind.STREAM])
    name = naming(host)
    named = [
        (name(rule.plugin, rule.component), name(optimizer.plugin, optimizer.component), verdict)
        for rule, optimizer, verdict in pairs
    ]
    if json:
        print_json(
            {
                "model": choices[Kind.MODEL].component.name,
                "stream": choices[Kind.STREAM].component.name,
                "pairs": [
                    {"rule": rule, "optimizer": optimizer, **verdict.as_dict()}
                    for rule, optimizer, verdict in named
                ],
            }
        )
        return
    fits = {(rule, optimizer): verdict.compatible for rule, optimizer, verdict in named}
    made = (f"{kind} {choice.component.name}" for kind, choice in choices.items())
    print_out(f"rules that work with each optimizer, for {', '.join(made)}:")
    _print_fits(fits)
    for why in dict.fromkeys(why for *_, verdict in named for why in _why(verdict)):
        print_out(why)


def _print_fits(fits: dict[tuple[str, str], bool]) -> None:
    """Print a row per optimizer and a column per rule; where that is too wide, lists of rules."""
    rules = list(dict.fromkeys(rule for rule, _ in fits))
    optimizers = list(dict.fromkeys(optimizer for _, optimizer in fits))
    heads = ("optimizer", *rules)
    width = max(map(len, ("optimizer", *optimizers))) + sum(2 + max(3, len(r)) for r in rules)
    if width <= terminal_width():
        rows = [[name, *(_MARKS[fits[rule, name]] for rule in rules)] for name in optimizers]
        print_table(heads, rows)
        return
    lists = [
        [name, *(_listed([r for r in rules if fits[r, name] is good], rules) for good in _MARKS)]
        for name in optimizers
    ]
    print_table(("optimizer", "rules: yes", "rules: no"), lists)
    print_out(f"all: {', '.join(rules)}")


def _listed(some: list[str], every: list[str]) -> str:
    return "-" if not some else "all" if some == every else ", ".join(some)


def _why(verdict: fit.Verdict) -> list[str]:
    instead = f"; yes with {' or '.join(verdict.alternatives)}" if verdict.alternatives else ""
    return [f"no: {reason}{instead}" for reason in verdict.reasons]
