"""Backpropagation, dfa and drtp on the study's perceptron, with and without scale: rules.md.

    BNNLAB_DATA=... python benchmarks/rules.py [--threads 1] [--only ROW ...] [--run]

Prints docs/results/rules.md's table from the results kept in docs/results/rules, one file a run.
With --run those that are missing are made first: for every row the learning rate with the best
accuracy on a tenth of the training images, held out, on a seed that is not shown; then, with that
one and on all training images, the seeds that are. Test images choose nothing.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from tables import result_of, show
from tuning import CIFAR10, held_out_accuracy

KEPT = Path(__file__).parents[1] / "docs" / "results" / "rules"
SEEDS = (0, 1, 2)
LEARNING_RATES = (0.01, 0.001, 0.0001)
STREAMS: dict[str, dict[str, Any]] = {"mnist": {"name": "mnist"}, "cifar10": CIFAR10}
EPOCHS, TUNING_EPOCHS = 10, 2
RULES = ("bp", "dfa", "drtp")
NETWORK: dict[str, Any] = {
    "name": "mlp",
    "hidden": [700, 500, 300, 200],
    "weights": "binary",
    "real_output": True,
    "activation": "sign",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "batch-norm": {"norm": "batch", "affine": True},
    "scale": {"norm": "none", "scale": "fan-in"},
    "neither": {"norm": "none", "scale": "none"},
}
"""How the sums are brought into the surrogate's window: by normalisation, a factor, not at all."""

PUBLISHED = {
    ("mnist", "batch-norm"): (97.1, 97.4, 92.2),
    ("mnist", "neither"): (60.4, 95.8, 92.1),
    ("cifar10", "batch-norm"): (46.7, 49.0, 44.9),
    ("cifar10", "neither"): (26.8, 45.8, 42.5),
}
"""Test accuracy in per cent of bp, dfa and drtp in the study."""


def settings(variant: str, rule: str, lr: float) -> dict[str, Any]:
    """Return what both tuning and the runs shown have in common."""
    return {
        "rule": rule,
        "optimizer": {"name": "adam", "lr": lr},
        "model": {**NETWORK, **VARIANTS[variant]},
        "batch_size": 128,
    }


def best_rate(data: str, variant: str, rule: str) -> float:
    """Return the learning rate that did best on held-out images."""

    def accuracy(lr: float) -> float:
        file = KEPT / "tuning" / f"{data}-{variant}-{rule}-{lr:g}.json"
        given = {**settings(variant, rule, lr), "epochs": TUNING_EPOCHS}
        return held_out_accuracy(file, STREAMS[data], **given)

    return max(LEARNING_RATES, key=accuracy)


def result(data: str, variant: str, rule: str, seed: int) -> dict[str, Any]:
    """Return the result of one run that is shown."""
    return result_of(
        f"{data}-{variant}-{rule}-{seed}",
        KEPT,
        **settings(variant, rule, best_rate(data, variant, rule)),
        stream=STREAMS[data],
        epochs=EPOCHS,
        seed=seed,
    )


def kept(data: str, variant: str, rule: str) -> list[dict[str, Any]]:
    """Return the results that are there."""
    found = [seed for seed in SEEDS if (KEPT / f"{data}-{variant}-{rule}-{seed}.json").exists()]
    return [result(data, variant, rule, seed) for seed in found]


def line(data: str, variant: str) -> str:
    """Return a row of the table: the three rules' accuracies, and the published ones."""
    cells, protocols = [], set()
    published = PUBLISHED.get((data, variant), ("", "", ""))
    for rule, other in zip(RULES, published, strict=True):
        results = kept(data, variant, rule)
        protocols |= {each["protocol"][:8] for each in results}
        rate = f" at {best_rate(data, variant, rule):g}" if results else ""
        cells += [f"{show([each['accuracy'][0][0] for each in results])}{rate}", str(other)]
    return f"| {data} | {variant} | {' | '.join(cells)} | {', '.join(sorted(protocols))} |"


def main() -> None:
    """Run what is missing, if asked to, and print the table."""
    rows = [(data, variant) for data in STREAMS for variant in VARIANTS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=[f"{d}-{v}" for d, v in rows])
    parser.add_argument("--run", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.only:
        rows = [row for row in rows if "-".join(row) in arguments.only]
    if arguments.run:
        for seed in SEEDS:
            for data, variant in rows:
                for rule in RULES:
                    result(data, variant, rule, seed)
    print("| data | sums | bp | published | dfa | published | drtp | published | protocol |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        if any(kept(*row, rule) for rule in RULES):
            print(line(*row))


if __name__ == "__main__":
    main()
