"""Peak memory and time of writing a checkpoint, beside the state that is written.

    python benchmarks/checkpoint.py [OTHER_CHECKOUT] [--megabytes 400] [--rounds 5]

Each round is a new process with the code of a checkout, in this Python. The state is a hundred
float32 tensors of equal size. Printed: by how much the process's largest memory grows while it
writes, and how long that takes.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

CODE = """
import resource, sys, tempfile, time
from pathlib import Path
import torch
from bnnlab.storage import checkpoint

state = {name: kind() for name, kind in checkpoint.KEYS.items()}
state["model"] = {str(n): torch.randn(int(sys.argv[1]) * 2500) for n in range(100)}
most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # MB, on Linux
with tempfile.TemporaryDirectory() as folder:
    before, begun = most(), time.perf_counter()
    checkpoint.save(Path(folder), state)
    print(most() - before, time.perf_counter() - begun)
"""


def main() -> None:
    """Print a line for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = {"here": here, **({"other": given.other.resolve()} if given.other else {})}
    found = {who: list[tuple[float, ...]]() for who in checkouts}
    for _ in range(given.rounds):
        for who, checkout in checkouts.items():
            variables = {**os.environ, "PYTHONPATH": str(checkout / "core")}
            call = [sys.executable, "-c", CODE, str(given.megabytes)]
            said = subprocess.run(call, env=variables, check=True, capture_output=True, text=True)
            found[who].append(tuple(map(float, said.stdout.split())))
    for who, each in found.items():
        memory, seconds = zip(*each, strict=True)
        print(
            f"{who:5}  {statistics.median(memory):4.0f} MB ({min(memory):.0f} to {max(memory):.0f})"
            f"   {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
        )


if __name__ == "__main__":
    main()
