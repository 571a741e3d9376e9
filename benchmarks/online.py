"""Steps per second when learning from one example at a time, 784-100-10.

    python benchmarks/online.py [--rounds 5] [--steps 1000] [--threads 1]

All contestants in turn within every round; printed are medians (smallest to largest). Compiled are
the steps of a run with `kernels = compiled` (bnnlab-kernels), from its second block of 50 steps to
its last. If `jax` is installed, BiMU as a compiled scan of JAX takes part (`bimu_jax.py`), and the
ratio of each round to it is printed.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from operator import truediv
from typing import Any

import torch

import bnnlab
from bnnlab.engine.progress import Progress
from bnnlab.engine.training import Trainer
from bnnlab.interfaces.evaluations import Evaluations
from bnnlab.interfaces.policy import USUAL
from bnnlab.interfaces.probe import Control, Run
from bnnlab_kernels.compiled import kernels_of

BINARY: dict[str, Any] = {"activation": "reverse-binary-gate", "output_norm": True}
REAL: dict[str, Any] = {"weights": "real", "activation": "relu", "norm": "none"}
CONTESTANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adam": ({"name": "adam"}, BINARY),
    "bop": ({"name": "bop"}, BINARY),
    "meta": ({"name": "meta"}, BINARY),
    "bimu, 1 draw": ({"name": "bimu", "train_draws": 1, "batch_size": 1}, BINARY),
    "bimu, 5 draws": ({"name": "bimu", "train_draws": 5, "batch_size": 1}, BINARY),
    "mesu, 1 draw": ({"name": "mesu", "train_draws": 1, "batch_size": 1}, REAL),
    "mesu, 5 draws": ({"name": "mesu", "train_draws": 5, "batch_size": 1}, REAL),
}
Learn = Callable[[int], float]
"""Learns from that many examples; returns the steps per second."""


def parts(optimizer: dict[str, Any], network: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return model, rule and optimizer."""
    model = bnnlab.create(
        "model", "mlp", input_shape=(1, 28, 28), classes=10, hidden=[100], **network
    )
    rule = bnnlab.create("rule", "bp", model)
    options = {key: value for key, value in optimizer.items() if key != "name"}
    return model, rule, bnnlab.create("optimizer", optimizer["name"], model, **options)


def examples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and classes."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 28, 28, generator=draws)
    return images, torch.randint(0, 10, (count,), generator=draws)


def by_hand(model: Any, rule: Any, optimizer: Any) -> Learn:
    """Return what makes one step after another in a loop."""
    images, labels = examples(1000)

    def learn(count: int) -> float:
        started = time.perf_counter()
        for number in range(count):
            at = slice(number % 1000, number % 1000 + 1)
            optimizer.step(rule.closure(model, (images[at], labels[at])))
        return count / (time.perf_counter() - started)

    return learn


def compiled(model: Any, rule: Any, optimizer: Any) -> Learn:
    """Return what makes the steps of a run with compiled kernels."""
    optimizer.kernels = kernels_of(optimizer)
    stream = bnnlab.stream_from(examples(20_000), test=examples(100), normalise="none")
    policy = replace(USUAL, evaluations=Evaluations.of("final", 1, forward=False))

    def learn(count: int) -> float:
        times: list[float] = []
        made, steps = (model, rule, optimizer), replace(policy, steps=count + 50)
        run = Run(*made, [*stream], False, None, 1, 1, 0, lambda: made, policy=steps)
        control = Control(stepped=lambda *_: times.append(time.perf_counter()))
        Trainer(run, Progress(), control).run()
        return count / (times[-1] - times[0])

    return learn


def peers(steps: int) -> dict[str, Learn]:
    """Return the learners of JAX, compiled; none without it."""
    if importlib.util.find_spec("jax") is None:
        return {}
    import bimu_jax

    images, labels = (each.numpy() for each in examples(steps))
    found = {}
    for said, draws in (("1 draw", 1), ("5 draws", 5)):
        made = bimu_jax.learner(draws, images.reshape(steps, -1), labels)
        found[f"bimu, {said} in jax"] = timed(made)
    return found


def timed(made: Callable[[int], None]) -> Learn:
    """Return a learner that measures its time."""

    def learn(count: int) -> float:
        started = time.perf_counter()
        made(count)
        return count / (time.perf_counter() - started)

    return learn


def main() -> None:
    """Time all contestants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    learners = {name: by_hand(*parts(*given)) for name, given in CONTESTANTS.items()}
    for name, given in CONTESTANTS.items():
        made = parts(*given)
        if made[2].formulas is not None:
            learners[f"{name}, compiled"] = compiled(*made)
    learners |= peers(arguments.steps)
    rates: dict[str, list[float]] = {name: [] for name in learners}
    for learn in learners.values():
        learn(arguments.steps)  # compiles
    for _ in range(arguments.rounds):
        for name, learn in learners.items():
            rates[name].append(learn(arguments.steps))
    print(f"torch {torch.__version__}, {arguments.threads} threads\n")
    print("| optimizer | steps per second | / jax |")
    print("|---|---|---|")
    for name, found in rates.items():
        peer = rates.get(f"{name.removesuffix(', compiled')} in jax")
        ratio = f"{statistics.median(map(truediv, found, peer)):.2f}" if peer else ""
        said = f"{statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})"
        print(f"| {name} | {said} | {ratio} |")


if __name__ == "__main__":
    main()
