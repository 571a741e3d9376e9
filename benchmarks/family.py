"""Every optimizer of the family on ten permutations of MNIST: docs/results/family.md.

    BNNLAB_DATA=... python benchmarks/family.py [--threads 1] [--only ROW ...] [--run]

Prints the table from the results that are kept in docs/results/family, one file a run; with --run,
makes those that are missing first. The options were chosen on another seed than those shown.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from tables import result_of, show

KEPT = Path(__file__).parents[1] / "docs" / "results" / "family"
SEEDS = (0, 1, 2)
EPOCHS = 2
NETWORK: dict[str, Any] = {
    "name": "mlp",
    "hidden": [512],
    "activation": "gate",
    "width": 1.25,
    "norm": "layer",
    "output_norm": True,
}
"""The network of the published comparison, for all rows; its weights are binary or real."""

BINARY, REAL = {"weights": "binary"}, {"weights": "real"}
EWC = {"name": "ewc", "lr": 0.01, "strength": 30.0}
BAYESBINN = {"temperature": 0.1, "lr": 0.003, "prior_precision": 1.0, "test_draws": 5}
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bimu": ({"name": "bimu", "memory": 10000.0, "test_draws": 5}, BINARY),
    "bhu": ({"name": "bhu", "test_draws": 5}, BINARY),
    "mesu": ({"name": "mesu", "sigma_init": 1.0, "test_draws": 5}, REAL),
    "bgd": ({"name": "bgd", "sigma_init": 1.0, "test_draws": 5}, REAL),
    "ewc": ({**EWC, "variant": "online"}, REAL),
    "ewc-offline": ({**EWC, "variant": "offline"}, REAL),
    "si": ({"name": "si", "lr": 0.01, "strength": 10.0}, REAL),
    "bayesbinn": ({"name": "bayesbinn", **BAYESBINN}, BINARY),
    "bayesbinn-uniform-prior": ({"name": "bayesbinn", **BAYESBINN, "prior": "uniform"}, BINARY),
    "meta": ({"name": "meta", "lr": 0.0005, "m": 10.0}, BINARY),
    "adam": ({"name": "adam", "lr": 0.0001}, BINARY),
    "bop": ({"name": "bop"}, BINARY),
    "sgd": ({"name": "sgd", "lr": 0.01}, REAL),
}
"""Per row: the optimizer with its options, and which weights it learns."""

PUBLISHED = {
    "bhu": 96.1,
    "mesu": 96.0,
    "bgd": 96.3,
    "ewc": 93.6,
    "bayesbinn": 74.8,
    "meta": 70.8,
    "sgd": 70.7,
}
"""Average accuracy after ten tasks of twenty epochs, per cent, from the papers and their code."""


def result(row: str, seed: int) -> dict[str, Any]:
    """Return the result of one run."""
    optimizer, weights = ROWS[row]
    return result_of(
        f"{row}-{seed}",
        KEPT,
        rule="bp",
        optimizer=optimizer,
        model={**NETWORK, **weights},
        stream={"name": "permuted-mnist", "tasks": 10},
        epochs=EPOCHS,
        batch_size=128,
        seed=seed,
        set={"uncertainty": True},
    )


def line(row: str, results: list[dict[str, Any]]) -> str:
    """Return a row of the table."""
    uncertain = [result["uncertainty"] for result in results]
    (protocol,) = {result["protocol"] for result in results}
    cells = [
        row,
        show([result["average_accuracy"] for result in results]),
        show([result["accuracy"][-1][-1] for result in results]),
        show([result["learning_accuracy"] for result in results]),
        show([each["ood_auroc"] for each in uncertain], 1, 3),
        show([each["ece"] for each in uncertain], 1, 3),
        f"`{protocol[:8]}`",
    ]
    return f"| {' | '.join(cells)} |"


def compare(row: str, results: list[dict[str, Any]]) -> str:
    """Return a row of the comparison with what was published."""
    found = [100 * result["average_accuracy"] for result in results]
    mean, published = sum(found) / len(found), PUBLISHED[row]
    spread = f"{mean:.1f} ({min(found):.1f} to {max(found):.1f})"
    return f"| {row} | {spread} | {published} | {mean - published:+.1f} |"


def main() -> None:
    """Run what is missing, if asked to, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--run", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.run:
        for seed in SEEDS:  # a whole table of one seed first
            for row in arguments.only:
                result(row, seed)
    print("| optimizer | average | newest | when learned | OOD AUROC | ECE | protocol |")
    print("|---|---|---|---|---|---|---|")
    kept = {
        row: [result(row, seed) for seed in SEEDS if (KEPT / f"{row}-{seed}.json").exists()]
        for row in arguments.only
    }
    for row, results in kept.items():
        if results:
            print(line(row, results))
    print("\n| optimizer | here | published | difference |\n|---|---|---|---|")
    for row, results in kept.items():
        if results and row in PUBLISHED:
            print(compare(row, results))


if __name__ == "__main__":
    main()
