"""result.json, read without trust: people edit and copy files, and disks damage them."""

import json
import re
from collections.abc import Mapping
from math import inf, isfinite
from pathlib import Path
from typing import Any

from bnnlab.engine.figures import OF_SCORE, Score, score_of
from bnnlab.engine.result import MEASURES
from bnnlab.errors import UsageError, first_line
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import shown
from bnnlab.storage.rows import unpacked

STATUSES = ("complete", "stopped", "failed", "interrupted")
"""How a run can have ended."""
_TYPES: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "accuracy": list,
    "components": dict,
    "protocol": str,
    "protocol_description": dict,
    "seconds": (int, float),
    "seed": int,
    "tasks": list,
}
"""What every version has written into a result."""
_PART = ("name", "distribution", "version")
"""What is said of each component, as text."""

_NUMBER = r"-?\d+(?:\.\d+)?"
ROUNDING = 1e-6
"""How far a mean of values in a range may be outside of it."""
UNITS: Mapping[str, str] = {
    "seconds": "from 0",
    **{name: measure.unit for name, measure in MEASURES.items()},
}
"""Unit or range of each measure that the core declares."""


def read_result(file: Path) -> dict[str, Any]:
    """Read the result of a run.

    Raises:
        UsageError: If the file cannot be read, or holds none.
    """
    try:
        found = json.loads(
            file.read_text(encoding="utf-8"), parse_constant=_refuse, object_hook=unpacked
        )
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is damaged: {first_line(error)}.") from error
    if not isinstance(found, dict) or not found.keys() >= _TYPES.keys():
        raise UsageError(f"{file} is not the result of a run")
    score = score_of(found)
    for name in [*_TYPES, *MEASURES, "computed_on"]:
        if name in found and not _is_fit(name, found[name], score):
            raise UsageError(f"{file} is damaged: its {name} is {shown(found[name])}.")
    if found["status"] == "complete" and not _is_matrix(found["accuracy"], len(found["tasks"])):
        raise UsageError(
            f"{file} is damaged: its accuracy has not a row and a column for each of its tasks."
        )
    return found


def _is_matrix(rows: list[Any], tasks: int) -> bool:
    """Return whether there is a row for each of one or more tasks, with a column for each."""
    return 0 < tasks == len(rows) and all(isinstance(r, list) and len(r) == tasks for r in rows)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_fit(name: str, value: Any, score: Score) -> bool:
    """Return whether a value is of the type that each run writes; measures are numbers or null."""
    if name in MEASURES:
        low, high = range_of(name, score)
        if not _is_numeric(value, low - ROUNDING, high + ROUNDING):
            return False
    if name == "status":
        return value in STATUSES
    if name == "components":
        return isinstance(value, dict) and all(
            isinstance(it, dict) and all(isinstance(it.get(key, ""), str) for key in _PART)
            for it in value.values()
        )
    if name == "computed_on":
        return isinstance(value, list) and all(isinstance(it, dict) for it in value)
    return not isinstance(value, bool) and isinstance(value, _TYPES.get(name, object))


def units_of(host: PluginHost) -> dict[str, str]:
    """Return the unit or range of each measure that the core and the probes of a host declare."""
    probes = (component for _, component in host.components(Kind.PROBE))
    own = {name: unit for probe in probes for name, (unit, _) in probe.measures.items()}
    return {**own, **UNITS}


def range_of(name: str, score: Score, units: Mapping[str, str] = UNITS) -> tuple[float, float]:
    """Return the least and the largest value of a measure, as far as that is declared.

    Args:
        name: Of the measure, dotted. A declaration is for a name or for its beginning, without
            positions in lists.
        score: Of the runs.
        units: What is declared.
    """
    parts = [part for part in name.split(".") if not re.fullmatch(r"-?\d+", part)]
    if OF_SCORE & {*parts[:1]} and not score.is_share:
        return -inf, inf
    places = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return ends(next((units[each] for each in places if each in units), ""))


def ends(unit: str) -> tuple[float, float]:
    """Return the range in a unit: `0 to 1`, `from 0`, `nats, from 0`; all numbers if none is."""
    found = re.fullmatch(rf"(?:.*, )?(?:({_NUMBER}) to ({_NUMBER})|from ({_NUMBER}))", unit)
    if found is None:
        return -inf, inf
    return float(found[1] or found[3]), float(found[2] or inf)


def _is_numeric(value: Any, low: float, high: float) -> bool:
    inner = [*value.values()] if isinstance(value, Mapping) else value
    if isinstance(inner, list):
        return all(_is_numeric(each, low, high) for each in inner)
    return value is None or (
        type(value) in (int, float) and isfinite(value) and low <= value <= high
    )


def expect_own(settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Refuse a result that another run wrote than the one with these settings.

    Raises:
        UsageError: If the two differ in the seed, or in the part of the tasks that is scored.
    """
    for name in ("seed", "evaluate_on"):
        said, its = settings.get(name), result.get(name)
        if None not in (said, its) and said != its:
            raise UsageError(
                f"run.toml and result.json are not of one run: {name} is {shown(said)} and "
                f"{shown(its)}"
            )
