"""Training with one and with two threads, whose OpenMP spins or sleeps, alone and beside another.

    python benchmarks/threads.py [--rounds 5] [--epochs 3]

The run is that of `bnn run` alone (permuted digits), and the other process trains the same, in the
same way. `as built`: OpenMP waits as its library is built to, which is to spin for a while and then
to sleep. `PASSIVE`: it sleeps at once, as in `bnn`. All take turns within every round. Printed: the
median time of training in seconds (smallest to largest), and the median over rounds of its ratios
to the same with one thread, and to the same as built.
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from itertools import product

THREADS = (1, 2)
WAITING = ("as built", "PASSIVE")
TRAIN = """
import sys, bnnlab
threads, epochs, rounds = map(int, sys.argv[1:])
for _ in range(rounds):
    print(bnnlab.run(threads=threads, epochs=epochs, device="cpu").seconds, flush=True)
"""


def train(stack: ExitStack, case: tuple[int, str], epochs: int, rounds: int) -> subprocess.Popen:
    """Start a process that trains again and again, and prints the seconds of each training."""
    threads, waiting = case
    chosen = {} if waiting == "as built" else {"OMP_WAIT_POLICY": waiting}
    own = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {k: v for k, v in os.environ.items() if k not in own} | chosen
    words = [sys.executable, "-c", TRAIN, *map(str, (threads, epochs, rounds))]
    process = stack.enter_context(
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    )
    stack.callback(process.kill)
    return process


def seconds(case: tuple[int, str], beside: bool, epochs: int) -> float:
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


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    cases = [*product((False, True), THREADS, WAITING)]
    times: dict[tuple, list[float]] = {case: [] for case in cases}
    for _ in range(given.rounds):
        for beside, threads, waiting in cases:
            taken = seconds((threads, waiting), beside, given.epochs)
            times[beside, threads, waiting].append(taken)
    print(f"{'':28} {'seconds':24} {'/ one thread':24} / as built")
    for beside, threads, waiting in cases:
        own = times[beside, threads, waiting]
        ratios = [
            said([a / b for a, b in zip(own, times[base], strict=True)])
            for base in ((beside, 1, waiting), (beside, threads, "as built"))
        ]
        where = "beside another" if beside else "alone"
        columns = "".join(f" {each:24}" for each in (said(own), *ratios))
        print(f"{where:14} {threads} {waiting:11}{columns}")


if __name__ == "__main__":
    main()
