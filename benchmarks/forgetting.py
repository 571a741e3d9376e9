"""How much metaplasticity keeps: the runs behind docs/results/permuted-mnist.md.

    BNNLAB_DATA=... python benchmarks/forgetting.py [--out runs/forgetting] [--threads 1]

Every result is kept in a file under --out; what is there is not run again. The
tables are printed as Markdown. Figures of different protocols never stand in one table.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from tables import result_of, show

SEEDS = (0, 1, 2)
META, BASELINE, DFA = (
    "metaplasticity/permuted-mnist",
    "metaplasticity/permuted-mnist-baseline",
    "dfa/permuted-mnist",
)
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "bp, meta, lr 0.0005, m = 30": (META, {}),
    "bp, meta, lr 0.0005, m = 0": (META, {"optimizer.m": 0.0}),
    "bp, adam, lr 0.0005": (BASELINE, {}),
    "bp, meta, lr 0.005, m = 7": (META, {"optimizer.lr": 0.005, "optimizer.m": 7.0}),
    "bp, adam, lr 0.005": (BASELINE, {"optimizer.lr": 0.005}),
    "bp, adam, lr 0.001": (BASELINE, {"optimizer.lr": 0.001}),
    "bp, adam, lr 0.0002": (BASELINE, {"optimizer.lr": 0.0002}),
    "bp, adam, lr 0.0001": (BASELINE, {"optimizer.lr": 0.0001}),
    "bp, adam, lr 0.00005": (BASELINE, {"optimizer.lr": 0.00005}),
    "dfa, meta, lr 0.005, m = 1.35": (DFA, {}),
    "dfa, meta, lr 0.005, m = 0": (DFA, {"optimizer.m": 0.0}),
    "dfa, meta, lr 0.005, m = auto": (DFA, {"optimizer.m": "auto"}),
    "dfa, meta, lr 0.0005, m = 10": (DFA, {"optimizer.lr": 0.0005, "optimizer.m": 10.0}),
    "dfa, meta, lr 0.0005, m = 0": (DFA, {"optimizer.lr": 0.0005, "optimizer.m": 0.0}),
}


def run(row: str, seed: int, out: Path) -> dict[str, Any]:
    """Return the result of one run."""
    recipe, changes = ROWS[row]
    name = f"{row}-{seed}".replace(" ", "").replace(",", "-").replace("=", "")
    return result_of(name, out, recipe=recipe, seed=seed, set=changes)


def main() -> None:
    """Run what is missing and print a table per protocol."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tables: dict[str, list[str]] = {}
    for row in ROWS:
        results = [run(row, seed, arguments.out) for seed in SEEDS]
        (protocol,) = {result["protocol"] for result in results}
        tables.setdefault(protocol, []).append(
            f"| {row} "
            f"| {show([result['average_accuracy'] for result in results])} "
            f"| {show([result['accuracy'][-1][-1] for result in results])} "
            f"| {show([result['forgetting'] for result in results])} |"
        )
    for protocol, rows in tables.items():
        print(f"\nProtocol `{protocol}`, per cent: mean (seeds {', '.join(map(str, SEEDS))})\n")
        print("| rule, optimizer | average accuracy | newest task | forgetting |")
        print("|---|---|---|---|")
        print("\n".join(rows))


if __name__ == "__main__":
    main()
