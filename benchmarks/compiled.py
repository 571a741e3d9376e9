"""Time of a training step with the settings `compile` and `precision`, against neither.

    python benchmarks/compiled.py [--rule bp] [--network mlp] [--rounds 10] [--threads 1]

A perceptron or a convolutional network, binary weights and sign activations, on a GPU if there is
one; all contestants in turn within every round. Printed: the median time of each, the median over
rounds of its ratio to the plain step of the same round (smallest to largest), and the seconds of
the first step, in which segments are compiled.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from step import race

import bnnlab

NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mlp": ((784,), {"hidden": [512, 512]}),
    "vgg-binaryconnect": ((3, 32, 32), {"width": 0.25, "activations": "binary"}),
}
SETTINGS = {
    "plain": (False, None),
    "compile": (True, None),
    "bfloat16": (False, torch.bfloat16),
    "both": (True, torch.bfloat16),
}


def step_of(
    network: str, rule: str, compiled: bool, precision: torch.dtype | None, device: torch.device
) -> Callable[[], None]:
    """Return a step of Adam."""
    shape, options = NETWORKS[network]
    model = bnnlab.create("model", network, input_shape=shape, classes=10, **options).to(device)
    learning = bnnlab.create("rule", rule, model).to(device)
    learning.precision = precision
    if compiled:
        for segment in model.segments:
            segment.compile()
    updating = bnnlab.create("optimizer", "adam", model, lr=0.001)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(128, *shape, generator=draws).to(device)
    y = (torch.arange(128) % 10).to(device)

    def step() -> None:
        updating.step(learning.closure(model, (x, y)))
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rule", default="bp")
    parser.add_argument("--network", choices=NETWORKS, default="mlp")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch._dynamo.config.cache_size_limit = 200  # as `compile` sets it, by the segments
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"torch {torch.__version__}, {device}, {arguments.threads} threads, {arguments.rule}\n")
    steps = {
        name: step_of(arguments.network, arguments.rule, *setting, device)
        for name, setting in SETTINGS.items()
    }
    first = {}
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        first[name] = time.perf_counter() - started
    seconds = race(steps, arguments.rounds)
    print("| settings | ms | / plain | first step, s |\n|---|---|---|---|")
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds["plain"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {1000 * statistics.median(times):.1f} | {spread} | {first[name]:.1f} |")


if __name__ == "__main__":
    main()
