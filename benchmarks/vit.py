"""Time and memory of a training step of binary vision transformers, against the real one.

    python benchmarks/vit.py [--side 32] [--patch 4] [--dim 64] [--batch 100] [--rounds 10]

Four blocks and four heads, backpropagation, Adam; on a GPU if there is one. All networks take turns
in every round. Printed: the median time of a step, the median over rounds of its ratio to `vit` in
the same round (smallest to largest), the time of its update alone, and the most memory that the
gradients of a batch take beside the parameters.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from step import race

import bnnlab
from bnnlab_testing.memory import peak_bytes

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit", {}),
    "hybrid": ("hybrid", {}),
    "bvit": ("bvit", {}),
    "bvit, attention=binary": ("bvit", {"attention": "binary"}),
}


def prepare(
    name: str, arguments: argparse.Namespace, device: torch.device
) -> tuple[Callable[[], None], Callable[[], None], float]:
    """Return a whole step, its update alone, and the MB that its gradients take."""
    shape = (3, arguments.side, arguments.side)
    network, options = NETWORKS[name]
    sizes = {"patch": arguments.patch, "dim": arguments.dim, **options}
    model = bnnlab.create("model", network, input_shape=shape, classes=10, **sizes).to(device)
    rule = bnnlab.create("rule", "bp", model)
    optimizer = bnnlab.create("optimizer", "adam", model)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(arguments.batch, *shape, generator=draws).to(device)
    y = (torch.arange(arguments.batch) % 10).to(device)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def gradients() -> None:
        rule.closure(model, (x, y))()
        wait()

    def step() -> None:
        optimizer.step(rule.closure(model, (x, y)))
        wait()

    def update() -> None:
        optimizer.step(lambda: found)
        wait()

    found = rule.closure(model, (x, y))()
    return step, update, peak_bytes(gradients, device) / 1e6


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("side", 32), ("patch", 4), ("dim", 64), ("batch", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"torch {torch.__version__}, {device}, {arguments.threads} threads, {vars(arguments)}\n")
    prepared = {name: prepare(name, arguments, device) for name in NETWORKS}
    work = {name: step for name, (step, _, _) in prepared.items()}
    work |= {f"{name}: update": update for name, (_, update, _) in prepared.items()}
    seconds = race(work, arguments.rounds)
    print("| network | ms | / vit | update, ms | MB | / vit |\n|---|---|---|---|---|---|")
    for name, (_, _, megabytes) in prepared.items():
        times, updates = seconds[name], seconds[f"{name}: update"]
        ratios = [mine / vit for mine, vit in zip(times, seconds["vit"], strict=True)]
        cells = [
            name,
            f"{1000 * statistics.median(times):.0f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{1000 * statistics.median(updates):.1f}",
            f"{megabytes:.0f}",
            f"{megabytes / prepared['vit'][2]:.2f}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
