"""Time and memory of the steps of optimizers that draw weights, and of meta, against the products.

    python benchmarks/posterior.py [OTHER_CHECKOUT] [--rounds 30] [--threads 1] [--compiled]

784-2048-2048-10, batch 100, rule bp. Each checkout has a process of its own; all contestants take
turns within every round. Printed for each: the median time of a step, and the median over rounds of
its ratio to the matrix products, per weight draw (smallest to largest); the floor of this ratio;
and the most bytes per weight that a step holds beside model and state, all draws together.

The floor is the time of what the equations need, each measured in the same run on a chunk in the
cache: the products, the bytes that must be read and written, random numbers, functions.

With --compiled, each optimizer of this checkout takes part a second time, with compiled loops of
bnnlab-kernels; they have another floor, which is not computed.
"""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from step import products

import bnnlab

SIZES = [784, 2048, 2048, 10]
BATCH = 100
WEIGHTS = sum(a * b for a, b in pairwise(SIZES))
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], int]] = {
    "bayesbinn": ("bayesbinn", {"examples": 60_000}, 1),
    "bimu, 1 draw": ("bimu", {"train_draws": 1}, 1),
    "bimu, 2 draws": ("bimu", {"train_draws": 2}, 2),
    "mesu, 1 draw": ("mesu", {"train_draws": 1}, 1),
    "mesu, 3 draws": ("mesu", {"train_draws": 3}, 3),
    "meta": ("meta", {}, 1),
}
COMPILED = " compiled"
"""Ends the name of a contestant that steps by compiled loops."""
# What one weight needs, per draw and per step: numbers of float32 that are read or written, random
# numbers, sigmoids, divisions and roots.
NEEDS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # lambda, w, p written, p and g read; lambda, sum read, lambda and sign written
    "bayesbinn": ((5, 1, 1, 1), (4, 0, 1, 1)),
    "bimu": ((4, 1, 1, 0), (4, 0, 1, 1)),
    "mesu": ((6, 1, 0, 0), (6, 0, 0, 0)),
    "meta": ((0, 0, 0, 0), (8, 0, 1, 2)),
}


class Step:
    """A step of an optimizer, again and again."""

    def __init__(self, name: str) -> None:
        optimizer, options, _ = OPTIMIZERS[name.removesuffix(COMPILED)]
        network = {"weights": "real"} if optimizer == "mesu" else {}
        self.model = bnnlab.create(
            "model", "mlp", input_shape=SIZES[:1], classes=SIZES[-1], hidden=SIZES[1:-1], **network
        )
        self.rule = bnnlab.create("rule", "bp", self.model)
        self.optimizer = bnnlab.create("optimizer", optimizer, self.model, **options)
        if name.endswith(COMPILED):
            from bnnlab_kernels.compiled import kernels_of

            self.optimizer.kernels = kernels_of(self.optimizer)
        draws = torch.Generator().manual_seed(0)
        x = torch.randn(BATCH, SIZES[0], generator=draws)
        self.batch = x, torch.randint(0, SIZES[-1], (BATCH,), generator=draws)

    def __call__(self) -> None:
        """Make a step."""
        self.optimizer.step(self.rule.closure(self.model, self.batch))


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes; with one thread, the processor's time, whatever else runs."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    call()
    return clock() - started


def serve(threads: int) -> None:
    """Time what is asked for by lines of standard input, in seconds; `bytes NAME` is memory."""
    from bnnlab_testing.memory import peak_bytes

    torch.set_num_threads(threads)
    steps: dict[str, Callable[[], object]] = {"products": products(SIZES)}
    for line in sys.stdin:
        what, _, name = line.strip().partition(" ")
        if name not in steps:
            steps[name] = Step(name)
        # A copy has no memory of earlier steps that is used again.
        call = steps[name] if what == "time" else copy.deepcopy(steps[name])
        answer = seconds(call) if what == "time" else peak_bytes(call)
        print(answer, flush=True)


class Checkout:
    """A process that makes steps with the code of a checkout."""

    def __init__(self, folder: Path, threads: int) -> None:
        sources = [folder / "core", *sorted(folder.glob("plugins/*/src"))]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", "--threads", str(threads)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, name: str) -> float:
        """Return the answer of `serve`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {name}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def unit_costs() -> tuple[float, ...]:
    """Return seconds per number that is moved, drawn, put through a sigmoid, and divided."""
    large, small = torch.zeros(WEIGHTS), torch.rand(1 << 17)
    bits, out = torch.zeros(1 << 15, dtype=torch.int64), torch.empty(1 << 17)
    draws = torch.Generator().manual_seed(0)
    calls: tuple[tuple[Callable[[], object], int], ...] = (
        (lambda: large.add_(1), 2 * WEIGHTS),
        (lambda: bits.random_(generator=draws), 1 << 17),
        (lambda: torch.sigmoid(small, out=out), 1 << 17),
        (lambda: torch.div(small, small, out=out), 1 << 17),
    )
    return tuple(min(seconds(call) for _ in range(20)) / count for call, count in calls)


def floor(name: str, base: float) -> float:
    """Return the least ratio to the products, per draw; `base` is the products' time."""
    optimizer, _, draws = OPTIMIZERS[name]
    each, once = NEEDS[optimizer]
    needed = [draws * a + b for a, b in zip(each, once, strict=True)]
    extra = WEIGHTS * sum(n * cost for n, cost in zip(needed, unit_costs(), strict=True))
    return 1 + extra / draws / base


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.threads)
        return
    torch.set_num_threads(given.threads)
    here = Path(__file__).resolve().parents[1]
    folders = {"now": here, **({"before": given.other.resolve()} if given.other else {})}
    checkouts = {when: Checkout(folder, given.threads) for when, folder in folders.items()}
    contestants = [(name, when) for name in OPTIMIZERS for when in checkouts]
    contestants += [(name + COMPILED, "now") for name in OPTIMIZERS if given.compiled]
    times: dict[tuple[str, str], list[float]] = {}
    base: list[float] = []
    for round_ in range(given.rounds + 3):
        asked = checkouts["now"].ask("time", "products")
        found = {(name, when): checkouts[when].ask("time", name) for name, when in contestants}
        if round_ >= 3:  # the first touch fresh memory
            base.append(asked)
            for key, taken in found.items():
                times.setdefault(key, []).append(taken)
    smallest = min(base)
    print(f"torch {torch.__version__}, {given.threads} threads, {given.rounds} rounds")
    print(f"matrix products: {1e3 * statistics.median(base):.1f} ms\n")
    print("| optimizer | code | ms | / products, per draw | floor | bytes per weight |")
    print("|---|---|---|---|---|---|")
    for (name, when), taken in times.items():
        draws = OPTIMIZERS[name.removesuffix(COMPILED)][2]
        ratios = [t / draws / b for t, b in zip(taken, base, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        held = checkouts[when].ask("bytes", name) / WEIGHTS
        least = "" if name.endswith(COMPILED) else f"{floor(name, smallest):.2f}"
        row = f"{1e3 * statistics.median(taken):.1f} | {spread} | {least}"
        print(f"| {name} | {when} | {row} | {held:.1f} |")
    for checkout in checkouts.values():
        checkout.process.communicate()


if __name__ == "__main__":
    main()
