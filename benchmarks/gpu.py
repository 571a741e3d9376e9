"""All components on one device: they work there and resume there, and how long their steps take.

    python benchmarks/gpu.py [--device cuda] [--limit 8]

First, every class of the plugins' contracts does on the device what it does on the simulated one
in the tests: a component learns, is evaluated, is interrupted and goes on bit for bit, on the
device, and moves to the CPU and back. Then training steps are timed, all in turn within every
round, and the waits for the device that CUDA reports in one are counted. Without `--device`, a GPU
if there is one. Rounds end after so many minutes in all. Exits with 1 where a component fails.
"""

import argparse
import itertools
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch

import bnnlab
from bnnlab import Examples, PluginHost, Task, TaskContext
from bnnlab_testing.device_checks import DeviceChecks
from bnnlab_testing.shipped import shipped

ROUNDS = 20
BATCH = 100
IMAGE, PHOTO = (1, 28, 28), (3, 32, 32)
WIDE: dict[str, Any] = {"hidden": [2048, 2048]}
REAL: dict[str, Any] = {**WIDE, "weights": "real"}
Part = tuple[str, dict[str, Any]]
PLAIN = ("adam", "sgd", "bop", "bayesbinn", "meta", "beakers", "ewc", "si")
RULES = ("fa", "sign-symmetric", "kolen-pollack", "dfa", "drtp", "hsic", "pepita", "sigprop-tl")
ONE_DRAW: dict[str, Any] = {"train_draws": 1, "batch_size": BATCH}
MLP: Part = ("mlp", WIDE)
PHOTO_MODELS = ("vgg-binaryconnect", "resnet18", "vit")
STEPS: list[tuple[str, Part, Part]] = [
    *(("bp", (name, {}), MLP) for name in PLAIN),
    ("bp", ("bimu", ONE_DRAW), MLP),
    *(("bp", (name, ONE_DRAW), ("mlp", REAL)) for name in ("mesu", "bgd")),
    *((rule, ("adam", {}), MLP) for rule in RULES),
    ("eqprop", ("bop", {}), ("eqprop-mlp", {"hidden": [2048]})),
    *(("bp", ("adam", {}), (name, {})) for name in PHOTO_MODELS),
]
"""Rule, optimizer and model of each step that is timed."""


def contracts() -> Iterator[type[DeviceChecks]]:
    """Yield what the plugins say of their rules, optimizers and models to the test kit."""
    offers = [
        (plugin, offer)
        for plugin in PluginHost().plugins
        for offer in (*plugin.components, *plugin.commands)
    ]
    its = shipped(offers)
    for each in (*its.first.values(), *its.others):
        if getattr(each, "kind", "") in ("rule", "optimizer", "model"):
            yield each


def try_out(device: torch.device) -> int:
    """Have all contracts work on the device; return how many fail."""
    fine, failed = 0, 0
    for each in contracts():
        try:
            each().work_on(device)
            fine += 1
        except pytest.skip.Exception as reason:
            print(f"skipped: {each.kind} {each.name} ({each.__name__}): {reason}")
        except (Exception, pytest.fail.Exception) as error:
            failed += 1
            print(f"FAILED: {each.kind} {each.name} ({each.__name__}): {error}")
    print(f"{fine} work and resume, {failed} fail\n")
    return failed


class Step(NamedTuple):
    """A training step on a batch of random images, and how often it may wait for the device."""

    make: Callable[[], torch.Tensor]
    waits: int


def step_of(rule: str, optimizer: Part, model: Part, device: torch.device) -> Step:
    """Return a training step."""
    shape = PHOTO if model[0] in PHOTO_MODELS else IMAGE
    net = bnnlab.create("model", model[0], input_shape=shape, classes=10, **model[1]).to(device)
    learning = bnnlab.create("rule", rule, net).to(device)
    updating = bnnlab.create("optimizer", optimizer[0], net, **optimizer[1])
    inputs = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    targets = (torch.arange(BATCH) % 10).to(device)
    part = Examples(inputs, targets, torch.arange(BATCH, device=device))
    context = TaskContext(Task(0, "random", part, part), net, learning, BATCH, 1)
    for each in (learning, updating):
        each.task_started(context)
    net.train()
    waits = learning.waits + updating.waits
    return Step(lambda: updating.step(learning.closure(net, (inputs, targets))), waits)


def seconds(step: Callable[[], object], device: torch.device) -> float:
    """Return how long a step takes, until the device has done it."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def waits_of(step: Callable[[], object], device: torch.device) -> str:
    """Return how often CUDA says that the host waits for it in a step."""
    if device.type != "cuda":
        return "?"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return str(sum("synchroniz" in str(each.message) for each in said))


def time_steps(device: torch.device, until: float) -> None:
    """Print the time of each step, its ratio to that of bp + adam, and its waits."""
    made = {
        f"{rule} + {optimizer[0]}, {model[0]}": step_of(rule, optimizer, model, device)
        for rule, optimizer, model in STEPS
    }
    times: dict[str, list[float]] = {name: [] for name in made}
    for round_ in itertools.count():
        if round_ > ROUNDS or (round_ > 1 and time.monotonic() > until):
            break
        for name, step in made.items():
            its = seconds(step.make, device)
            if round_:  # the first warms up
                times[name].append(its)
    first = next(iter(times.values()))
    print("| step | ms | / bp + adam | waits | declared |\n|---|---|---|---|---|")
    for name, its in times.items():
        ratio = statistics.median(a / b for a, b in zip(its, first, strict=True))
        low, median, high = (1000 * f(its) for f in (min, statistics.median, max))
        step = made[name]
        waits = f"{waits_of(step.make, device)} | {step.waits}"
        print(f"| {name} | {median:.2f} ({low:.2f} to {high:.2f}) | {ratio:.2f} | {waits} |")


def main() -> int:
    """Try all out, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--limit", type=float, default=8.0, help="minutes, 8 by default")
    arguments = parser.parse_args()
    device, started = torch.device(arguments.device), time.monotonic()
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
    is_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_cuda else platform.processor()
    threads = "" if is_cuda else f", {torch.get_num_threads()} threads"
    print(f"{device}: {name or platform.machine()}{threads}; torch {torch.__version__}")
    failed = try_out(device)
    print(f"{time.monotonic() - started:.0f} s so far\n")
    time_steps(device, started + 60 * (arguments.limit - 1))
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
