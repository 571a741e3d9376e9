"""Write the settings of a study that did best in its tuning into the study's file.

    python benchmarks/chosen.py NAME [NAME ...]

NAME is a folder of docs/results with a tuning.toml and a study.toml, whose cells are a line each.
A cell of the tuning is `METHOD: SETTINGS`. The study's cell METHOD gets the settings with the
best mean of what the first column of the tuning's table shows, over the kept results. As long as
some settings of a method have no result, its cell has the first ones, if it is there at all.
"""

import argparse
import re
import sys
from pathlib import Path
from statistics import fmean

from generated import studies

from bnnlab import UsageError

LINE = re.compile(r'^    \{ name = "([^"]+)", (.*)$', re.M)
"""A cell: its name, and the rest of its line."""


def trials(name: str) -> dict[str, dict[str, float | None]]:
    """Return the score of each cell of the tuning, by its method; None if there is no result."""
    (table, *_), cells = studies.kept(f"{name}/tuning")
    measure = next(column["measure"] for column in table["columns"] if "measure" in column)
    found: dict[str, dict[str, float | None]] = {}
    for cell, runs in cells.items():
        score = fmean(run[measure] for run in runs) if runs else None
        found.setdefault(cell.partition(":")[0], {})[cell] = score
    return found


def chosen(name: str) -> dict[str, str]:
    """Return the best cell of the tuning by its method, where all were tried."""
    found = trials(name).items()
    return {method: max(its, key=its.get) for method, its in found if None not in its.values()}


def rewritten(name: str) -> str:
    """Return the text of the study's file with the settings that are chosen."""
    tuning, study = (studies.file_of(f"{name}/{it}").read_text() for it in ("tuning", "study"))
    settings, known = dict(LINE.findall(tuning)), dict(LINE.findall(study))
    best = {method: next(iter(its)) for method, its in trials(name).items() if method in known}
    best |= chosen(name)
    lines = known | {method: settings[cell] for method, cell in best.items()}
    head, _, _ = study.partition("cell = [\n")
    cells = (f'    {{ name = "{cell}", {rest}\n' for cell, rest in lines.items())
    return f"{head}cell = [\n{''.join(cells)}]\n"


def main() -> None:
    """Write the files of the studies that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="the study, as fair")
    try:
        for name in parser.parse_args().names:
            place: Path = studies.file_of(name)
            place.write_text(rewritten(name), encoding="utf-8", newline="\n")
            print(place, *chosen(name).values(), sep="\n  ")
    except UsageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
