"""What a sweep costs beside its runs: the time of `bnn sweep` against that of its runs, each alone.

    python benchmarks/overhead.py [--runs 24] [--epochs 10] [--jobs 2]

Runs of the demo's kind, with one thread each: first each alone, one after another in one process,
then all by `bnn sweep --jobs N`. Printed: both times, and the ratio of the second to an N-th of the
first. The sweep's time begins with the start of the command and ends with its table.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tomli_w

import bnnlab

SETTINGS = {"rule": "dfa", "optimizer": "meta", "threads": 1, "device": "cpu"}
STREAM = {"name": "permuted-digits", "tasks": 5}


def alone(runs: int, epochs: int) -> list[float]:
    """Return the seconds of each run, from its settings to its result."""
    taken = []
    for seed in range(runs):
        with tempfile.TemporaryDirectory() as out:
            started = time.perf_counter()
            bnnlab.run({**SETTINGS, "stream": STREAM}, epochs=epochs, seed=seed, out=out)
            taken.append(time.perf_counter() - started)
    return taken


def together(runs: int, epochs: int, jobs: int) -> float:
    """Return the seconds of a sweep over the same runs."""
    with tempfile.TemporaryDirectory() as folder:
        study = {**SETTINGS, "stream": STREAM, "epochs": epochs, "sweep": {"seeds": runs}}
        file = Path(folder) / "study.toml"
        file.write_text(tomli_w.dumps(study))
        words = ["sweep", str(file), "--jobs", str(jobs), "--out", folder, "--quiet"]
        started = time.perf_counter()
        command = [sys.executable, "-m", "bnnlab.cli", *words, "--name", "all"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken = time.perf_counter() - started
        assert len([*Path(folder).glob("all/*/*/result.json")]) == runs
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("runs", 24), ("epochs", 10), ("jobs", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    alone(1, 1)  # imports
    each = alone(given.runs, given.epochs)
    swept = together(given.runs, given.epochs, given.jobs)
    print(
        f"{given.runs} runs alone: {sum(each):.1f} s, each {statistics.median(each):.2f} "
        f"({min(each):.2f} to {max(each):.2f})"
    )
    ratio = given.jobs * swept / sum(each)
    print(f"bnn sweep --jobs {given.jobs}: {swept:.1f} s, {ratio:.2f} x a share of the time alone")


if __name__ == "__main__":
    main()
