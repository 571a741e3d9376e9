"""Write the settings of a study that did best in its tuning into the study's file.

    python benchmarks/chosen.py NAME [NAME ...]

NAME is a folder of docs/results with a tuning.toml and a study.toml, whose cells are a line each. A cell of the tuning is
called `METHOD: SETTINGS`. The line of the study's cell METHOD gets the settings with the best mean of what the first column
of the tuning's table shows, over the kept results; the first settings, as long as some of the method's have no result.
"""

import argparse
import re
import sys
from pathlib import Path
from statistics import fmean

from bnnlab import UsageError
from generated import studies

LINE = re.compile(r'^    \{ name = "([^"]+)", (.*)$', re.M)
"""A cell: its name, and the rest of its line."""


def chosen(name: str) -> dict[str, str]:
    """Return the cell of the tuning that each method has in the study."""
    (table,), cells = studies.kept(f"{name}/tuning")
    measure = next(column["measure"] for column in table["columns"] if "measure" in column)
    trials: dict[str, list[str]] = {}
    for cell in cells:
        trials.setdefault(cell.partition(":")[0], []).append(cell)

    def score(cell: str) -> float:
        return fmean(run[measure] for run in cells[cell])

    return {
        method: max(tried, key=score) if all(map(cells.get, tried)) else tried[0]
        for method, tried in trials.items()
    }


def rewritten(name: str) -> str:
    """Return the text of the study's file with the settings that are chosen."""
    tuning, study = (studies.file_of(f"{name}/{it}").read_text() for it in ("tuning", "study"))
    settings, best = dict(LINE.findall(tuning)), chosen(name)

    def line(found: re.Match[str]) -> str:
        cell, given = found.groups()
        return f'    {{ name = "{cell}", {settings[best[cell]] if cell in best else given}'

    return LINE.sub(line, study)


def main() -> None:
    """Write the files of the studies that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="the study, as fair")
    try:
        for name in parser.parse_args().names:
            place: Path = studies.file_of(name)
            place.write_text(rewritten(name), encoding="utf-8", newline="\n")
            print(place, *sorted(chosen(name).values()), sep="\n  ")
    except UsageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
