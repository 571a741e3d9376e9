"""Time of one training step, against its matrix products and a hand-written PyTorch loop.

    python benchmarks/step.py [--rounds 60] [--threads 2]

Same net (binary weights and sign activations, layer norm, fan-in scale), same batch of 100, all
contestants in turn within every round, so that a machine that changes its speed changes it for
all. Printed: the median time of each, and the median over rounds of its ratio to the matrix
products and to the hand-written loop of the same round.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnlab

BATCH = 100


class HandWritten(nn.Module):
    """What one writes without a library: latent weights, and signs by custom functions."""

    class Sign(torch.autograd.Function):
        """sign with the saturating surrogate."""

        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            """Return the signs."""
            ctx.save_for_backward(x)
            return torch.where(x >= 0, 1.0, -1.0)

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            """Pass the gradient where |x| <= 1."""
            (x,) = ctx.saved_tensors
            return grad * (x.abs() <= 1)

    class StraightThrough(torch.autograd.Function):
        """sign with the identity as its gradient."""

        @staticmethod
        def forward(_, x: Tensor) -> Tensor:
            """Return the signs."""
            return torch.where(x >= 0, 1.0, -1.0)

        @staticmethod
        def backward(_, grad: Tensor) -> Tensor:
            """Pass the gradient."""
            return grad

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.latent = nn.ParameterList(
            [nn.Parameter(torch.empty(b, a).uniform_(-0.05, 0.05)) for a, b in pairwise(sizes)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D) to logits (B, K)."""
        for latent in self.latent:
            x = F.linear(x, self.StraightThrough.apply(latent)) / latent.shape[1] ** 0.5
            if latent is not self.latent[-1]:
                x = self.Sign.apply(F.layer_norm(x, x.shape[1:]))
        return x


def hand_written(sizes: list[int], x: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a step of the hand-written loop with torch's fused Adam."""
    model = HandWritten(sizes)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def ours(rule: str, optimizer: str, sizes: list[int], x: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a step of bnnlab."""
    model = bnnlab.create(
        "model", "mlp", input_shape=(sizes[0],), classes=sizes[-1], hidden=sizes[1:-1]
    )
    learning = bnnlab.create("rule", rule, model)
    updating = bnnlab.create("optimizer", optimizer, model, lr=0.005)
    return lambda: updating.step(learning.closure(model, (x, y)))


def products(sizes: list[int]) -> Callable[[], None]:
    """Return the matrix products of a step alone: forward, weights' and inputs' gradients."""
    pairs = list(pairwise(sizes))
    inputs = [torch.randn(BATCH, a) for a, _ in pairs]
    errors = [torch.randn(BATCH, b) for _, b in pairs]
    weights = [torch.randn(b, a) for a, b in pairs]

    def step() -> None:
        for layer, (x, e, w) in enumerate(zip(inputs, errors, weights, strict=True)):
            x @ w.T
            e.T @ x
            if layer:  # nothing needs the gradient of the images
                e @ w

    return step


def race(contestants: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round, after three rounds of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 3):
        for name, step in contestants.items():
            started = time.perf_counter()
            step()
            if round_ >= 3:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.rounds} rounds")
    for sizes in ([784, 512, 512, 10], [784, 2048, 2048, 10]):
        x, y = torch.randn(BATCH, sizes[0]), torch.randint(0, sizes[-1], (BATCH,))
        seconds = race(
            {
                "matrix products": products(sizes),
                "hand-written loop": hand_written(sizes, x, y),
                "bp + adam": ours("bp", "adam", sizes, x, y),
                "bp + sgd": ours("bp", "sgd", sizes, x, y),
                "bp + meta": ours("bp", "meta", sizes, x, y),
                "dfa + meta": ours("dfa", "meta", sizes, x, y),
            },
            arguments.rounds,
        )
        print(f"\n{'-'.join(map(str, sizes)):24}{'ms':>8}{'/ products':>12}{'/ hand':>9}")
        for name, times in seconds.items():
            ratios = [
                statistics.median(a / b for a, b in zip(times, seconds[other], strict=True))
                for other in ("matrix products", "hand-written loop")
            ]
            median = 1000 * statistics.median(times)
            print(f"{name:24}{median:8.2f}{ratios[0]:12.2f}{ratios[1]:9.2f}")


if __name__ == "__main__":
    main()
