"""Time of evaluating a batch at several weight draws: in one pass, mapped, one after another.

    python benchmarks/draws.py [--rounds 20] [--threads 1]

The same gradients to rounding, by three ways: a leading draw dimension, `torch.func.vmap`, and the
loop. All in turn within every round; printed are medians, and the median over rounds of the ratio
to the loop (smallest to largest).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import bnnlab
from bnnlab.families import draws
from bnnlab.interfaces.rule import Batch, evaluate_draws

DRAWS = 5
CASES = {"784-100-10, batch 1": (100, 1), "784-512-10, batch 128": (512, 128)}


def ways(hidden: int, size: int) -> dict[str, Callable[[], object]]:
    """Return the three ways to evaluate one batch at the same draws."""
    model = bnnlab.create("model", "mlp", input_shape=(784,), classes=10, hidden=[hidden])
    rule = bnnlab.create("rule", "bp", model)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 784, generator=generator)
    y = torch.randint(0, 10, (size,), generator=generator)
    drawn = {p: torch.randn(DRAWS, *p.shape, generator=generator) for p in model.parameters()}
    named = {name: drawn[p] for name, p in model.named_parameters()}
    batch = Batch(x, y)
    closure = rule.closure(model, batch)
    return {
        "leading dimension": lambda: draws._lead(model, batch, named),
        "vmap": lambda: draws._map(model, batch, named),
        "loop": lambda: evaluate_draws(closure._evaluate, drawn, model.parameters()),
    }


def main() -> None:
    """Time both cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {DRAWS} draws")
    for case, sizes in CASES.items():
        contestants = ways(*sizes)
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(arguments.rounds + 2):
            for name, call in contestants.items():
                started = time.perf_counter()
                call()
                if number >= 2:  # the first rounds touch fresh memory
                    times[name].append(1e3 * (time.perf_counter() - started))
        print(f"\n| {case} | ms | / loop |\n|---|---|---|")
        for name, found in times.items():
            ratios = [a / b for a, b in zip(found, times["loop"], strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {name} | {statistics.median(found):.2f} | {spread} |")


if __name__ == "__main__":
    main()
