"""`bnn show`: what one run found, and what it was told."""

from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import Json, print_json, print_out, print_table
from bnnlab.cli.display import result_lines
from bnnlab.engine.figures import has_one_task, score_of
from bnnlab.errors import UsageError, command
from bnnlab.registry.given import OBJECT
from bnnlab.registry.host import PluginHost
from bnnlab.settings.text import written
from bnnlab_studies.finding import find_records
from bnnlab_studies.inspection import Changed, changed, environment, held_out, partial, state_of
from bnnlab_studies.record import Record

SCORED = ("evaluate_on", "evaluate")
"""Settings that a result has, too: which scores its numbers are."""
Run = Annotated[
    Path, typer.Argument(help="A run's folder, or a result that was kept.", metavar="RUN")
]


def show(run: Run, json: Json = False) -> None:
    """Show a run: its accuracy matrix and measures, and its settings that are not the defaults.

    Nothing is trained or loaded. A run that has not ended is shown as far as it came.

    Examples:
      bnn show runs/NAME
      bnn show docs/results/family/meta-0.json
    """
    record = _read(run)
    settings, notes = changed(record, PluginHost())
    result, lines = record.result, [f"{record.name}: {record.status}"]
    lines += [f"{record.title}, seed {record.get('seed', '?')}", *state_of(record)]
    if record.folder and not result:
        found, position = partial(record.folder, record.get("epochs", 0))
        result = {**found, **{key: record[key] for key in SCORED if key in record}}
        lines.append(position)
    if json:
        print_json(
            {
                "name": record.name,
                "status": record.status,
                "folder": str(record.folder) if record.folder else None,
                "settings": record.settings,
                "changed": settings,
                "result": result,
                "environment": environment(record.folder) if record.folder else {},
            }
        )
        return
    for each in lines:  # a command, which is not folded, may be in two of them
        print_out(each, soft_wrap=each.startswith(("error: ", "to continue: ")))
    if record.settings:
        _print_settings(settings, notes)
    if result["accuracy"]:
        for part in result_lines(result):
            print_out(part)
        folder = record.folder if has_one_task(result) else None
        if folder and (held := held_out(folder, score_of(result))):
            print_out(held)
    _print_origin(record)


def _read(place: Path) -> Record:
    found = find_records(place)
    if place.is_file() or found[0].folder == place:
        return found[0]
    what = f"holds {len(found)}: {command('runs', place)} lists them"
    raise UsageError(f"{place} is no run's folder, but {what}")


def _print_settings(settings: Changed, notes: list[str]) -> None:
    rows = [
        (name, written(value), "?" if default is None else written(default))
        for name, value, default in (each.values() for each in settings)
    ]
    if rows:
        print_out()
        print_table(("setting", "value", "default"), rows)
    print_out("all other settings: default" if rows else "all settings: default")
    for note in notes:
        print_out(note)
    print_out()


def _print_origin(record: Record) -> None:
    """Print what the run was computed with, and where it is."""
    if record.folder is None:
        return
    found = environment(record.folder)
    own = {name: found[name] for name in ("bnnlab", "torch", "python") if name in found}
    every = record.result.get("components", {}).values()
    parts = [part for part in every if part["distribution"] != OBJECT]
    versions = {**own, **{part["distribution"]: part["version"] for part in parts}}
    if versions:
        print_out(", ".join(f"{name} {version}" for name, version in versions.items()))
    if found:
        print_out(f"started {found.get('started')}, threads {found.get('threads')}")
    print_out(f"folder {record.folder}", soft_wrap=True)
