"""Rows of runs as text."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a head, in full precision; lists are JSON, and None is empty."""
    text = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    table = csv.DictWriter(text, [*columns], lineterminator="\n")
    table.writeheader()
    for row in rows:
        lists = {name: json.dumps(it) for name, it in row.items() if isinstance(it, list)}
        table.writerow({**row, **lists})
    return text.getvalue()
