"""Keep the results of claims, and write what they say into each plugin's measured.toml.

    python benchmarks/claims.py [--runs FOLDER --keep]

FOLDER is RUNS/claims, which `bnn reproduce` and benchmarks/run_queue.py fill. --keep copies its
complete runs to docs/results/claims. A run with other settings than its card is refused, and so
are runs of several protocols for one card.
"""

import argparse
import sys
from pathlib import Path

from generated.measured import keep, measured_files

from bnnlab import PluginHost, UsageError
from bnnlab.storage.files import write_atomically


def main() -> None:
    """Keep results, if asked to, and write all measured.toml anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="RUNS/claims")
    parser.add_argument("--keep", action="store_true", help="copy the results of its complete runs")
    arguments = parser.parse_args()
    if arguments.keep != bool(arguments.runs):
        parser.error("--keep copies from the folder of --runs: give both, or none")
    host = PluginHost()
    try:
        if arguments.keep:
            print(*keep(host, arguments.runs), sep="\n")
        for file, text in measured_files(host).items():
            if text:
                write_atomically(file, text.encode())
            else:
                file.unlink(missing_ok=True)
    except UsageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
