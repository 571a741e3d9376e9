"""Time of a prediction by bnnlab-runtime, against torch and ONNX Runtime on the float network.

    python benchmarks/inference.py [--rounds 30] [--threads 1 2] [--networks mlp-batch resnet18]

Binary weights and activations. Two measures: all contestants in turn, so that each finds the caches
full of what another one read; and in blocks of calls, where its own weights stay in the caches.
Printed: the size of each file, and what the machine allows one thread for the words of bits: the
time to read the packed weights from memory, and that of one popcount instruction a cycle for an
image; the median times in turn, and the median (with quartiles) over rounds of the ratio of torch's
time to that of the others. `/ limit` is the time of the runtime over the larger of the two limits.
ONNX Runtime is left out where it is not installed.
"""

import argparse
import copy
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step import race
from torch import Tensor, nn

import bnnlab
import bnnlab_runtime
from bnnlab import Examples, Model, Sign, Task
from bnnlab_export.exporting import write
from bnnlab_export.source import Source

IMAGE, PHOTO = (1, 28, 28), (3, 32, 32)
NETWORKS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "mlp-batch": ("mlp", IMAGE, {"hidden": [2048, 2048], "norm": "batch"}),
    "mlp-layer": ("mlp", IMAGE, {"hidden": [2048, 2048], "norm": "layer"}),
    "vgg-binaryconnect": ("vgg-binaryconnect", PHOTO, {"activations": "binary"}),
    "resnet18": ("resnet18", PHOTO, {}),
}
BATCHES = (1, 64)
BLOCK = 0.05
"""Seconds of torch's calls in a block, which has one call at least."""
MEAN, STD = torch.tensor(33.3), torch.tensor(78.6)
POPCOUNTS = {"avx512_vpopcntdq": 8, "popcnt": 1}
"""Words of 64 bits that an instruction counts, by the flag of the processor that has it."""


class Where(nn.Module):
    """The sign, as ONNX has it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return -1 and +1."""
        return torch.where(x >= 0, 1.0, -1.0)


def onnx(model: Model, x: Tensor, file: Path, threads: int) -> Callable[[], Any] | None:
    """Return a prediction by ONNX Runtime, or None where it is not installed."""
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        return None
    import onnxruntime

    made = copy.deepcopy(model)
    for name, part in [*made.named_modules()]:
        if isinstance(part, Sign):
            made.set_submodule(name, Where())
    torch.onnx.export(made, (x,), file, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options)
    given = {"x": x.numpy()}
    return lambda: session.run(None, given)


def bandwidth() -> float:
    """Return the bytes that one thread reads from memory in a second."""
    array = np.ones(1 << 25)
    return array.nbytes / min(_seconds(array.sum) for _ in range(5))


def popcounts() -> tuple[float, str]:
    """Return the words that one thread can count in a second, and by which instruction."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = dict(line.split("\t: ", 1) for line in told.splitlines() if "\t: " in line)
    speed = 1e6 * float(lines.get("cpu MHz\t", lines.get("cpu MHz", 0)) or 0)
    flags = " ".join(line for line in told.splitlines() if line.startswith("flags")).split()
    name = next((each for each in POPCOUNTS if each in flags), "")
    return speed * POPCOUNTS.get(name, 0), f"{name} at {speed / 1e9:.2f} GHz"


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def exported(model: Model, shape: tuple[int, ...], file: Path) -> Tensor:
    """Write a model's file; return images as they are stored."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (max(BATCHES), *shape), generator=draws, dtype=torch.uint8)
    rows = torch.arange(len(images))
    part = Examples(images, rows % 10, rows, MEAN, STD)
    write(Source(model, shape, [Task(0, "random", part, part)]), file)
    return images


def measured(
    network: str, model: Model, images: Tensor, file: Path, threads: int, rounds: int, limit: float
) -> None:
    """Print the row of a network, of a number of threads and of images; `limit` in seconds."""
    runtime = bnnlab_runtime.load(file, threads=threads)
    torch.set_num_threads(threads)
    array, x = images.numpy(), (images.float() - MEAN) / STD
    given = {
        "torch": lambda: model(x),
        "onnxruntime": onnx(model, x, file.with_suffix(".onnx"), threads),
        "bnnlab-runtime": lambda: runtime.predict(array),
    }
    contestants = {name: call for name, call in given.items() if call}
    with torch.inference_mode():
        turns = race(contestants, rounds)
        calls = max(1, round(BLOCK / min(turns["torch"])))
        blocks = race({name: _block(call, calls) for name, call in contestants.items()}, rounds)
    by_torch, own = (statistics.median(turns[name]) for name in ("torch", "bnnlab-runtime"))
    others = _ratios(turns, "onnxruntime") if "onnxruntime" in contestants else ""
    far = f"{own / limit:.1f}" if limit else ""
    ratios = f"{_ratios(turns, 'bnnlab-runtime')} | {_ratios(blocks, 'bnnlab-runtime')}"
    print(f"| {network} | {threads} | {len(x)} | {1000 * by_torch:.4g} | {others} ", end="")
    print(f"| {1000 * own:.4g} | {far} | {ratios} |", flush=True)


def _block(call: Callable[[], Any], calls: int) -> Callable[[], None]:
    def block() -> None:
        for _ in range(calls):
            call()

    return block


def _ratios(seconds: dict[str, list[float]], name: str) -> str:
    """Return the median and the quartiles of the ratios of torch's time to another one."""
    ratios = [a / b for a, b in zip(seconds["torch"], seconds[name], strict=True)]
    low, middle, high = statistics.quantiles(ratios)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def limits(file: Path, per_second: float, words: float) -> tuple[float, float]:
    """Return the seconds in which the machine reads the bits of a network, and counts them."""
    steps = bnnlab_runtime.load(file).steps
    packed = sum(each.bytes for each in steps if each.word_operations)
    operations = sum(each.word_operations for each in steps)
    return packed / per_second, operations / words if words else 0.0


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=[*NETWORKS])
    arguments = parser.parse_args()
    per_second, (words, how) = bandwidth(), popcounts()
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}; one thread:")
    print(f"{per_second / 1e9:.1f} GB/s, {words / 1e9:.1f} G words/s ({how})\n")
    print(f"| network | bytes | state_dict / it | us to read | us to count |\n{5 * '|---'}|")
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for network in arguments.networks:
            name, shape, options = NETWORKS[network]
            model = bnnlab.create("model", name, input_shape=shape, classes=10, **options).eval()
            file = Path(folder) / f"{network}.bnn"
            images = exported(model, shape, file)
            size, whole = file.stat().st_size, sum(it.numel() for it in model.state_dict().values())
            reading, counting = limits(file, per_second, words)
            made[network] = model, images, file, reading, counting
            print(f"| {network} | {size:,} | {4 * whole / size:.1f} ", end="")
            print(f"| {1e6 * reading:.0f} | {1e6 * counting:.0f} |")
        print(
            "\n| network | threads | batch | torch, ms | torch / onnxruntime | runtime, ms ", end=""
        )
        print(f"| / limit | torch / it, in turn | in blocks |\n{9 * '|---'}|")
        for network, (model, images, file, reading, counting) in made.items():
            for threads, batch in product(arguments.threads, BATCHES):
                limit, stored = max(reading, batch * counting), images[:batch]
                measured(network, model, stored, file, threads, arguments.rounds, limit)


if __name__ == "__main__":
    main()
