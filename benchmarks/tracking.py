"""What trackers cost a run: its training time against that of an untracked one, well or ill.

    python benchmarks/tracking.py [--seconds 60] [--pairs 7] [--only NAME ...]

Needs bnnlab-wandb and bnnlab-tensorboard. In each round one untracked run and one of each
condition are trained, in an order that rotates; so each is paired with the untracked run of its
round. A run is `bnn run` in a process of its own, with one thread, on the demo's network; its
length is set by a first run. Its time is that from its first line of metrics to its last: start
and finish are excluded, saving and what hooks do is included. Its processor time, between the same
lines, is that of the training process alone; it hardly knows what else the machine does. Printed is
each run; then, per condition, the median ratios of the pairs with their range, the median time,
exit codes and the number of warnings.

W&B's server is one on this machine. A full disk is a small one that is mounted, where root may.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "plugins" / "wandb" / "tests"))

from wandb_server import Server, serving  # noqa: E402

RUN = ["--stream", "permuted-digits", "--set", "stream.tasks=2", "--set", "threads=1", "-q"]
WANDB = ["--track", "wandb", "--set", "track.wandb.patience=10"]
FIRST = 60
"""Epochs of the run that sets the length of the others."""
MORE = 1.25
"""So much longer they are made: a shared machine may be faster an hour later."""


@dataclass
class Condition:
    """How a run is tracked.

    Attributes:
        words: Of the command.
        variables: Of its environment.
        delay: Seconds before each answer of W&B's server.
        harm: Called with the run's folder while it is trained.
    """

    words: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    harm: Callable[[Path], None] = lambda _: None


@dataclass
class Measured:
    """What was measured of a run: seconds, seconds of a processor, exit code, warnings."""

    seconds: float
    processor: float
    code: int
    warnings: int


def train(condition: Condition, epochs: int, server: Server) -> Measured:
    """Train one run."""
    server.delay = condition.delay
    with tempfile.TemporaryDirectory() as out:
        words = [*RUN, "--epochs", str(epochs), "--out", out, "--name", "run", *condition.words]
        process = subprocess.Popen(
            [sys.executable, "-m", "bnnlab.cli", "run", *words],
            env={**os.environ, **server.environment, **condition.variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        run = Path(out, "run")
        threading.Thread(target=condition.harm, args=(run,), daemon=True).start()
        processor: list[float] = []
        threading.Thread(target=watch, args=(process, run / "metrics.jsonl", processor)).start()
        _, said = process.communicate()
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        seconds = lines[-1]["time"] - lines[0]["time"]
        time.sleep(2)  # what is left of its trackers ends
    spent = round(processor[-1] - processor[0], 2)
    return Measured(round(seconds, 2), spent, process.returncode, said.count("WARNING"))


def watch(process: subprocess.Popen[str], metrics: Path, processor: list[float]) -> None:
    """Note the processor time of a process (Linux) whenever its metrics have grown."""
    size, tick = 0, os.sysconf("SC_CLK_TCK")
    while process.poll() is None:
        grown = metrics.stat().st_size if metrics.exists() else 0
        if grown != size:
            size = grown
            user, system = (
                Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            )
            processor.append((int(user) + int(system)) / tick)
        time.sleep(0.05)


def kill_core(run: Path) -> None:
    """Kill the process wandb-core of a run, five seconds after it has begun to deliver."""
    ledger, until = run / "track/bnnlab-wandb/wandb.json", time.monotonic() + 60
    while not ledger.exists() and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(5)
    for each in Path("/proc").glob("[0-9]*"):
        try:
            is_core = (each / "comm").read_text().strip() == "wandb-core"
            is_of_run = os.readlink(each / "cwd") == os.getcwd()  # noqa: PTH109, PTH115
        except OSError:
            continue
        if is_core and is_of_run:
            os.kill(int(each.name), signal.SIGKILL)


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """Mount a disk of 16 kB; None where this is not possible."""
    with tempfile.TemporaryDirectory() as place:
        words = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", place]
        if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def conditions(disk: Path | None) -> dict[str, Condition]:
    """Return what is measured, by its name."""
    online = [*WANDB, "--set", "track.wandb.mode=online"]
    board = ["--track", "tensorboard"]
    found = {
        "untracked": Condition(),
        "wandb offline": Condition([*WANDB, "--set", "track.wandb.mode=offline"]),
        "wandb online": Condition(online),
        "wandb, core killed": Condition(online, harm=kill_core),
        "wandb, port closed": Condition(online, {"WANDB_BASE_URL": "http://127.0.0.1:9"}),
        "wandb, answers after 30 s": Condition(online, delay=30.0),
        "tensorboard": Condition(board),
    }
    if disk:
        place = ["--set", f"track.tensorboard.folder={disk}"]
        found["tensorboard, disk full"] = Condition([*board, *place])
    return found


def told(ratios: list[float]) -> str:
    """Return the median of ratios, with their range."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="conditions; all by default")
    given = parser.parse_args()
    with small_disk() as disk, serving() as server:
        if disk is None:
            print("skipped: tensorboard, disk full (no small disk can be mounted here)")
        every = conditions(disk)
        names = ["untracked", *(name for name in every if name in (given.only or every))]
        names = list(dict.fromkeys(names))
        each = train(every["untracked"], FIRST, server).seconds / FIRST
        epochs = max(2, math.ceil(MORE * given.seconds / each))
        print(f"{given.pairs} rounds of {len(names)} runs of {epochs} epochs per task", flush=True)
        found: dict[str, list[Measured]] = {name: [] for name in names}
        for number in range(given.pairs):
            first = number % len(names)
            for name in [*names[first:], *names[:first]]:
                found[name].append(train(every[name], epochs, server))
                print(f"{number + 1}  {name:28} {found[name][-1]}", flush=True)
    for name, runs in found.items():
        pairs = [*zip(runs, found["untracked"], strict=True)]
        ratios = ", processor ".join(
            told([getattr(one, what) / getattr(other, what) for one, other in pairs])
            for what in ("seconds", "processor")
        )
        codes, warnings = ({getattr(it, what) for it in runs} for what in ("code", "warnings"))
        print(
            f"{name:28} {ratios}  "
            f"{statistics.median(it.seconds for it in runs):.1f} s  exit {codes}  "
            f"warnings {warnings}"
        )


if __name__ == "__main__":
    main()
