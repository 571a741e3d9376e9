"""Cells: which runs repeat one another, what tells cells apart, and their values per seed."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from types import NoneType
from typing import Any

from bnnlab.engine.continual import RECENT
from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.options import shown
from bnnlab.settings.run import ELSEWHERE, KINDS
from bnnlab.settings.text import written
from bnnlab_studies.record import DEFAULTS, Record, leaves

APART = frozenset({"seed", *ELSEWHERE})
"""Settings in which runs of one cell may differ."""

LONGEST = 100
"""Characters of a cell's file name."""
DIGITS = 4
"""Significant digits of numbers that were drawn, where people read them."""
_NAMED = 5
"""The most cells or runs that a message names."""


def digest(settings: Mapping[str, Any]) -> str:
    """Return 16 digits of what a cell is known by: its settings without `APART`."""
    its = {key: value for key, value in settings.items() if key not in APART}
    return hashlib.sha256(json.dumps(its, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_name(cell: str) -> str:
    """Return what folders and files of a cell are called: its name, fit for a shell.

    It has letters, digits and `.=_-`. No number loses its sign: 1e+20 is 1e20, and 1, -2 is 1--2.
    A cell without a name is called `cell`.
    """
    plain = re.sub(r" *= *[\[({'\"]*", "=", re.sub(r"(?<=\de)\+", "", cell))
    made = re.sub(r"[^\w.=-]+", "-", plain, flags=re.ASCII).strip("-.")
    return made[:LONGEST].rstrip("-.") or "cell"


def group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the runs of each cell by its name, in the order of their first runs.

    A cell without a name of its own is called by what tells it from the others, as
    `optimizer=meta, optimizer.lr=0.01`; alone, by its components.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_key(record), []).append(record)
    unnamed = [runs[0] for runs in groups.values() if not runs[0].cell and runs[0].settings]
    names = dict(zip(map(_key, unnamed), _names(unnamed), strict=True))
    found: dict[str, list[Record]] = {}
    for key, runs in groups.items():
        found.setdefault(names.get(key, key), []).extend(runs)
    return found


def _key(record: Record) -> str:
    """Return what is equal for the runs of one cell, and its name where it has one."""
    if record.cell or not record.settings:
        return record.cell or record.name
    return digest({**DEFAULTS, **record.settings})


def settings_of(record: Record) -> dict[str, Any]:
    """Return what a run was told, by dotted name, without what tells no cells apart."""
    every = {**DEFAULTS, **record.settings}
    probes = ", ".join(every.get(Kind.PROBE, {}))  # most have no options
    own = leaves({key: it for key, it in every.items() if key not in APART})
    return {str(Kind.PROBE): probes, **dict(own)}


def tasks_of(runs: Iterable[Record]) -> int:
    """Return the most tasks that a complete run has; 0 if none is complete."""
    return max((len(run["tasks"]) for run in runs if run.is_complete), default=0)


def telling(measures: Iterable[str], runs: Iterable[Record]) -> list[str]:
    """Return those measures that have a value; of few tasks, none that says what another does."""
    complete = [run for run in runs if run.is_complete]
    tasks, doubles = tasks_of(complete), {"recent_accuracy": RECENT, "learning_accuracy": 1}
    return [
        name
        for name in measures
        if tasks > doubles.get(name, 0) and any(run.get(name) is not None for run in complete)
    ]


def departures(its: Mapping[str, Any], said: Mapping[str, Any]) -> list[str]:
    """Return how a run's settings differ from those of the cell that it should belong to.

    What only one of the two has came with another version, and is no difference.
    """
    mine = dict(leaves(its))
    return [
        f"{name} is {written(mine[name])} and not {written(value)}"
        for name, value in leaves(said)
        if name.partition(".")[0] not in APART - {"seed"} and mine.get(name, value) != value
    ]


def _names(cells: Sequence[Record]) -> list[str]:
    if len(cells) == 1:
        return [cells[0].title]
    every = [settings_of(cell) for cell in cells]
    names = {name for its in every for name in its}
    few = {name: digits(its.get(name) for its in every) for name in names}
    parts = [
        [(name, brief(value, few[name])) for name, value in _differing(its, every)] for its in every
    ]
    short = [", ".join(_part(*each, short=True) for each in its) for its in parts]
    if len({*short}) == len(short):
        return short
    return [", ".join(_part(*each) for each in its) for its in parts]


def _differing(its: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Return the settings that differ; a component's options only from those of its like."""
    found = []
    for name, value in its.items():
        homes = _homes(name)
        like = [other for other in told if all(other.get(it) == its.get(it) for it in homes)]
        if any(other.get(name) != value for other in like):
            found.append((name, value))
    return found


def _homes(name: str) -> list[str]:
    """Return what names the components that an option is of, the outermost first."""
    *tables, last = name.split(".")
    if not tables or tables[0] not in KINDS:
        return []
    deepest = len(tables) - (last == "name")
    return [".".join((*tables[:depth], "name")) for depth in range(1, deepest + 1)]


def digits(values: Iterable[Any]) -> int:
    """Return how many significant digits tell values of one setting apart, at least `DIGITS`."""
    numbers = {value for value in values if isinstance(value, float)}
    enough = (n for n in range(DIGITS, 17) if len({brief(it, n) for it in numbers}) == len(numbers))
    return next(enough, 17)  # which tell any two apart


def brief(value: Any, digits: int = DIGITS) -> Any:
    """Return a number with so many significant digits; any other value as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _part(name: str, value: Any, short: bool = False) -> str:
    table, _, option = name.rpartition(".")
    if table.partition(".")[0] in KINDS and option == "name":
        return f"{table}={value.rpartition('/')[2] if short else value}"
    return f"{name}={written(value)}"


def _inner(measure: str, value: Any) -> str:
    """Return how to name a part of a measure, if it has parts."""
    parts = [*value] if isinstance(value, Mapping) else [-1] if isinstance(value, list) else []
    return f" A dotted name is one of its entries, as {measure}.{parts[0]}" if parts else ""


def by_seed(runs: Sequence[Record], measure: str) -> tuple[dict[int, float], list[str]]:
    """Return a cell's values of a measure per seed; and the runs without one, with the reason.

    Only complete runs of one protocol count: that of the first.

    Raises:
        UsageError: If a value is no number, or two runs have the same seed.
    """
    values: dict[int, float] = {}
    missing, found = [], dict[int, Record]()
    own = next((run for run in runs if run.is_complete), None)
    for run in runs:
        if not run.is_complete:
            missing.append(f"{run.name}: {run.status}")
            continue
        if own is not None and run["protocol"] != own["protocol"]:
            missing.append(f"{run.name}: another protocol than {own.name}")
            continue
        value, seed = value_of(run, measure), run["seed"]
        if value is None:
            missing.append(f"{run.name}: {measure} was not measured")
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(
                f"{measure} of {run.name} is no number, but {shown(value)}.{_inner(measure, value)}"
            )
        if seed in found:
            raise UsageError(
                f"two runs of one cell have the seed {seed}: {where(found[seed])} and "
                f"{where(run)}. Take one of them away."
            )
        values[seed], found[seed] = float(value), run
    return values, missing


def value_of(run: Record, measure: str) -> Any:
    """Return a run's value of a measure; of a part of a list (`:`, `*`) the mean, without gaps."""
    value = run.get(measure)
    if not isinstance(value, list) or not {":", "*"} & {*measure}:
        return value
    if not all(type(it) in (int, float, NoneType) for it in value):
        return value
    return None if None in value or not value else fmean(value)


def listed(names: Sequence[str]) -> str:
    """Return the names of cells as a message shows them, the first few of many."""
    return few([*map(shown, names)], ", ")


def few(texts: Sequence[str], between: str = "; ") -> str:
    """Return the first few of many texts, and how many more there are."""
    more = [f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return between.join([*texts[:_NAMED], *more])


def where(run: Record) -> str:
    """Return where a run is, for a message."""
    return str(run.folder or run.name)
