"""Time of a batch of equilibrium propagation, against the published loop.

    BNNLAB_DATA=... python benchmarks/eqprop.py [OTHER_CHECKOUT] [--hidden 1] [--double]

The published loop (Laydevant et al., CVPR Workshops 2021), transcribed from its equations, computes
every product in every step, the gradients of the two phases apart, and then the averages and flips
in passes of their own. The other two are the recipe eqprop/fc-1h or fc-2h as it is, and with
`order=even-odd` and `tolerance=0.001`. All start from the same weights, after some batches by the
recipe, and see the same batches of 64 MNIST images and the same signs of beta, in turn within every
round. Each checkout has a process of its own, and the rounds of the processes take turns.

Printed: medians, the median over rounds of the ratio (smallest to largest), the floor, and in what
the weights differ at the end from those of the published loop. In float32 they do, since it
subtracts large sums; `--double` shows that the numbers are the same. With one thread the times are
those of the processor. The floor is the time of the operations of the products at the rate of a
product of 1024x1024 matrices, and of the weights and averages that a batch must read and write,
both measured in the same process. `--profile` says where the recipe's own time goes, or with
`--fast` that of the faster settings.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import bnnlab
from bnnlab import seeds
from bnnlab.registry.host import PluginHost
from bnnlab.registry.recipes import find_recipe

FAST = {"order": "even-odd", "tolerance": 0.001}
RECIPES = {1: "eqprop/fc-1h", 2: "eqprop/fc-2h"}
NAMES = ["published loop", "recipe", "recipe, even-odd, tolerance 0.001"]
BATCH = 64


class Published:
    """The published loop; lists run from input to output."""

    def __init__(self, settings: dict[str, Any], weights: list[Tensor], b: list[Tensor]) -> None:
        rule, bop = settings["rule"], settings["optimizer"]
        self.T, self.K, self.beta = rule["free_steps"], rule["nudge_steps"], rule["beta"]
        self.W, self.b, self.m = weights, b, [torch.zeros_like(w) for w in weights]
        self.gamma, self.tau, self.lr = bop["gamma"], bop["threshold"], bop["real_lr"]

    def update(self, x: Tensor, s: list[Tensor], y: Tensor | None, beta: float) -> list[Tensor]:
        """Return all states after a step; s[0] is never used, as x takes its place."""
        below = [x, *s[:-1]]
        new = []
        for i, (w, b) in enumerate(zip(self.W, self.b, strict=True)):
            drive = below[i] @ w.T + b
            if i + 1 < len(s):
                drive = drive + s[i + 1] @ self.W[i + 1]
            state = drive.clamp(0, 1)
            if y is not None and i + 1 == len(s):
                state = (state + beta * (y - s[i])).clamp(0, 1)
            new.append(state)
        return new

    def step(self, x: Tensor, y: Tensor, sign: int) -> None:
        """Learn from a batch."""
        beta, n = sign * self.beta, len(x)
        s = [x.new_zeros(n, len(w)) for w in self.W]
        for _ in range(self.T):
            s = self.update(x, s, None, 0.0)
        nudged = list(s)
        for _ in range(self.K):
            nudged = self.update(x, nudged, y, beta)
        for i, w in enumerate(self.W):
            one, two = ([x, *states][i] for states in (nudged, s))
            gradient = (nudged[i].T @ one - s[i].T @ two) / (beta * n)
            self.m[i] = (1 - self.gamma[i]) * self.m[i] + self.gamma[i] * gradient
            flip = (-w.sign() * self.m[i] > self.tau).to(w.dtype)
            self.W[i] = w * (1 - 2 * flip)
            self.b[i] = self.b[i] + self.lr[i] * (nudged[i] - s[i]).sum(0) / (beta * n)


def make(kind: str, table: dict[str, Any], *model: Any, **given: Any) -> Any:
    """Return the component that a run file's table describes."""
    options = {key: value for key, value in table.items() if key != "name"}
    return bnnlab.create(kind, table["name"], *model, **options, **given)


def learner(settings: dict[str, Any], stream: Any, **changes: Any) -> tuple[Any, Any, Any]:
    """Return model, rule and optimizer of a recipe."""
    shape = {"input_shape": stream.input_shape, "classes": stream.classes}
    model = make("model", settings["model"], **shape)
    rule = make("rule", {**settings["rule"], **changes}, model)
    return model, rule, make("optimizer", settings["optimizer"], model)


def sign_of(rule: Any) -> int:
    """Return the sign of beta in the last batch."""
    draws = seeds.generator(int(rule.sign_seed), "sign", int(rule.batches))
    return int(torch.randint(0, 2, (), generator=draws)) * 2 - 1


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes; with one thread, the processor's time, whatever else runs."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    call()
    return clock() - started


class Contest:
    """The published loop and the two of a checkout, trained for some batches."""

    def __init__(self, stream: Any, settings: dict[str, Any], after: int, double: bool) -> None:
        self.learners = [learner(settings, stream), learner(settings, stream, **FAST)]
        model, rule, optimizer = self.learners[0]
        order = torch.randperm(60000, generator=torch.Generator().manual_seed(0))
        self.batches = stream[0].train.batches(BATCH, order)
        for _ in range(after):
            optimizer.step(rule.closure(model, next(self.batches)))
        for other in self.learners[1:]:
            for mine, its in zip(other, self.learners[0], strict=True):
                mine.load_state_dict(its.state_dict())
        for each, *_ in self.learners if double else []:
            each.double()
        layers = [segment[-2] for segment in model.segments]
        weights = [layer.weight.detach() * layer.fixed_scale for layer in layers]
        biases = [layer.bias.detach().clone() for layer in layers]
        its = self.published = Published(settings, weights, biases)
        for i, layer in enumerate(layers):
            # the accumulator is m / gamma of the gradient, and m is that of its negative
            its.m[i] = -optimizer.state[layer.weight]["a"].to(layer.weight) * its.gamma[i]
        self.round()  # it touches fresh memory
        for _, rule, _ in self.learners:
            rule.diagnostics()

    def round(self) -> list[float]:
        """Return the seconds of a batch of the published loop and of each learner."""
        x, y = next(self.batches)
        x = x.to(self.published.W[0])
        times = [
            seconds(lambda m=m, r=r, o=o: o.step(r.closure(m, (x, y)))) for m, r, o in self.learners
        ]
        sign = sign_of(self.learners[0][1])
        step = seconds(lambda: self.published.step(x.flatten(1), F.one_hot(y, 10).to(x), sign))
        return [step, *times]

    def ends(self) -> list[list[Any]]:
        """Return of each learner its mean free steps, the floor, and how its parameters differ."""
        dtype = self.published.W[0].dtype
        square, large = torch.rand(1024, 1024, dtype=dtype), torch.zeros(1 << 24, dtype=dtype)
        rate = 1024**3 / min(seconds(lambda: square @ square) for _ in range(20))
        moved = 2 * large.numel() / min(seconds(lambda: large.add_(1)) for _ in range(20))
        first, *rest = (w.numel() for w in self.published.W)
        found = []
        for model, rule, _ in self.learners:
            free = rule.diagnostics()["free_steps"]
            products = 2 * first + 2 * (free + rule.nudge_steps + 1) * sum(rest)
            numbers = 4 * (first + sum(rest))  # weights are read twice, averages read and written
            floor = BATCH * products / rate + numbers / moved
            own = [segment[-2] for segment in model.segments]
            pairs = list(zip(own, self.published.W, self.published.b, strict=True))
            differ = sum(int((layer.weight.sign() != w.sign()).sum()) for layer, w, _ in pairs)
            bias = max(float((layer.bias.detach() - b).abs().max()) for layer, _, b in pairs)
            found.append([floor, free, f"{differ} of {first + sum(rest)}", bias])
        return found


def serve(contest: Contest) -> None:
    """Answer lines of standard input with what the method of this name returns."""
    for line in sys.stdin:
        print(json.dumps(getattr(contest, line.strip())()), flush=True)


class Checkout:
    """A process that makes rounds with the code of a checkout."""

    def __init__(self, folder: Path) -> None:
        sources = [folder / "core", *sorted(folder.glob("plugins/*/src"))]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *sys.argv[1:]],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> list[Any]:
        """Return the answer of `serve`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer: list[Any] = json.loads(self.process.stdout.readline())
        return answer


def compared(folders: list[Path], rounds: int) -> None:
    """Time the checkouts in turn and print a table of each."""
    checkouts = [Checkout(folder) for folder in folders]
    times: list[list[list[float]]] = [[] for _ in folders]
    for _ in range(rounds):
        for rows, checkout in zip(times, checkouts, strict=True):
            rows.append(checkout.ask("round"))
    for folder, rows, checkout in zip(folders, times, checkouts, strict=True):
        ends = checkout.ask("ends")
        print(
            f"\n{folder.resolve().name}\n\n| | ms | published / this | floor, ms | free steps |"
            " weights that differ | largest difference of a bias |\n|---|---|---|---|---|---|---|"
        )
        for column, name in enumerate(NAMES):
            ratios = [row[0] / row[column] for row in rows]
            spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            rest = "| | |"
            if column:
                floor, free, differ, bias = ends[column - 1]
                rest = f"{1e3 * floor:.0f} | {free:.1f} | {differ} | {bias:.1e}"
            ms = 1e3 * statistics.median(row[column] for row in rows)
            print(f"| {name} | {ms:.0f} | {spread} | {rest} |")


def profiled(stream: Any, settings: dict[str, Any], after: int, rounds: int, fast: bool) -> None:
    """Train for some batches, and print the ten largest shares of the time of the next ones."""
    model, rule, optimizer = learner(settings, stream, **(FAST if fast else {}))
    batches = stream[0].train.batches(64, torch.arange(60000))
    for _ in range(after):
        optimizer.step(rule.closure(model, next(batches)))
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        for _ in range(rounds):
            optimizer.step(rule.closure(model, next(batches)))
    events = seen.key_averages(group_by_input_shape=True)
    whole = sum(event.self_cpu_time_total for event in events)
    print("| operation | shapes | calls a batch | share, % |\n|---|---|---|---|")
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total)[:10]:
        shapes = [shape for shape in event.input_shapes if shape]
        share = 100 * event.self_cpu_time_total / whole
        print(f"| {event.key} | {shapes} | {event.count / rounds:.1f} | {share:.1f} |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--hidden", type=int, default=1, choices=RECIPES, help="hidden layers")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--after", type=int, default=100, help="batches before the first round")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--double", action="store_true", help="in float64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    after, rounds = arguments.after, arguments.rounds
    recipe = RECIPES[arguments.hidden]
    if not (arguments.profile or arguments.serve):
        print(f"torch {torch.__version__}, {arguments.threads} threads, {recipe}")
        others = [arguments.other] if arguments.other else []
        compared([*others, Path(__file__).parents[1]], rounds)
        return
    settings = find_recipe(PluginHost(), recipe).settings
    stream = make("stream", settings["stream"])
    if arguments.serve:
        serve(Contest(stream, settings, after, arguments.double))
    else:
        profiled(stream, settings, after, rounds, arguments.fast)


if __name__ == "__main__":
    main()
