"""Tests that a processor may decide, under the instruction sets and threads that it can imitate.

    python benchmarks/processors.py [pytest arguments]

In each cell pytest runs what is marked `rounding`, and not `slow` unless `-m` says otherwise: with
torch's own kernels, oneDNN's and the number of threads as the cell says. Printed: a row per cell,
and the tests that failed in it. A level that the processor has not got is left out.
"""

import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import torch

TORCH = ("default", "avx2", "avx512")
ONEDNN = ("SSE41", "AVX2", None)
THREADS = (1, 2)
ROOT = Path(__file__).parents[1]


def here() -> tuple[str, ...]:
    """Return torch's levels that this processor has."""
    best = torch.backends.cpu.get_cpu_capability().lower()
    return TORCH[: TORCH.index(best) + 1] if best in TORCH else TORCH[:1]


def run(torch_level: str, onednn: str | None, threads: int, words: list[str]) -> tuple[str, str]:
    """Run the tests in a cell; return pytest's last line, and those that name a failure."""
    cell = {
        "ATEN_CPU_CAPABILITY": torch_level,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "OMP_NUM_THREADS": str(threads),
    }
    others = {name: value for name, value in os.environ.items() if name not in cell}
    given = {name: value for name, value in cell.items() if value is not None}
    chosen = [] if "-m" in words else ["-m", "rounding and not slow"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfE", "--no-header", *chosen, *words],
        cwd=ROOT,
        env={"OMP_WAIT_POLICY": "passive", **others, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines() or done.stderr.splitlines() or ["pytest said nothing"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return lines[-1], "\n".join(failed)


def main() -> int:
    """Run every cell and print the table; 1 if a test failed anywhere."""
    words, broken = sys.argv[1:], False
    print("| torch | oneDNN | threads | tests | s |\n|---|---|---|---|---|")
    for torch_level, onednn, threads in product(here(), ONEDNN, THREADS):
        start = time.monotonic()
        said, failed = run(torch_level, onednn, threads, words)
        seconds = time.monotonic() - start
        cell = f"{torch_level} | {onednn or 'unset'} | {threads}"
        print(f"| {cell} | {said.partition(' in ')[0]} | {seconds:.0f} |", flush=True)
        if failed:
            print(failed, flush=True)
        broken = broken or bool(failed) or " passed" not in said
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
