"""Steps of eight seeds per second: made together, and each alone in one process or in several.

    python benchmarks/together.py [--rounds 5] [--seconds 3] [--device cpu] [--cores 2]

All contestants in turn within every round; printed are medians (smallest to largest) of the steps
of single seeds per second, and of the ratio of the best together to the best alone. One process has
all cores; in a process per core each has one thread, and together eight seeds of its own. A step is
forward and backward pass and update; no data are loaded.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

import bnnlab
from bnnlab.families.stack import Stack
from bnnlab.interfaces.batch import Batch, TaskLoss

SEEDS = 8
NETWORKS = (((512, 512), 100), ((100,), 100), ((100,), 10), ((100,), 1))
METHODS = (("bp", "adam"), ("bp", "meta"), ("bp", "bimu"), ("dfa", "adam"))

Case = tuple[Sequence[int], int, str, str, str]
"""Hidden units, batch size, rule, optimizer, device."""


def learner(seed: int, case: Case) -> tuple[Any, Any, Any, list[Batch]]:
    """Return a model, its rule and optimizer, and batches."""
    hidden, size, rule, optimizer, device = case
    model = bnnlab.create(
        "model", "mlp", input_shape=(784,), classes=10, hidden=list(hidden), seed=seed
    )
    model = model.to(device).train()
    made = bnnlab.create("rule", rule, model, seed=seed)
    draws = torch.Generator().manual_seed(seed)
    images = torch.randn(5, size, 784, generator=draws).to(device)
    labels = torch.randint(0, 10, (5, size), generator=draws).to(device)
    batches = [Batch(*each, TaskLoss()) for each in zip(images, labels, strict=True)]
    return model, made, bnnlab.create("optimizer", optimizer, model, seed=seed), batches


def alone(case: Case) -> Callable[[int], int]:
    """Return a function that makes a step of one seed; it returns 1."""
    model, rule, optimizer, batches = learner(0, case)

    def step(number: int) -> int:
        optimizer.step(rule.closure(model, batches[number % 5]))
        return 1

    return step


def together(case: Case) -> Callable[[int], int]:
    """Return a function that makes a step of all seeds; it returns how many that are."""
    learners = [learner(seed, case) for seed in range(SEEDS)]
    stack = Stack(*zip(*(its[:3] for its in learners), strict=True))

    def step(number: int) -> int:
        stack.step([rule.closure(m, batches[number % 5]) for m, rule, _, batches in learners])
        return SEEDS

    return step


def rate(make: Callable[[Case], Callable[[int], int]], case: Case, seconds: float) -> float:
    """Return steps of single seeds per second."""
    step, wait = make(case), torch.cuda.synchronize if case[-1] == "cuda" else lambda: None
    for number in range(3):
        step(number)
    wait()
    count, number, began = 0, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += step(number)
        number += 1
    wait()
    return count / (time.perf_counter() - began)


def serve(threads: int, tasks: Any, ready: Any, answers: Any) -> None:
    """Measure what is asked for, at the same time as the other processes of its kind."""
    torch.set_num_threads(threads)
    for make, case, seconds in iter(tasks.get, None):
        ready.wait()
        answers.put(rate(make, case, seconds))


class Processes:
    """Processes that measure together, each with some threads."""

    def __init__(self, count: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.count, self.tasks, self.answers = count, context.Queue(), context.Queue()
        self.ready = context.Barrier(count)
        given = threads, self.tasks, self.ready, self.answers
        for _ in range(count):
            context.Process(target=serve, args=given, daemon=True).start()

    def rate(self, *asked: Any) -> float:
        """Return the steps of all of them per second."""
        for _ in range(self.count):
            self.tasks.put(asked)
        return sum(self.answers.get() for _ in range(self.count))


def shown(values: Sequence[float], digits: int = 0) -> str:
    """Return a median, with the range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def main() -> None:
    """Time all contestants in all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cores", type=int, default=2)
    said = parser.parse_args()
    single, many = Processes(1, said.cores), Processes(said.cores, 1)
    ways = {
        "together, one process": (single, together),
        "together, a process per core": (many, together),
        "alone, one process": (single, alone),
        "alone, a process per core": (many, alone),
    }
    print("| network, batch | method |", " | ".join(ways), "| ratio |")
    print("|---" * (len(ways) + 3) + "|")
    for (hidden, size), (rule, optimizer) in [(n, m) for n in NETWORKS for m in METHODS]:
        case = hidden, size, rule, optimizer, said.device
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(said.rounds):
            for name, (processes, make) in ways.items():
                rates[name].append(processes.rate(make, case, said.seconds))
        ratios = [max(a, b) / max(c, d) for a, b, c, d in zip(*rates.values(), strict=True)]
        layers = "-".join(map(str, (784, *hidden, 10)))
        cells = " | ".join(shown(each) for each in rates.values())
        method = f"{rule} + {optimizer}"
        print(f"| {layers}, {size} | {method} | {cells} | {shown(ratios, 2)} |", flush=True)


if __name__ == "__main__":
    main()
