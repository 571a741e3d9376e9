"""What stops and damage do to a run: nothing, once it is resumed.

    python benchmarks/crashes.py [--short] [--seed 0]

Damage: one bit of the newest checkpoint is flipped, or a page of it zeroed, and the run is resumed.
Stops: a run is killed (SIGKILL), or told to stop (SIGTERM, SIGHUP), at a random moment, resumed,
stopped again, and so on to its end. Every resumed run must end with the same accuracies, weights
and metrics (seconds apart) as one that nothing happened to; counted is what did not.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

PAGE = 4096
LEARNERS = [  # a posterior, whose draws are evaluated; fresh models, that learn alone
    ["--rule", "bp", "--optimizer", "bimu", "--set", "optimizer.test_draws=5"],
    ["--rule", "dfa", "--optimizer", "meta", "--set", "fresh=true"],
]
RUN = ["run", "--stream", "permuted-digits", "--set", "stream.tasks=3", "--epochs", "2"]
RUN += ["--batch-size", "16", "--set", "model.hidden=[64]", "--set", "stream.augment=cifar"]
RUN += ["--set", "checkpoint_minutes=0.0003", "--device", "cpu", "--quiet"]
"""About a second, with a checkpoint every 18 ms."""

processes = multiprocessing.get_context("forkserver")  # its children need not import torch again
processes.set_forkserver_preload(["bnnlab.engine.preparing", "bnnlab.cli", "sklearn.metrics"])


def command(words: Sequence[str], said: Path) -> None:
    """Be a process that runs `bnn`; what it says goes to a file."""
    from bnnlab.cli import main

    with said.open("w") as file, redirect_stdout(io.StringIO()), redirect_stderr(file):
        code = main(words)
    sys.exit(code)


def start(words: Sequence[str], said: Path) -> Any:
    """Return such a process, begun."""
    process = processes.Process(target=command, args=(list(words), said))
    process.start()
    return process


def run(words: Sequence[str], said: Path) -> int:
    """Return the exit code of such a process that nothing happens to."""
    process = start(words, said)
    process.join()
    return process.exitcode


def left(folder: Path) -> tuple[Any, ...]:
    """Return what a run left that must not depend on what happened to it."""
    from bnnlab.storage.checkpoint import CHECKPOINT, read

    result = json.loads((folder / "result.json").read_text())
    metrics = re.sub(r', "(seconds|time)": [\d.]+', "", (folder / "metrics.jsonl").read_text())
    weights = hashlib.sha256()
    for name, value in sorted(read(folder / CHECKPOINT)["model"].items()):
        weights.update(name.encode() + value.numpy().tobytes())
    return result["status"], result["accuracy"], weights.hexdigest(), metrics


def inside(folder: Path) -> bool:
    """Return whether the last checkpoint lies within an epoch or an evaluation."""
    from bnnlab.storage.checkpoint import CHECKPOINT, read

    state = read(folder / CHECKPOINT)
    fresh = state["probes"].get("bnnlab-analysis/fresh", {}).get("learner")
    learners = [state, fresh] if fresh else [state]
    return any(each["progress"]["step"] or each["progress"]["row"] for each in learners)


class Bench:
    """One learner's runs, below a folder; counts what happened, and what went wrong."""

    def __init__(self, folder: Path, learner: Sequence[str], seed: int) -> None:
        self.folder, self.learner, self.draw = folder, learner, random.Random(seed)
        self.said, self.counts = folder / "said.txt", Counter[str]()
        folder.mkdir()
        run(["--version"], self.said)  # the first process waits for what all of them import
        started = time.perf_counter()
        assert run(self.new("whole"), self.said) == 0, self.said.read_text()
        self.seconds = time.perf_counter() - started
        self.whole = left(folder / "whole")

    def new(self, name: str) -> list[str]:
        """Return the command of a new run."""
        return [*RUN, *self.learner, "--out", str(self.folder), "--name", name]

    def again(self, folder: Path) -> list[str]:
        """Return the command that goes on with one."""
        return ["run", "--resume", str(folder), "--quiet"]

    def compare(self, folder: Path) -> None:
        """See that a run that is complete is the one that nothing happened to."""
        same = left(folder) == self.whole
        self.counts["runs bit-equal" if same else "WRONG: runs that differ"] += 1
        shutil.rmtree(folder)

    def stop(self, number: int, times: int) -> None:
        """Stop runs by a signal, so many times, at random moments, and end them."""
        name, stopped = signal.Signals(number).name, 0
        while stopped < times:
            folder = self.folder / name
            words = self.new(name)
            while (code := self._stopped(words, number, folder, stopped < times)) != 0:
                words = self.again(folder)
                if code == (-number if number == signal.SIGKILL else 128 + number):
                    stopped += 1
                    self.counts[name] += 1
                    self.counts[f"{name} within an epoch or an evaluation"] += inside(folder)
                    told = f"to continue: bnn run --resume {folder}" in self.said.read_text()
                    told = told or number == signal.SIGKILL
                    self.counts["WRONG: stops without a word"] += not told
                elif code != -number:  # it reached a run that did not train yet, or any more
                    self.counts[f"WRONG: exit code {code}"] += 1
                    break
            self.compare(folder)

    def _stopped(self, words: list[str], number: int, folder: Path, wanted: bool) -> int:
        file = folder / "checkpoint" / "state.pt"
        before = file.stat().st_ino if file.exists() else None
        process = start(words, self.said)
        while process.is_alive() and (not file.exists() or file.stat().st_ino == before):
            time.sleep(0.01)  # until it trains
        if wanted:
            process.join(self.draw.uniform(0, self.seconds / 2))
            if process.is_alive():
                os.kill(process.pid, number)
        process.join()
        return process.exitcode

    def damage(self, times: int) -> None:
        """Damage the newest checkpoint of a run that was stopped, so many times, and resume it."""
        stopped = self.folder / "stopped"
        while not (stopped / "checkpoint" / "previous.pt").exists():
            shutil.rmtree(stopped, ignore_errors=True)
            self._stopped(self.new("stopped"), signal.SIGTERM, stopped, True)
        for _ in range(times):
            folder = shutil.copytree(stopped, self.folder / "damaged")
            file = folder / "checkpoint" / "state.pt"
            file.write_bytes(self._damaged(file.read_bytes()))
            code = run(self.again(folder), self.said)
            said = self.said.read_text()
            if code == 0 and "goes on from the checkpoint before it" in said:
                self.counts["damages told, and gone on from the one before"] += 1
                self.compare(folder)
            else:
                refused = code == 2 and "state.pt" in said
                self.counts["damages refused" if refused else "WRONG: damages accepted"] += 1
                shutil.rmtree(folder)

    def _damaged(self, content: bytes) -> bytes:
        changed, place = bytearray(content), self.draw.randrange(len(content))
        if self.draw.random() < 0.5:
            changed[place] ^= 1 << self.draw.randrange(8)
        else:
            page = place - place % PAGE
            changed[page : page + PAGE] = bytes(len(changed[page : page + PAGE]))
        return self._damaged(content) if changed == content else bytes(changed)


def main(words: Sequence[str] | None = None) -> int:
    """Print what happened to runs and what became of them; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few of each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    damages, kills, stops = (4, 2, 1) if given.short else (150, 20, 5)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, learner in enumerate(LEARNERS[: 1 if given.short else None]):
            bench = Bench(Path(folder) / str(number), learner, given.seed + number)
            bench.stop(signal.SIGKILL, kills)
            bench.stop(signal.SIGTERM, stops)
            bench.stop(signal.SIGHUP, stops)
            bench.damage(damages)
            counts += bench.counts
    for what, count in sorted(counts.items()):
        print(f"{count:5} {what}")
    return int(any(what.startswith("WRONG") for what in counts))


if __name__ == "__main__":
    sys.exit(main())
