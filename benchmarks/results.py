"""The tables of a page of docs/results, in Markdown, from the runs of its study.

    python benchmarks/results.py NAME [PART ...] [--runs FOLDER [--keep]]
    python benchmarks/results.py --write

NAME is a study: `family` is docs/results/family/study.toml, and `vit/tuning` is
docs/results/vit/tuning.toml. Its results are kept beside it, one CELL-SEED.json per run; those of
another file than study.toml are in a folder that is called like it. With --runs they are read from
a folder that `bnn sweep` made; --keep copies them from there first.
--write writes all blocks `<!-- generated: ... -->` of the pages anew, from what is kept.
docs/results/README.md says how a study file describes its tables.
"""

import argparse
import shlex
import sys
from pathlib import Path

from generated import blocks, studies
from generated.rendering import tables

from bnnlab import PluginHost, UsageError
from bnnlab_studies.plan import make_plan


def main() -> None:
    """Print the tables of a study, and keep its results if asked to; or write all pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="the study, as family or vit/tuning; or summary")
    parser.add_argument("parts", nargs="*", metavar="PART", help="of it: a table's name, a group")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="that `bnn sweep` made")
    parser.add_argument("--keep", action="store_true", help="copy the results of its runs first")
    parser.add_argument("--write", action="store_true", help="write the blocks of all pages anew")
    arguments = parser.parse_args()
    if arguments.keep and not arguments.runs:
        parser.error("--keep copies from the folder of --runs")
    if arguments.write == bool(arguments.name):
        parser.error("name a study, or --write all pages")
    try:
        if arguments.write:
            print(*blocks.write(), sep="\n")
        else:
            print(*_lines(arguments), sep="\n", end="")
    except UsageError as error:
        sys.exit(str(error))


def _lines(arguments: argparse.Namespace) -> list[str]:
    if not arguments.runs:
        what = shlex.join(["results.py", arguments.name, *arguments.parts])
        return blocks.generator()(what)
    study, place = studies.study_of(arguments.name)
    made = make_plan(PluginHost(), arguments.runs)
    if arguments.keep:
        studies.keep(study, place, made)
    cells = studies.cells_of(made, made.place)
    return [*tables(studies.described_in(study), cells, arguments.parts)] or blocks.NOTHING


if __name__ == "__main__":
    main()
