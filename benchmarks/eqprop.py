"""Time of a batch of equilibrium propagation, against the published loop.

    BNNLAB_DATA=... python benchmarks/eqprop.py [--hidden 1] [--threads 1] [--double]

The published loop (Laydevant et al., CVPR Workshops 2021), transcribed from its equations, computes
every product in every step, the gradients of the two phases apart, and then the averages and flips
in passes of their own. The other two are the recipe eqprop/fc-1h or fc-2h as it is, and with
`order=even-odd` and `tolerance=0.001`. All start from the same weights, after some batches by the
recipe, and see the same batches of 64 MNIST images and the same signs of beta, in turn within every
round. Printed: medians, the median over rounds of the ratio (smallest to largest), and in what the
weights differ at the end from those of the published loop. In float32 they do, since it subtracts
large sums; `--double` shows that the numbers are the same. `--profile` says where the recipe's own
time goes, or with `--fast` that of the faster settings.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import bnnlab
from bnnlab.registry.host import PluginHost
from bnnlab.registry.recipes import find_recipe

Step = Callable[[Tensor, Tensor], None]
FAST = {"order": "even-odd", "tolerance": 0.001}
RECIPES = {1: "eqprop/fc-1h", 2: "eqprop/fc-2h"}


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


def compared(stream: Any, settings: dict[str, Any], after: int, rounds: int, double: bool) -> None:
    """Train for some batches, then time the three in turn and print the table."""
    learners = [
        learner(settings, stream),
        learner(settings, stream, **FAST),
    ]
    model, rule, optimizer = learners[0]
    order = torch.randperm(60000, generator=torch.Generator().manual_seed(0))
    batches = stream[0].train.batches(64, order)
    for _ in range(after):
        optimizer.step(rule.closure(model, next(batches)))
    for other in learners[1:]:
        for mine, its in zip(other, learners[0], strict=True):
            mine.load_state_dict(its.state_dict())
    for each, *_ in learners if double else []:
        each.double()
    layers = [segment[-2] for segment in model.segments]
    weights = [layer.weight.detach() * layer.fixed_scale for layer in layers]
    published = Published(settings, weights, [layer.bias.detach().clone() for layer in layers])
    for i, layer in enumerate(layers):
        # the accumulator is m / gamma of the gradient, and m is that of its negative
        published.m[i] = -optimizer.state[layer.weight]["a"].to(layer.weight) * published.gamma[i]
    times: list[list[float]] = []
    for number in range(rounds + 1):
        x, y = next(batches)
        x = x.to(weights[0])
        row = []
        for model, rule, optimizer in learners:
            started = time.perf_counter()
            optimizer.step(rule.closure(model, (x, y)))
            row.append(1e3 * (time.perf_counter() - started))
        started = time.perf_counter()
        published.step(x.flatten(1), F.one_hot(y, 10).to(x), rule._sign())
        row.insert(0, 1e3 * (time.perf_counter() - started))
        if number:  # the first round touches fresh memory
            times.append(row)
    print("| | ms | published / this | weights that differ | largest difference of a bias |")
    print("|---|---|---|---|---|")
    names = ["published loop", "recipe", "recipe, even-odd, tolerance 0.001"]
    for column, name in enumerate(names):
        ratios = [row[0] / row[column] for row in times]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        ends = "| |"
        if column:
            own = [segment[-2] for segment in learners[column - 1][0].segments]
            pairs = list(zip(own, published.W, published.b, strict=True))
            differ = sum(int((layer.weight.sign() != w.sign()).sum()) for layer, w, _ in pairs)
            bias = max(float((layer.bias.detach() - b).abs().max()) for layer, _, b in pairs)
            ends = f"| {differ} of {sum(w.numel() for w in published.W)} | {bias:.1e} |"
        print(f"| {name} | {statistics.median(row[column] for row in times):.0f} | {spread} {ends}")


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
    parser.add_argument("--hidden", type=int, default=1, choices=RECIPES, help="hidden layers")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--after", type=int, default=100, help="batches before the first round")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--double", action="store_true", help="in float64")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = find_recipe(PluginHost(), RECIPES[arguments.hidden]).settings
    stream = make("stream", settings["stream"])
    print(f"torch {torch.__version__}, {arguments.threads} threads, {RECIPES[arguments.hidden]}\n")
    after, rounds = arguments.after, arguments.rounds
    if arguments.profile:
        profiled(stream, settings, after, rounds, arguments.fast)
    else:
        compared(stream, settings, after, rounds, arguments.double)


if __name__ == "__main__":
    main()
