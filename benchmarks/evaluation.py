"""How much of a run its evaluation takes, and how its files grow with the tasks.

    python benchmarks/evaluation.py [--tasks 10] [--rounds 5] [--threads 1]

Tasks are orders of the pixels of random images, 6,000 to learn and 1,000 to test, as many of each
as a tenth of MNIST; 784-512-512-10, two epochs, batches of 100. A run of `--tasks` tasks is timed
with `evaluate = all`, and from it the time of a task and of a test part; from these come the shares
of longer runs. Times are those that the process has on its processors. Files are those of runs of
so many tiny tasks.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn.metrics import brier_score_loss, roc_auc_score

import bnnlab
from bnnlab import Examples, Task, TaskStream
from bnnlab.engine import evaluation
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.scoring import Scorer
from bnnlab.interfaces.evaluations import Evaluations
from bnnlab.interfaces.prediction import Prediction
from bnnlab.nn import linear
from bnnlab.storage.checkpoint import CHECKPOINT
from bnnlab_analysis import uncertainty

LONG = (50, 100, 200)
SCHEDULES = {"all": Evaluations(), "last:5": Evaluations(last=5, forward=False)}


class Permuted(TaskStream):
    """Random images, each task with another order of their pixels."""

    input_shape, classes = (1, 28, 28), 10

    def __init__(self, tasks: int, train: int, test: int) -> None:
        g = torch.Generator().manual_seed(0)
        self.tasks, self.parts = tasks, torch.arange(train + test).split([train, test])
        size = (train + test, *self.input_shape)
        self.images = torch.randint(0, 256, size, dtype=torch.uint8, generator=g)
        self.labels = torch.randint(0, 10, (train + test,), generator=g)
        self.scales = torch.tensor([[[33.0]]]), torch.tensor([[[78.0]]])

    def __len__(self) -> int:
        return self.tasks

    def __getitem__(self, index: int) -> Task:
        if not 0 <= index < self.tasks:
            raise IndexError(index)
        order = torch.randperm(784, generator=torch.Generator().manual_seed(index))
        data = self.images, self.labels
        train, test = (Examples(*data, rows, *self.scales, order) for rows in self.parts)
        return Task(index, f"order {index}", train, test)

    def protocol(self) -> dict[str, Any]:
        """Return what there is to know."""
        return {"orders": self.tasks}


def cells(schedule: Evaluations, tasks: int) -> int:
    """Return how many test parts are scored."""
    ahead = 2 * tasks - 1 if schedule.forward else 0  # the untrained model, and each next task
    return ahead + sum(len(schedule.after(task, tasks)) for task in range(tasks))


def timed(**said: Any) -> tuple[float, float]:
    """Return the seconds of a run once it is prepared, and those of its evaluation."""
    spent = {"run": 0.0, "score_untrained": 0.0, "score_after": 0.0}

    def clocked(kind: type, name: str) -> Any:
        method = getattr(kind, name)

        def call(*given: Any, **more: Any) -> Any:
            started = time.process_time()
            answer = method(*given, **more)
            spent[name] += time.process_time() - started
            return answer

        return mock.patch.object(kind, name, call)

    with (
        clocked(Experiment, "run"),
        clocked(Scorer, "score_untrained"),
        clocked(Scorer, "score_after"),
    ):
        bnnlab.run(**said)
    whole = spent.pop("run")
    return whole, sum(spent.values())


def shares(optimizer: dict[str, Any], tasks: int) -> None:
    """Print how much of a run is evaluation."""
    stream = Permuted(tasks, 6000, 1000)
    said: dict[str, Any] = {"rule": "bp", "optimizer": optimizer, "epochs": 2}
    said["model"] = {"name": "mlp", "hidden": [512, 512]}
    whole, spent = timed(stream=stream, **said)
    test, task = spent / cells(SCHEDULES["all"], tasks), (whole - spent) / tasks
    for name, schedule in SCHEDULES.items():
        found = [test * cells(schedule, n) for n in LONG]
        told = [f"{its / (its + task * n):.0%}" for its, n in zip(found, LONG, strict=True)]
        row = [optimizer["name"], name, f"{1e3 * test:.0f} ms", f"{1e3 * task:.0f} ms", *told]
        print(f"| {' | '.join(row)} |")
    direct, spent = timed(stream=stream, evaluate="last:5", **said)
    foreseen = test * cells(SCHEDULES["last:5"], tasks)
    print(f"\n{tasks} tasks, last:5: {spent:.1f} of {direct:.1f} s; {foreseen:.1f} s foreseen\n")


def sizes() -> None:
    """Print how the files of a run grow."""
    print("| file | evaluate | " + " | ".join(f"{n} tasks" for n in LONG) + " |")
    print("|---" * (2 + len(LONG)) + "|")
    found: dict[tuple[str, str], list[str]] = {}
    for name in SCHEDULES:
        for tasks in LONG:
            with tempfile.TemporaryDirectory() as folder:
                said: dict[str, Any] = {"epochs": 1, "model": {"name": "mlp", "hidden": [4]}}
                stream = Permuted(tasks, 20, 10)
                bnnlab.run(rule="bp", optimizer="adam", stream=stream, out=folder, name="run",
                           evaluate=name, **said)  # fmt: skip
                for file in ("metrics.jsonl", "result.json", str(CHECKPOINT)):
                    size = (Path(folder) / "run" / file).stat().st_size
                    found.setdefault((file, name), []).append(f"{size / 1e3:.0f} kB")
    for (file, name), told in sorted(found.items()):
        print(f"| {file} | {name} | {' | '.join(told)} |")


def side_by_side(ways: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Print the median time of ways to do the same, in turn within every round, and their ratio."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            way()
            spent[name].append(1e3 * (time.process_time() - started))
    (before, _), *_ = spent.items()
    for name, times in spent.items():
        pairs = [b / a for b, a in zip(spent[before], times, strict=True)]
        span = f"{statistics.median(times):.1f} ms ({min(times):.1f} to {max(times):.1f})"
        print(f"| {name} | {span} | {statistics.median(pairs):.2f} |")


def predictions(rounds: int) -> None:
    """Compare predictions without and with what makes them faster."""
    stream = Permuted(2, 100, 10_000)
    model = bnnlab.create(
        "model", "mlp", input_shape=(1, 28, 28), classes=10, hidden=[512, 512]
    ).eval()
    tasks = [*stream]

    def compare(name: str, optimizer: Any, place: Any, constant: str, without: int) -> None:
        def predict(value: int) -> None:
            with mock.patch.object(place, constant, value):
                for _ in evaluation.Evaluator(model, optimizer, False).predict(tasks, tasks):
                    pass

        said = {"without": without, "with": getattr(place, constant)}
        ways = {f"{name}, {word}": partial(predict, value) for word, value in said.items()}
        side_by_side(ways, rounds)

    adam = bnnlab.create("optimizer", "adam", model)
    bimu = bnnlab.create("optimizer", "bimu", model, test_draws=10)
    for name, optimizer in (("adam", adam), ("bimu, ten draws", bimu)):
        compare(f"{name}: products of signs in integers", optimizer, linear, "WORTH", 1 << 60)
    compare("bimu, ten draws: inputs prepared once", bimu, evaluation, "HELD_NUMBERS", 0)


def summaries(rounds: int) -> None:
    """Compare what a task's uncertainty takes with scikit-learn's functions and with ours."""

    def predicted(seed: int) -> Prediction:
        g = torch.Generator().manual_seed(seed)
        p = torch.randn(10_000, 10, generator=g).softmax(-1)
        y = torch.randint(0, 10, (10_000,), generator=g)
        return Prediction(p, torch.rand(10_000, generator=g), p.log()[range(10_000), y], y)

    def brier(p: np.ndarray, y: np.ndarray) -> float:
        return float(brier_score_loss(y, p, labels=np.arange(p.shape[1]), scale_by_half=False))

    def area(known: np.ndarray, unknown: np.ndarray) -> float:
        truth = np.repeat([0, 1], [len(known), len(unknown)])
        return float(roc_auc_score(truth, np.concatenate([known, unknown])))

    def theirs(unknown: Sequence[Prediction]) -> None:
        with mock.patch.multiple(uncertainty, brier=brier, area_under_roc=area):
            uncertainty.summary_of(known, *unknown)

    def compare(name: str, *unknown: Prediction) -> None:
        ways = {
            f"{name}: scikit-learn": lambda: theirs(unknown),
            f"{name}: ours": lambda: uncertainty.summary_of(known, *unknown),
        }
        side_by_side(ways, rounds)

    known = predicted(0)
    compare("uncertainty")
    compare("uncertainty, with detection of the unknown", predicted(1))


def main() -> None:
    """Time all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads\n")
    print("| part | median (range) | ratio |\n|---|---|---|")
    summaries(arguments.rounds)
    predictions(arguments.rounds)
    print("\n| optimizer | evaluate | a test part | learning a task | ", end="")
    print(" | ".join(f"{n} tasks" for n in LONG) + " |\n" + "|---" * (4 + len(LONG)) + "|")
    for optimizer in ({"name": "adam"}, {"name": "bimu"}):
        shares(optimizer, arguments.tasks)
    sizes()


if __name__ == "__main__":
    main()
