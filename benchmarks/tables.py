"""What the tables of results share: results that are kept, and numbers that show their spread."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bnnlab


def result_of(name: str, folder: Path, /, **arguments: Any) -> dict[str, Any]:
    """Return the result of one `bnnlab.run`, from its file in the folder if it is there."""
    file = folder / f"{name}.json"
    if not file.exists():
        result = bnnlab.run(**arguments).as_dict()
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1) + "\n")
        partial.replace(file)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def show(values: Sequence[float | None], scale: float = 100, digits: int = 1) -> str:
    """Return the mean and the seeds' values, in per cent unless scaled otherwise."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    each = ", ".join(f"{scale * value:.{digits}f}" for value in known)
    return f"{scale * statistics.mean(known):.{digits}f} ({each})"
