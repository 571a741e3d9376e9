"""Binary vision transformers on CIFAR-10: the tables of docs/results/vit.md.

    BNNLAB_DATA=... python benchmarks/vit_results.py [--run PART ...] [--seeds 0 1] [--only TEXT]

Parts are `continual` (five tasks of two classes, three nets, five coefficients m, class- and
task-incremental), `single` (one task of ten classes) and `rules`. Tables are printed from the
results that are kept in docs/results/vit, one file a run; --run makes those that are missing first,
of which --only takes those with a text in their name. Learning rates are chosen per net by
the accuracy on held-out training images of one task, with a seed that is not shown.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tables import result_of, show
from tuning import CIFAR10, held_out_accuracy

KEPT = Path(__file__).parents[1] / "docs" / "results" / "vit"
NETS = ("vit", "hybrid", "bvit")
COEFFICIENTS = (0.0, 0.5, 1.0, 1.35, "auto")
RULES = ("bp", "dfa", "drtp")
RATES = (0.0003, 0.001, 0.003, 0.01)
SIZES = {"dim": 64, "depth": 4, "heads": 4}
LARGER = {"dim": 128, "depth": 6, "heads": 4}
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


def continual() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs on five tasks."""
    for incremental in ("class", "task"):
        for m in COEFFICIENTS:
            for net in NETS:
                stream = {**SPLIT, "incremental": incremental}
                model = {"name": net, **SIZES}
                given = {"rule": "bp", "model": model, "stream": stream}
                optimizer = metaplastic(net, m, rate(net))
                yield (
                    f"{incremental}-{net}-{m}",
                    {**given, "optimizer": optimizer, "epochs": 1, "batch_size": 50},
                )


def single() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs on one task of all classes."""
    for net, more in (("vit", {}), ("hybrid", {}), ("bvit", {}), ("bvit", {"attention": "binary"})):
        stream = {**CIFAR10, "augment": "cifar"}
        model = {"name": net, **LARGER, **more}
        optimizer = {"name": "adam", "lr": rate(net)}
        name = "-".join([net, *more])
        given = {"rule": "bp", "model": model, "stream": stream, "optimizer": optimizer}
        yield f"single-{name}", {**given, "epochs": 10, "batch_size": 100}


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the runs of each rule on one task, with the angles of their gradients."""
    for net in ("vit", "bvit"):
        for rule in (*RULES, {"name": "pepita", "gain": 0.0}):
            name = rule if isinstance(rule, str) else "last-layer-alone"
            given = {"rule": rule, "model": {"name": net, **SIZES}, "stream": CIFAR10}
            optimizer = {"name": "adam", "lr": 0.001}
            more = {"epochs": 2, "batch_size": 50, "diagnose": name in RULES}
            yield f"rules-{net}-{name}", {**given, "optimizer": optimizer, **more}


PARTS = {"continual": continual, "single": single, "rules": rules}


def line(name: str, results: list[dict[str, Any]]) -> str:
    """Return a row: continual ones have more tasks than one, the rules' their angles."""
    last = [each["accuracy"][-1] for each in results]
    cells = [name, results[0]["protocol"][:8], show([each["average_accuracy"] for each in results])]
    if len(last[0]) > 1:
        cells.append(show([row[-1] for row in last]))
        cells.append(show([each["learning_accuracy"] for each in results]))
        cells.append(show([each["forgetting"] for each in results]))
    elif results[0]["diagnosis"]:
        ends = [each["diagnosis"][-1] for each in results]
        of_segments = zip(*([found["angle"] for found in end] for end in ends), strict=True)
        cells.append("; ".join(show(angles, 1, 0) for angles in of_segments))
    cells.append(show([flips for each in results if (flips := each["flips"][-1]) is not None]))
    cells.append(show([each["seconds"] / 60 for each in results], 1, 0))
    return f"| {' | '.join(cells)} |"


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
            for name, given in PARTS[part]():
                if arguments.only in name:
                    result_of(f"{name}-{seed}", KEPT, **given, seed=seed, device="cpu")
    names = sorted({file.stem.rpartition("-")[0] for file in KEPT.glob("*-[0-9].json")})
    for name in names:
        files = sorted(KEPT.glob(f"{name}-[0-9].json"))
        print(line(name, [json.loads(file.read_text()) for file in files]))


if __name__ == "__main__":
    main()
