"""Training with one and with two threads, whose OpenMP spins or sleeps, alone and beside another.

    python benchmarks/threads.py [--rounds 5] [--epochs 3] [--hidden 100] [--spins 1000 5000 20000]

The run is that of `bnn run` alone (permuted digits), with the hidden units that are said. The other
process trains the same, in the same way. `as built`: OpenMP waits as its library is built to, which
is to spin for a while and then to sleep. `PASSIVE`: it sleeps at once. `spin N`: it spins N times
and then sleeps. All take turns within every round. Printed after each round: the median time of
training in seconds (smallest to largest), and the median over rounds of its ratios to the same with
one thread, and to the same as built.
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from itertools import product

THREADS = (1, 2)
TRAIN = """
import sys, bnnlab
threads, epochs, rounds, hidden = map(int, sys.argv[1:])
model = {"name": "mlp", "hidden": [hidden]}
for _ in range(rounds):
    result = bnnlab.run(model=model, threads=threads, epochs=epochs, device="cpu")
    print(result.seconds, flush=True)
"""


def chosen(waiting: str) -> dict[str, str]:
    """Return the environment in which OpenMP waits in a way."""
    if waiting == "as built":
        return {}
    spins = {"GOMP_SPINCOUNT": waiting.split()[1]} if waiting.startswith("spin ") else {}
    return {"OMP_WAIT_POLICY": "PASSIVE"} | spins


def train(stack: ExitStack, case: tuple, epochs: int, rounds: int) -> subprocess.Popen:
    """Start a process that trains again and again, and prints the seconds of each training."""
    threads, waiting, hidden = case
    own = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {k: v for k, v in os.environ.items() if k not in own} | chosen(waiting)
    words = [sys.executable, "-c", TRAIN, *map(str, (threads, epochs, rounds, hidden))]
    process = stack.enter_context(
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    )
    stack.callback(process.kill)
    return process


def seconds(case: tuple, beside: bool, epochs: int) -> float:
    """Return the time of a training, the second of its process, alone or beside another's."""
    with ExitStack() as stack:
        if beside:
            other = train(stack, case, epochs=1, rounds=100_000)
            other.stdout.readline()  # it is in its second training
        process = train(stack, case, epochs, rounds=2)
        process.stdout.readline()
        return float(process.stdout.readline())


def said(times: list[float]) -> str:
    """Return the median of some numbers, and their range."""
    return f"{statistics.median(times):6.2f} ({min(times):.2f} to {max(times):.2f})"


def show(times: dict[tuple, list[float]]) -> None:
    """Print a line for each case."""
    print(f"\n{'':28} {'seconds':24} {'/ one thread':24} / as built")
    for (beside, threads, waiting), own in times.items():
        ratios = [
            said([a / b for a, b in zip(own, times[base], strict=True)])
            for base in ((beside, 1, waiting), (beside, threads, "as built"))
        ]
        where = "beside another" if beside else "alone"
        columns = "".join(f" {each:24}" for each in (said(own), *ratios))
        print(f"{where:14} {threads} {waiting:11}{columns}", flush=True)


def main() -> None:
    """Time all cases in turn, as often as is said."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--spins", type=int, nargs="+", default=[1000, 5000, 20000])
    given = parser.parse_args()
    waiting = ["as built", "PASSIVE", *(f"spin {each}" for each in given.spins)]
    times: dict[tuple, list[float]] = {c: [] for c in product((False, True), THREADS, waiting)}
    for _ in range(given.rounds):
        for (beside, threads, way), taken in times.items():
            taken.append(seconds((threads, way, given.hidden), beside, given.epochs))
        show(times)


if __name__ == "__main__":
    main()
