"""Time from a shell to the answer, for the commands that need no torch.

    python benchmarks/start.py [OTHER_CHECKOUT] [--rounds 15]

Each checkout runs with its own `.venv` (`make test` makes it). All take turns within every round.
Printed: the median of each in milliseconds (smallest to largest), and the median over rounds of its
ratio to the other checkout.
"""

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

COMMANDS = ("--help", "list-plugins", "info rule dfa", "check", "matrix")


def milliseconds(checkout: Path, command: str) -> float:
    """Return how long a command takes with the code and the environment of a checkout."""
    words = [checkout / ".venv" / "bin" / "bnn", *command.split()]
    caching = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    subprocess.run(words, check=True, env=caching, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = {"here": here, **({"other": given.other.resolve()} if given.other else {})}
    for command in COMMANDS:
        times: dict[str, list[float]] = {who: [] for who in checkouts}
        for round_ in range(given.rounds + 1):
            for who, checkout in checkouts.items():
                taken = milliseconds(checkout, command)
                if round_:  # the first call fills caches
                    times[who].append(taken)
        said = [
            f"{who} {statistics.median(each):4.0f} ms ({min(each):.0f} to {max(each):.0f})"
            for who, each in times.items()
        ]
        if given.other:
            pairs = zip(times["here"], times["other"], strict=True)
            said.append(f"here / other {statistics.median(a / b for a, b in pairs):.2f}")
        print(f"bnn {command:14}  {'   '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
