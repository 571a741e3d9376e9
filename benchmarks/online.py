"""Steps per second when learning from one example at a time, 784-100-10.

    python benchmarks/online.py [--rounds 5] [--steps 300] [--threads 1]

All contestants in turn within every round; printed are medians (smallest to largest). If `jax` is
installed, BiMU as a compiled scan of JAX takes part (`bimu_jax.py`), and the ratio of each round to
it is printed.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from operator import truediv
from typing import Any

import torch

import bnnlab

BINARY: dict[str, Any] = {"activation": "reverse-binary-gate", "output_norm": True}
REAL: dict[str, Any] = {"weights": "real", "activation": "relu", "norm": "none"}
CONTESTANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adam": ({"name": "adam"}, BINARY),
    "bop": ({"name": "bop"}, BINARY),
    "bimu, 1 draw": ({"name": "bimu", "train_draws": 1, "batch_size": 1}, BINARY),
    "bimu, 5 draws": ({"name": "bimu", "train_draws": 5, "batch_size": 1}, BINARY),
    "mesu, 1 draw": ({"name": "mesu", "train_draws": 1, "batch_size": 1}, REAL),
    "mesu, 5 draws": ({"name": "mesu", "train_draws": 5, "batch_size": 1}, REAL),
}


def learner(optimizer: dict[str, Any], network: dict[str, Any]) -> Callable[[int], None]:
    """Return a function that learns from that many examples."""
    model = bnnlab.create(
        "model", "mlp", input_shape=(1, 28, 28), classes=10, hidden=[100], **network
    )
    rule = bnnlab.create("rule", "bp", model)
    options = {key: value for key, value in optimizer.items() if key != "name"}
    made = bnnlab.create("optimizer", optimizer["name"], model, **options)
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(1000, 1, 1, 28, 28, generator=draws)
    labels = torch.randint(0, 10, (1000, 1), generator=draws)

    def learn(count: int) -> None:
        for number in range(count):
            batch = images[number % 1000], labels[number % 1000]
            made.step(rule.closure(model, batch))

    return learn


def peers(steps: int) -> dict[str, Callable[[int], None]]:
    """Return the learners of JAX, compiled; none without it."""
    if importlib.util.find_spec("jax") is None:
        return {}
    import bimu_jax

    draws = torch.Generator().manual_seed(0)
    images = torch.randn(steps, 784, generator=draws).numpy()
    labels = torch.randint(0, 10, (steps,), generator=draws).numpy()
    found = {
        f"bimu, {said} in jax": bimu_jax.learner(count, images, labels)
        for said, count in (("1 draw", 1), ("5 draws", 5))
    }
    for learn in found.values():
        learn(steps)
    return found


def main() -> None:
    """Time all contestants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    learners = {name: learner(*given) for name, given in CONTESTANTS.items()}
    for learn in learners.values():
        learn(20)
    learners |= peers(arguments.steps)
    rates: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(arguments.rounds):
        for name, learn in learners.items():
            started = time.perf_counter()
            learn(arguments.steps)
            rates[name].append(arguments.steps / (time.perf_counter() - started))
    print(f"torch {torch.__version__}, {arguments.threads} threads\n")
    print("| optimizer | steps per second | / jax |")
    print("|---|---|---|")
    for name, found in rates.items():
        peer = rates.get(f"{name} in jax")
        ratio = f"{statistics.median(map(truediv, found, peer)):.2f}" if peer else ""
        said = f"{statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})"
        print(f"| {name} | {said} | {ratio} |")


if __name__ == "__main__":
    main()
