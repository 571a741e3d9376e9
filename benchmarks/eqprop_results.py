"""The tables of docs/results/eqprop.md, from the results that are kept beside it.

    BNNLAB_DATA=... python benchmarks/eqprop_results.py [--run [ROW ...]] [--seeds 0 1 2]

Without `--run` only what is kept is shown. A row is `bnn run --recipe eqprop/RECIPE` with the
changes that are printed, as "fast": `--set rule.order=even-odd --set rule.tolerance=0.001`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from tables import result_of, show

KEPT = Path(__file__).parents[1] / "docs" / "results" / "eqprop"
FAST = {"rule.order": "even-odd", "rule.tolerance": 0.001}
ROWS: dict[str, dict[str, Any]] = {
    "fc-1h": {"recipe": "eqprop/fc-1h", "epochs": 1},
    "fc-1h-fast": {"recipe": "eqprop/fc-1h", "epochs": 1, "set": FAST},
    "fc-1h-bptt": {"recipe": "eqprop/fc-1h-bptt", "epochs": 1},
    "fc-1h-10": {"recipe": "eqprop/fc-1h", "epochs": 10},
    "fc-1h-fast-10": {"recipe": "eqprop/fc-1h", "epochs": 10, "set": FAST},
    "fc-1h-learned-fast-10": {"recipe": "eqprop/fc-1h-learned", "epochs": 10, "set": FAST},
    "fc-2h-fast": {"recipe": "eqprop/fc-2h", "epochs": 1, "set": FAST},
    "binary-fc-1h": {"recipe": "eqprop/binary-fc-1h", "epochs": 3},
    "conv-mnist-fast": {"recipe": "eqprop/conv-mnist", "epochs": 1, "set": FAST},
    "conv-mnist-fast-2": {"recipe": "eqprop/conv-mnist", "epochs": 2, "set": FAST},
    "permuted-mnist": {"recipe": "eqprop/permuted-mnist"},
    "permuted-mnist-adam": {"recipe": "eqprop/permuted-mnist", "set": {"optimizer.m": 0.0}},
}


def line(name: str, results: list[dict[str, Any]]) -> str:
    """Return a row of the table; the continual ones have more tasks than one."""
    errors = [1 - each["accuracy"][-1][-1] for each in results]
    cells = [name, str(ROWS[name].get("epochs", "")), show(errors, digits=2)]
    if len(results[0]["accuracy"]) > 1:
        cells[2] = show([each["average_accuracy"] for each in results])
        cells.append(show([each["learning_accuracy"] for each in results]))
        cells.append(show([each["forgetting"] for each in results]))
    last = [each["diagnostics"][-1] for each in results]
    cells.append(show([each.get("free_steps") for each in last], 1))
    cells.append(show([each["flips"][-1] for each in results]))
    cells.append(show([each["seconds"] / 60 for each in results], 1, 0))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what is asked for, then print what is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs="*", metavar="ROW")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    if arguments.run is not None:
        torch.set_num_threads(1)
        for row in arguments.run or ROWS:
            for seed in arguments.seeds:
                result_of(f"{row}-{seed}", KEPT, **ROWS[row], seed=seed)
    for row in ROWS:
        files = sorted(KEPT.glob(f"{row}-[0-9].json"))
        if files:
            print(line(row, [json.loads(file.read_text()) for file in files]))


if __name__ == "__main__":
    main()
