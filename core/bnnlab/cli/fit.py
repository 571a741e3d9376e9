"""What fits together: `check`, `matrix`."""

from typing import Any

import typer

from bnnlab.cli.choosing import Assignments, Model, Optimizer, Rule, Stream, layers
from bnnlab.cli.console import Json, print_json, print_out


def check(
    rule: Rule = None,
    optimizer: Optimizer = None,
    model: Model = None,
    stream: Stream = None,
    set: Assignments = None,
    json: Json = False,
) -> None:
    """Say whether four components fit together, and if not, why and what would.

    What is not named is the default. Exits with 1 if they do not fit.

    Example:  bnn check --rule dfa --optimizer meta --set model.weights=real
    """
    from bnnlab.compatibility import check as judge
    from bnnlab.config import resolve
    from bnnlab.host import PluginHost

    host = PluginHost()
    said = {"rule": rule, "optimizer": optimizer, "model": model, "stream": stream}
    config = resolve(host, layers(said, set))
    verdict = judge(host, config.choices)
    names = {str(kind): choice.component.name for kind, choice in config.choices.items()}
    if json:
        print_json(
            {
                **names,
                "compatible": verdict.compatible,
                "reasons": list(verdict.reasons),
                "alternatives": list(verdict.alternatives),
            }
        )
    else:
        from rich.text import Text

        listed = ", ".join(f"{kind} {name}" for kind, name in names.items())
        if verdict.compatible:
            print_out(Text.assemble(("compatible", "green"), f": {listed}"))
        else:
            print_out(Text.assemble(("not compatible", "red"), f": {listed}"))
        for reason in verdict.reasons:
            print_out(Text(f"  {reason}"))
        for alternative in verdict.alternatives:
            print_out(Text(f"  would fit: {alternative}"))
    if not verdict.compatible:
        raise typer.Exit(1)


def matrix(
    model: Model = None, stream: Stream = None, set: Assignments = None, json: Json = False
) -> None:
    """Show which rules work with which optimizers, for a model and a stream.

    Example:  bnn matrix --set model.weights=real
    """
    from bnnlab.compatibility import matrix as pairs_of
    from bnnlab.components import Kind
    from bnnlab.config import resolve_components
    from bnnlab.errors import UsageError
    from bnnlab.host import PluginHost

    host = PluginHost()
    said = layers({"model": model, "stream": stream}, set)
    for key in (key for layer in said for key in layer if key not in ("model", "stream")):
        raise UsageError(f"--set {key}: matrix takes options of the model and the stream only")
    choices = resolve_components(host, said, (Kind.MODEL, Kind.STREAM))
    pairs = pairs_of(host, choices[Kind.MODEL], choices[Kind.STREAM])
    named = [(_name(host, rule), _name(host, opt), verdict) for rule, opt, verdict in pairs]
    if json:
        print_json(
            {
                "model": choices[Kind.MODEL].component.name,
                "stream": choices[Kind.STREAM].component.name,
                "pairs": [
                    {
                        "rule": rule,
                        "optimizer": optimizer,
                        "compatible": verdict.compatible,
                        "reasons": list(verdict.reasons),
                        "alternatives": list(verdict.alternatives),
                    }
                    for rule, optimizer, verdict in named
                ],
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    cells: dict[str, list[Any]] = {}
    for _, optimizer, verdict in named:
        mark = Text("yes", style="green") if verdict.compatible else Text("no", style="red")
        cells.setdefault(optimizer, []).append(mark)
    rules = dict.fromkeys(rule for rule, *_ in named)
    table = Table("optimizer \\ rule", *rules, box=None, pad_edge=False)
    for name, marks in cells.items():
        table.add_row(name, *marks)
    print_out(table)
    for line in dict.fromkeys(line for *_, verdict in named for line in _why(verdict)):
        print_out(Text(line))


def _why(verdict: Any) -> list[str]:
    instead = f"; yes with {' or '.join(verdict.alternatives)}" if verdict.alternatives else ""
    return [f"no: {reason}{instead}" for reason in verdict.reasons]


def _name(host: Any, choice: Any) -> str:
    """Return a component's name, with its distribution if another one offers that name too."""
    name: str = choice.component.name
    offered = [c.name for _, c in host.components(choice.component.kind)]
    return f"{choice.plugin.distribution}/{name}" if offered.count(name) > 1 else name
