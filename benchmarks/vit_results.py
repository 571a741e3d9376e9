"""Binary vision transformers on CIFAR-10: the tables of docs/results/vit.md.

    BNNLAB_DATA=... python benchmarks/vit_results.py [--run PART ...] [--seeds 0 1] [--only TEXT]

Parts are `continual` (five tasks of two classes, three nets, five coefficients m, class- and
task-incremental), `slow` (m = 0 and a tenth of the learning rate for binary weights, to compare
with), `single` (one task of ten classes) and `rules`. Tables are printed from the
results that are kept in docs/results/vit, one file a run; --run makes those that are missing first,
of which --only takes those with a text in their name. Learning rates are chosen first, for all runs
of a part, by the accuracy on held-out training images of one task, with a seed that is not shown.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tables import result_of, show
from tuning import CIFAR10, held_out_accuracy

KEPT = Path(__file__).parents[1] / "docs" / "results" / "vit"
NETS = ("vit", "hybrid", "bvit")
COEFFICIENTS = (0.0, 0.5, 1.0, 1.35, "auto")
SLOW = "slow"
"""Name of the coefficient 0 with a tenth of the learning rate for binary weights."""
RULES: dict[str, dict[str, Any]] = {
    "bp": {"name": "bp"},
    "dfa": {"name": "dfa"},
    "drtp": {"name": "drtp"},
    "dfa-norm": {"name": "dfa", "per": "channel", "at": "norm"},
    "drtp-norm": {"name": "drtp", "per": "channel", "at": "norm", "targets": "centred"},
    "last-layer-alone": {"name": "pepita", "gain": 0.0},
}
RATES = (0.0003, 0.001, 0.003, 0.01)
FASTER = 0.001
"""For `bvit`, whose rate was chosen after one epoch: that of the other nets."""
SIZES = {"dim": 64, "depth": 4, "heads": 4}
RUNS = Path("runs")
"""Where the folders of runs that teach are."""
SPLIT = {**CIFAR10, "name": "split-image-folder", "tasks": 5}


def rate(net: str) -> float:
    """Return the learning rate that did best on held-out images after one epoch."""
    found = []
    for lr in RATES:
        given = {"optimizer": metaplastic(net, 0.0, lr), "model": {"name": net, **SIZES}}
        file = KEPT / "tuning" / f"{net}-{lr:g}.json"
        accuracy = held_out_accuracy(file, CIFAR10, rule="bp", epochs=1, batch_size=50, **given)
        found.append((accuracy, lr))
    return max(found)[1]


def metaplastic(net: str, m: float | str, lr: float) -> dict[str, Any]:
    """Return `meta` for a net."""
    weights = "real" if net == "vit" else "binary"
    return {"name": "meta", "lr": lr, "m": m, "weights": weights}


def five_tasks(incremental: str, net: str, optimizer: dict[str, Any]) -> dict[str, Any]:
    """Return what a run on five tasks is given."""
    stream = {**SPLIT, "incremental": incremental}
    given = {"rule": "bp", "model": {"name": net, **SIZES}, "stream": stream}
    return {**given, "optimizer": optimizer, "epochs": 1, "batch_size": 50}


def continual(_: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs on five tasks."""
    for incremental in ("class", "task"):
        for m in COEFFICIENTS:
            for net in NETS:
                optimizer = metaplastic(net, m, rate(net))
                yield f"{incremental}-{net}-{m}", five_tasks(incremental, net, optimizer)


def slow(_: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs whose binary weights are not metaplastic, but slow."""
    for net in ("hybrid", "bvit"):
        optimizer = metaplastic(net, 0.0, rate(net) / 10) | {"real_lr": rate(net)}
        yield f"task-{net}-{SLOW}", five_tasks("task", net, optimizer)


def single(seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs on one task of all classes; the first one teaches another."""
    stream = {**CIFAR10, "augment": "cifar"}
    teacher = f"single-vit-{seed}"
    distill = {"name": "distill", "teacher": str(RUNS / teacher)}
    for name, net, rule, lr, more in (
        ("vit", "vit", "bp", rate("vit"), {"out": RUNS, "name": teacher}),
        ("bvit", "bvit", "bp", rate("bvit"), {}),
        (f"bvit-lr-{FASTER}", "bvit", "bp", FASTER, {}),
        ("hybrid", "hybrid", "bp", rate("hybrid"), {}),
        ("bvit-distilled", "bvit", distill, rate("bvit"), {}),
    ):
        given = {"rule": rule, "model": {"name": net, **SIZES}, "stream": stream}
        optimizer = {"name": "adam", "lr": lr}
        more = {**more, "optimizer": optimizer, "epochs": 10, "batch_size": 50}
        yield f"single-{name}", {**given, **more}


def rules(_: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs of each rule on one task, with the angles of their gradients."""
    for net in ("vit", "bvit"):
        for name, rule in RULES.items():
            given = {"rule": rule, "model": {"name": net, **SIZES}, "stream": CIFAR10}
            optimizer = {"name": "adam", "lr": 0.001}
            more = {"epochs": 2, "batch_size": 50, "diagnose": rule["name"] != "pepita"}
            yield f"rules-{net}-{name}", {**given, "optimizer": optimizer, **more}


PARTS = {"continual": continual, "slow": slow, "single": single, "rules": rules}


def kept(name: str) -> list[dict[str, Any]]:
    """Return a run's results, of all its seeds."""
    return [json.loads(file.read_text()) for file in sorted(KEPT.glob(f"{name}-[0-9].json"))]


def print_table(title: str, *columns: str, rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def of(results: list[dict[str, Any]], key: str) -> str:
    """Return a figure of each seed."""
    return show([each[key] for each in results])


def outcome(results: list[dict[str, Any]]) -> list[str]:
    """Return what five tasks left."""
    newest = show([each["accuracy"][-1][-1] for each in results])
    flips = [share for each in results if (share := each["flips"][-1]) is not None]
    scores = (of(results, key) for key in ("average_accuracy", "forgetting", "learning_accuracy"))
    return [*scores, newest, show(flips)]


def effect(results: list[dict[str, Any]], without: list[dict[str, Any]]) -> list[str]:
    """Return what a coefficient changed, seed by seed, from m = 0."""
    plain = {each["seed"]: each for each in without}
    pairs = [(each, plain[each["seed"]]) for each in results if each["seed"] in plain]
    keys = ("average_accuracy", "forgetting", "learning_accuracy")
    return [show([a[key] - b[key] for a, b in pairs]) for key in keys]


def matrix(result: dict[str, Any]) -> list[str]:
    """Return the accuracies on the tasks learned, after each task."""
    rows = enumerate(result["accuracy"])
    return [" ".join(f"{100 * value:.0f}" for value in row[: task + 1]) for task, row in rows]


def print_continual() -> None:
    """Print what five tasks left, what m changed, and all accuracy matrices."""
    for incremental in ("class", "task"):
        runs = [
            (net, m, results)
            for net in NETS
            for m in (*COEFFICIENTS, SLOW)
            if (results := kept(f"{incremental}-{net}-{m}"))
        ]
        without = {net: results for net, m, results in runs if m == 0}
        columns = ("average", "forgetting", "when learned")
        print_table(
            f"{incremental}-incremental, %",
            *("net", "m", *columns, "last task", "flips in the last task"),
            rows=[(net, str(m), *outcome(results)) for net, m, results in runs],
        )
        print_table(
            f"{incremental}-incremental, change from m = 0, %",
            *("net", "m", *columns),
            rows=[(net, str(m), *effect(found, without[net])) for net, m, found in runs if m],
        )
        print_table(
            f"{incremental}-incremental, accuracy on each task, %",
            *("net", "m", "seed", *(f"after task {number}" for number in range(1, 6))),
            rows=[
                (net, str(m), str(result["seed"]), *matrix(result))
                for net, m, results in runs
                for result in results
            ],
        )


def print_single() -> None:
    """Print the accuracy on ten classes of each net, and of each rule the angles."""
    named = ((name, results) for name, _ in single(0) if (results := kept(name)))
    print_table(
        "one task, test accuracy, %",
        *("net", "accuracy", "minutes"),
        rows=[
            (name, of(found, "average_accuracy"), show([r["seconds"] / 60 for r in found], 1, 0))
            for name, found in named
        ],
    )


def print_rules() -> None:
    """Print the accuracy under each rule, and the angles between its and the exact gradients."""
    rows = []
    for name, _ in rules(0):
        if results := kept(name):
            ends = [each["diagnosis"][-1] for each in results if each["diagnosis"]]
            segments = zip(*([found["angle"] for found in end] for end in ends), strict=True)
            angles = "; ".join(show(angles, 1, 0) for angles in segments)
            rows.append((name, of(results, "average_accuracy"), angles))
    print_table(
        "rules, test accuracy, %, and angles, degrees",
        *("net and rule", "accuracy", "angles from the first segment to the last"),
        rows=rows,
    )


def main() -> None:
    """Run what is asked for, then print what is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs="*", choices=PARTS, metavar="PART")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for part in arguments.run or ():
        for seed in arguments.seeds:
            for name, given in PARTS[part](seed):
                if arguments.only in name:
                    result_of(f"{name}-{seed}", KEPT, **given, seed=seed, device="cpu")
    print_continual()
    print_single()
    print_rules()


if __name__ == "__main__":
    main()
