"""The table of docs/results/online.md, from the results that are kept beside it.

    python benchmarks/online_results.py

Each kept file is the result.json of `bnn run --recipe NAME/online --seed SEED`.
"""

import json
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parents[1] / "docs" / "results" / "online"
RECENT = 5
FIRST = 10
"""The spread is over the tasks from this one on."""


def line(name: str, result: dict[str, Any]) -> str:
    """Return a row of the table."""
    rows = result["accuracy"]
    ends = range(FIRST, len(rows) + 1)
    recent = [100 * sum(rows[end - 1][end - RECENT : end]) / RECENT for end in ends]
    cells = [
        name,
        f"{recent[-1]:.1f} ({min(recent):.1f} to {max(recent):.1f})",
        f"{100 * rows[-1][-1]:.1f}",
        f"{100 * result['learning_accuracy']:.1f}",
        f"{100 * result['average_accuracy']:.1f}",
        f"{result['uncertainty']['ood_auroc_recent']:.3f}",
        f"{result['seconds'] / 60:.0f} min",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    print("| optimizer | last five tasks, % | newest | when learned | all twenty "
          "| OOD AUROC, last five | time |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for file in sorted(KEPT.glob("*.json")):
        print(line(file.stem.rpartition("-")[0], json.loads(file.read_text())))


if __name__ == "__main__":
    main()
