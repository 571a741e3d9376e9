"""Every rule on a binary convolutional network, CIFAR-10: docs/results/convolutional.md.

    BNNLAB_DATA=... python benchmarks/convolutional.py [--threads 1] [--only RULE ...] [--run]

Prints the table from the results kept in docs/results/convolutional, one file a run. With --run
those that are missing are made first, with the same budget for every rule: three learning rates,
of which the one with the best accuracy on held-out training images is taken (on a seed that is not
shown), and then as many epochs. Test images choose nothing.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from tables import result_of, show
from tuning import CIFAR10, held_out_accuracy

KEPT = Path(__file__).parents[1] / "docs" / "results" / "convolutional"
SEEDS = (0, 1, 2)
LEARNING_RATES = (0.01, 0.001, 0.0001)
EPOCHS, TUNING_EPOCHS = 3, 1
RULES: dict[str, dict[str, Any]] = {
    "bp": {"name": "bp"},
    "dfa": {"name": "dfa"},
    "drtp": {"name": "drtp"},
    "hsic": {"name": "hsic", "gamma": 20.0},
    "pepita": {"name": "pepita"},
    "last-layer-alone": {"name": "pepita", "gain": 0.0},
}
NETWORK: dict[str, Any] = {
    "name": "vgg-binaryconnect",
    "width": 0.125,
    "weights": "binary",
    "activations": "binary",
    "keep": "first-and-last",
}
"""Convolutions of 16, 16, 32, 32, 64, 64 channels and two layers of 128 units."""


def settings(rule: str, lr: float) -> dict[str, Any]:
    """Return what both tuning and the runs shown have in common."""
    optimizer = {"name": "adam", "lr": lr}
    return {"rule": RULES[rule], "optimizer": optimizer, "model": NETWORK, "batch_size": 128}


def best_rate(rule: str) -> tuple[float, float]:
    """Return the accuracy on held-out images and the learning rate that did best there."""
    found = []
    for lr in LEARNING_RATES:
        file = KEPT / "tuning" / f"{rule}-{lr:g}.json"
        given = {**settings(rule, lr), "epochs": TUNING_EPOCHS}
        found.append((held_out_accuracy(file, CIFAR10, **given), lr))
    return max(found)


def result(rule: str, seed: int) -> dict[str, Any]:
    """Return the result of one run that is shown."""
    given = settings(rule, best_rate(rule)[1])
    return result_of(f"{rule}-{seed}", KEPT, **given, stream=CIFAR10, epochs=EPOCHS, seed=seed)


def main() -> None:
    """Run what is missing, if asked to, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=RULES, default=list(RULES))
    parser.add_argument("--run", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.run:
        for seed in SEEDS:
            for rule in arguments.only:
                result(rule, seed)
    print("| rule | test accuracy | learning rate | protocol |\n|---|---|---|---|")
    for rule in arguments.only:
        kept = [result(rule, seed) for seed in SEEDS if (KEPT / f"{rule}-{seed}.json").exists()]
        if kept:
            (protocol,) = {each["protocol"][:8] for each in kept}
            accuracies = show([each["accuracy"][0][0] for each in kept])
            print(f"| {rule} | {accuracies} | {best_rate(rule)[1]:g} | `{protocol}` |")


if __name__ == "__main__":
    main()
