"""What trackers cost a run: its training time against that of an untracked one, well or ill.

    python benchmarks/tracking.py [--seconds 60] [--pairs 7] [--only NAME ...]

Needs bnnlab-wandb and bnnlab-tensorboard, and Linux. In each round one untracked run and one of
each condition are trained together, one second each in turn: a run's processes, with those of its
tracker, are stopped while another one has its second. So runs of a round meet the same machine,
whose speed changes within minutes. A run is `bnn run` with one thread on the demo's network; its
length is set by a first run. Its time is the sum of its seconds between its first line of metrics
and its last: start and finish are excluded, saving and what hooks do is included. Printed is each
run; then, per condition, the median ratio to the untracked run of its round with the range, the
median time, exit codes and the number of warnings.

W&B's server is one on this machine; its delays go on while runs are stopped. A full disk is a small
one that is mounted, where root may.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "plugins" / "wandb" / "tests"))

from wandb_server import serving  # noqa: E402

RUN = ["--stream", "permuted-digits", "--set", "stream.tasks=2", "--set", "threads=1", "-q"]
PATIENCE = 10
"""Seconds in which a tracker may end, of those that its run has."""
FIRST = 60
"""Epochs of the run that sets the length of the others."""
MORE = 1.3
"""So much longer they are made, as the machine may get faster."""
SLOT = 1.0
MARK = "BNNLAB_BENCHMARK_RUN"
"""The variable that tells which run a process belongs to."""


@dataclass
class Condition:
    """How a run is tracked.

    Attributes:
        words: Of the command.
        variables: Of its environment.
        delay: Seconds before each answer of W&B's server.
        harm: Called with the run while it is trained.
    """

    words: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    harm: Callable[["Run"], None] = lambda _: None


@dataclass
class Measured:
    """What was measured of a run: seconds, exit code, warnings."""

    seconds: float
    code: int
    warnings: int


class Run:
    """A run that is trained in its slots alone.

    Args:
        condition: How it is tracked.
        epochs: Of each task.
        out: A new folder for it.
        server: The variables that lead to W&B's server.
    """

    def __init__(
        self, condition: Condition, epochs: int, out: str, server: Mapping[str, str]
    ) -> None:
        self.folder, self.mark, self.slots = Path(out, "run"), out, list[tuple[float, float]]()
        words = [*RUN, "--epochs", str(epochs), "--out", out, "--name", "run", *condition.words]
        self.said = Path(out, "stderr")
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bnnlab.cli", "run", *words],
                env={**os.environ, **server, **condition.variables, MARK: out},
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
        self.signal(signal.SIGSTOP)
        threading.Thread(target=condition.harm, args=(self,), daemon=True).start()

    def processes(self, name: str | None = None) -> set[int]:
        """Return its processes, with those of its tracker; or those with a name."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is that of another user
                is_mine = f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes()
                if is_mine and name in (None, (process / "comm").read_text().strip()):
                    found.add(int(process.name))
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes, and to those that they start meanwhile."""
        done = set[int]()
        while new := self.processes() - done:
            done |= new
            for each in new:
                with suppress(ProcessLookupError):
                    os.kill(each, number)

    def slot(self) -> None:
        """Let it go on for a slot."""
        begun = time.time()
        self.signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(SLOT)
        self.slots.append((begun, time.time()))
        self.signal(signal.SIGSTOP)

    def measured(self) -> Measured:
        """Return what was measured, at its end."""
        self.signal(signal.SIGCONT)  # what is left of its tracker ends
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        first, last = (json.loads(lines[place])["time"] for place in (0, -1))
        seconds = sum(max(0.0, min(last, end) - max(first, begun)) for begun, end in self.slots)
        warnings = self.said.read_text().count("WARNING")
        return Measured(round(seconds, 2), self.process.returncode, warnings)


def train(chosen: Mapping[str, Condition], epochs: int) -> dict[str, Measured]:
    """Train a run of each condition, in turns."""
    with ExitStack() as stack:
        runs = {}
        for name, condition in chosen.items():
            server = stack.enter_context(serving())
            server.delay = condition.delay
            out = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            runs[name] = Run(condition, epochs, out, server.environment)
        while alive := [run for run in runs.values() if run.process.poll() is None]:
            for run in alive:
                run.slot()
        found = {name: run.measured() for name, run in runs.items()}
        time.sleep(2)  # what is left of the trackers ends
    return found


def kill_core(run: Run) -> None:
    """Kill the process wandb-core of a run, some time after it has begun to deliver."""
    ledger = run.folder / "track/bnnlab-wandb/wandb.json"
    while not ledger.exists() and run.process.poll() is None:
        time.sleep(0.1)
    while len(run.slots) < 20 and run.process.poll() is None:
        time.sleep(0.1)
    for core in run.processes("wandb-core"):
        os.kill(core, signal.SIGKILL)


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
    online = ["--track", "wandb", "--set", "track.wandb.mode=online"]
    offline = ["--track", "wandb", "--set", "track.wandb.mode=offline"]
    board = ["--track", "tensorboard"]
    found = {
        "untracked": Condition(),
        "wandb offline": Condition(offline),
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
    with small_disk() as disk:
        if disk is None:
            print("skipped: tensorboard, disk full (no small disk can be mounted here)")
        every = conditions(disk)
        chosen = {
            name: each
            for name, each in every.items()
            if name == "untracked" or name in (given.only or every)
        }
        for each in chosen.values():
            if "wandb" in each.words:  # its clock goes on while it is stopped
                patience = f"track.wandb.patience={PATIENCE * len(chosen)}"
                each.words = [*each.words, "--set", patience]
        first = train({"untracked": every["untracked"]}, FIRST)["untracked"]
        epochs = max(2, math.ceil(MORE * given.seconds * FIRST / first.seconds))
        print(f"{given.pairs} rounds of {len(chosen)} runs of {epochs} epochs per task", flush=True)
        rounds = []
        for number in range(given.pairs):
            names = [*chosen][number % len(chosen) :] + [*chosen][: number % len(chosen)]
            rounds.append(train({name: chosen[name] for name in names}, epochs))
            for name in chosen:
                print(f"{number + 1}  {name:28} {rounds[-1][name]}", flush=True)
    for name in chosen:
        runs = [each[name] for each in rounds]
        ratios = [each[name].seconds / each["untracked"].seconds for each in rounds]
        codes, warnings = ({getattr(it, what) for it in runs} for what in ("code", "warnings"))
        print(
            f"{name:28} {told(ratios)}  {statistics.median(it.seconds for it in runs):.1f} s  "
            f"exit {codes}  warnings {warnings}"
        )


if __name__ == "__main__":
    main()
