"""Time of an optimizer's step against the memory traffic that it cannot avoid.

    python benchmarks/update.py [--rounds 15] [--threads 1] [--weights 10000000]

The gradient is given, so that only the update is timed. A step must read and write certain tensors
once each; it is compared with a `copy_` that moves as many bytes, both in turn in every round.
Printed: medians, and the median over rounds of the ratio (smallest to largest).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import bnnlab
from bnnlab import BinaryLinear, Model

# Tensors of the weights' size that one step must read, and those that it must write.
OPTIMIZERS: dict[str, tuple[dict[str, Any], int, int]] = {
    "bayesbinn": ({"mode": "sign"}, 2, 2),  # g, lambda; lambda, w
    "meta": ({}, 4, 4),  # g, W, M, V; W, M, V, w
    "adam": ({}, 4, 4),
    "bop": ({}, 3, 2),  # g, m, w; m, w
}


def step_of(name: str, options: dict[str, Any], model: Model) -> Callable[[], None]:
    """Return a step with a given gradient."""
    optimizer = bnnlab.create("optimizer", name, model, **options)
    (weight,) = model.parameters()
    grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))

    def closure() -> Tensor:
        weight.grad = grad
        return torch.zeros(())

    return lambda: optimizer.step(closure)


def timed(call: Callable[[], None]) -> float:
    """Return milliseconds."""
    started = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - started)


def main() -> None:
    """Time every optimizer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=int, default=10_000_000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = 1000
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.weights} weights\n")
    print("| step | ms | copy of the same bytes, ms | ratio |")
    print("|---|---|---|---|")
    for name, (options, reads, writes) in OPTIMIZERS.items():
        draws = torch.Generator().manual_seed(0)
        model = Model([BinaryLinear(arguments.weights // rows, rows, generator=draws)])
        step = step_of(name, options, model)
        source = torch.ones((reads + writes) * arguments.weights // 2)
        target = torch.zeros_like(source)
        steps, copies = [], []
        for number in range(arguments.rounds + 2):
            pair = timed(step), timed(lambda t=target, s=source: t.copy_(s))
            if number >= 2:  # the first rounds touch fresh memory
                steps.append(pair[0])
                copies.append(pair[1])
        ratios = [a / b for a, b in zip(steps, copies, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        both = f"{statistics.median(steps):.1f} | {statistics.median(copies):.1f}"
        label = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
        print(f"| {label} | {both} | {spread} |")


if __name__ == "__main__":
    main()
