"""What the tables of results share: runs that are kept, and numbers that show their spread."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bnnlab


def result_of(name: str, out: Path, **arguments: Any) -> dict[str, Any]:
    """Return the result of one `bnnlab.run`, from its folder if it is complete there."""
    file = out / name / "result.json"
    if not file.exists():
        bnnlab.run(out=out, name=name, **arguments)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def show(values: Sequence[float | None], scale: float = 100, digits: int = 1) -> str:
    """Return the mean and the seeds' values, in per cent unless scaled otherwise."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    each = ", ".join(f"{scale * value:.{digits}f}" for value in known)
    return f"{scale * statistics.mean(known):.{digits}f} ({each})"
