"""Peak memory and time of a learning rule's gradients on VGG19, against backpropagation.

    python benchmarks/memory.py [--model vgg19] [--side 32] [--batch 64] [--rounds 3] [--threads 2]

Memory is what torch's allocator has given out at most while a rule turns one batch into gradients:
activations, gradients and what lies between, beside the model's parameters, which are there before,
and the rule's own matrices, which are counted. On the CPU it is found from the profiler's record of
every allocation, on a GPU from the allocator's statistics.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import bnnlab
from bnnlab_testing.memory import peak_bytes

RULES: dict[str, dict[str, Any]] = {
    "bp": {"name": "bp"},
    "dfa": {"name": "dfa"},
    "dfa, recompute": {"name": "dfa", "recompute": True},
    "drtp": {"name": "drtp"},
    "fa": {"name": "fa"},
    "sign-symmetric": {"name": "sign-symmetric"},
    "kolen-pollack": {"name": "kolen-pollack"},
    "hsic": {"name": "hsic"},
    "pepita": {"name": "pepita"},
}


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long `work` takes."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def prepare(
    rule: dict[str, Any], arguments: argparse.Namespace, device: torch.device
) -> tuple[bnnlab.Model, Callable[[], object], int]:
    """Return the model, what is measured, and the bytes of the rule's own matrices."""
    shape = (3, arguments.side, arguments.side)
    model = bnnlab.create("model", arguments.model, input_shape=shape, classes=10).to(device)
    made = bnnlab.create("rule", rule["name"], model, **{k: rule[k] for k in rule if k != "name"})
    made.to(device)
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(arguments.batch, *shape, generator=draws).to(device)
    targets = (torch.arange(arguments.batch) % 10).to(device)

    own = sum(matrix.numel() * matrix.element_size() for matrix in made.buffers())
    return model, lambda: made.closure(model, (inputs, targets))(), own


def main() -> None:
    """Measure all rules in turn, several times, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vgg19")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    memory: dict[str, tuple[int, int, int]] = {}
    times: dict[str, list[float]] = {name: [] for name in RULES}
    for _ in range(arguments.rounds):
        for name, rule in RULES.items():
            model, work, own = prepare(rule, arguments, device)
            work()  # the first call warms caches up
            times[name].append(seconds(work, device))
            if name not in memory:
                model.zero_grad(set_to_none=True)  # or the peak would begin with freeing them
                parameters = sum(p.numel() * p.element_size() for p in model.parameters())
                memory[name] = (peak_bytes(work, device) + own, own, parameters)
                model.zero_grad(set_to_none=True)
    base = memory["bp"]
    print(
        f"{arguments.model}, {arguments.side}x{arguments.side}, batch {arguments.batch}; {device}"
    )
    print(f"parameters: {base[2] / 1e6:.0f} MB\n")
    print("| rule | peak MB | of it the rule's own | / bp | with parameters / bp | s | / bp |")
    print("|---|---|---|---|---|---|---|")
    for name, (peak, own, parameters) in memory.items():
        ratios = [mine / bp for mine, bp in zip(times[name], times["bp"], strict=True)]
        cells = [
            name,
            f"{peak / 1e6:.0f}",
            f"{own / 1e6:.0f}",
            f"{peak / base[0]:.2f}",
            f"{(peak + parameters) / (base[0] + base[2]):.2f}",
            f"{statistics.median(times[name]):.2f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
