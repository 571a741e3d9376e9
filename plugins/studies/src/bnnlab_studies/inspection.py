"""What there is to say of one run: its settings against the defaults, and how far it came."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bnnlab.engine import continual
from bnnlab.engine.figures import SHARE, Score, chosen
from bnnlab.engine.result import ABSENT, MEASURES
from bnnlab.errors import UsageError, explain
from bnnlab.registry.components import Kind
from bnnlab.registry.given import OBJECT, resuming
from bnnlab.registry.host import PluginHost
from bnnlab.settings.merging import is_same
from bnnlab.settings.run import KINDS
from bnnlab.storage.folder import ENVIRONMENT, LOG, METRICS, read_metrics
from bnnlab.storage.owner import owner_of
from bnnlab_studies.cells import APART
from bnnlab_studies.record import DEFAULTS, Record, defaults_of, leaves

Changed = list[dict[str, Any]]
"""`name`, `value` and `default` of settings; the default is None where it is not known."""


def changed(record: Record, host: PluginHost) -> tuple[Changed, list[str]]:
    """Return the settings of a run that differ from the defaults, and why a default is not known.

    The defaults are those of the plugins that are installed now.
    """
    plain = {name: it for name, it in record.settings.items() if not isinstance(it, Mapping)}
    own = {name: it for name, it in plain.items() if name not in APART}
    found, notes = _unlike("", own, DEFAULTS), list[str]()
    for each in _tables(record.settings):
        found += _in_component(host, *each, notes)
    return found, notes


def _in_component(
    host: PluginHost, path: str, kind: Kind, table: Mapping[str, Any], notes: list[str]
) -> Changed:
    """Return what differs in a component and its parts; add to `notes` what is not known."""
    options = {name: value for name, value in table.items() if name != "name"}
    if str(table["name"]).startswith(f"{OBJECT}/"):  # what it says of an object has no default
        return _unlike(f"{path}.", options, dict.fromkeys(options, ""))
    try:
        declared = host.options(*host.resolve(kind, table["name"]))
    except UsageError as error:
        declared = ()
        notes.append(f"the defaults of {kind} {table['name']} are not known: {error}")
    found: Changed = []
    for option in declared:
        if option.part and isinstance(options.get(option.name), Mapping):
            inner, place = options.pop(option.name), f"{path}.{option.name}"
            if not is_same(inner["name"], option.default):
                found.append({"name": place, "value": inner["name"], "default": option.default})
            found += _in_component(host, place, Kind(option.part.kind), inner, notes)
    return _unlike(f"{path}.", dict(leaves(options)), defaults_of(declared)) + found


def _unlike(path: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Changed:
    return [
        {"name": path + name, "value": value, "default": defaults.get(name)}
        for name, value in values.items()
        if name not in defaults or value != defaults[name]
    ]


def _tables(settings: Mapping[str, Any]) -> Iterator[tuple[str, Kind, Mapping[str, Any]]]:
    for kind in KINDS:
        if isinstance(settings.get(kind), Mapping):
            yield str(kind), kind, settings[kind]
    for name, options in settings.get(Kind.PROBE, {}).items():
        yield f"{Kind.PROBE}.{name}", Kind.PROBE, {"name": name, **options}


def partial(folder: Path, epochs: int) -> tuple[dict[str, Any], str]:
    """Return what a run without a result measured, as result.json has it; and its last epoch.

    Raises:
        UsageError: If its metrics.jsonl is damaged.
    """
    lines = read_metrics(folder) if (folder / METRICS).exists() else []
    try:
        return _measured(lines), _position(lines, epochs)
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{folder / METRICS} is damaged: {explain(error)}") from error


def held_out(folder: Path, score: Score) -> str:
    """Return the scores on the validation part after each epoch; "" if there are none.

    Of many epochs, some are shown.

    Raises:
        UsageError: If the run's metrics.jsonl is damaged.
    """
    lines = read_metrics(folder) if (folder / METRICS).exists() else []
    found = [line["validation_accuracy"] for line in lines if "validation_accuracy" in line]
    try:
        shown = [f"{score.number(found[n])} ({n + 1})" for n in chosen(len(found))]
    except (TypeError, ValueError) as error:
        raise UsageError(f"{folder / METRICS} is damaged: {explain(error)}") from error
    return f"validation {score.label} (after epoch): {', '.join(shown)}" if shown else ""


def _measured(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    evaluations = [line for line in lines if line["event"] == "evaluation"]
    nothing: Mapping[str, Any] = {"accuracy": []}
    untrained = next((line for line in lines if line["event"] == "untrained"), nothing)
    matrix = [line["accuracy"] for line in evaluations]
    flips = [line.get("flips") for line in evaluations]
    return {
        **ABSENT,
        **{key: it for key, it in (evaluations or [{}])[-1].items() if key in MEASURES},
        **continual.measures(matrix, untrained["accuracy"]),
        "flips": flips if any(flips) else [],
        **({"score": untrained["score"]} if "score" in untrained else {}),
    }


def _position(lines: Sequence[Mapping[str, Any]], epochs: int) -> str:
    last = next((line for line in reversed(lines) if line["event"] == "epoch"), None)
    if last is None:
        return "no epoch is done"
    trained = last.get("train_accuracy")
    what = f"loss {last['loss']:.3g}" if trained is None else f"accuracy {SHARE.text(trained)}"
    done = f"{last['epoch'] + 1} of {epochs} epochs are done"
    return f"task {last['task'] + 1}: {done}, training {what}"


def state_of(record: Record) -> list[str]:
    """Return why a run is not complete, and the command that goes on with it; nothing if it is."""
    folder = record.folder
    if folder is None:
        return []
    again = f"to continue: {resuming(folder, record.settings)}"
    if record.status == "running":
        return [f"{owner_of(folder) or 'a process'} writes to it"]
    if record.status == "failed":
        return [f"error: {last_error(folder)}", again]
    if record.status == "unfinished":
        return ["it has no result, and no process writes to it: it was killed", again]
    return [again] if record.status == "interrupted" else []


def environment(folder: Path) -> dict[str, Any]:
    """Return what environment.json holds; nothing, if it cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def last_error(folder: Path) -> str:
    """Return the last error in log.txt; "" if there is none."""
    with suppress(OSError, ValueError):
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
        errors = [found[1] for each in lines if (found := re.match(r"[\d-]+ \S+ ERROR (.*)", each))]
        return errors[-1] if errors else ""
    return ""
