"""Bop in float64 NumPy, algorithm 1 of Helwegen et al., and the comparison with it."""

import numpy as np

from bnnlab import Model
from bnnlab_bop.optimizer import Bop
from bnnlab_testing.equations import apart, float64, make_closure

STEPS = 25


FORMS = ("average", "accumulator")


class Paper:
    """Algorithm 1 for one array, with the published staircase for gamma."""

    def __init__(self, w: np.ndarray, gamma: float, tau: float, decay: float, every: int) -> None:
        self.w, self.m = w, np.zeros_like(w)
        self.gamma, self.tau, self.decay, self.every = gamma, tau, decay, every
        self.t = self.flips = 0
        # How near each weight's |m| ever came to tau, relative to the largest |m|.
        self.margin = np.full_like(w, np.inf)

    def step(self, g: np.ndarray) -> None:
        gamma = self.gamma * self.decay ** (self.t // self.every)
        self.t += 1
        self.m = (1 - gamma) * self.m + gamma * g
        largest = np.abs(self.m).max() or 1.0
        self.margin = np.minimum(self.margin, np.abs(np.abs(self.m) - self.tau) / largest)
        flip = (np.abs(self.m) > self.tau) & (np.sign(self.m) == np.sign(self.w))
        self.flips += int(flip.sum())
        self.w = np.where(flip, -self.w, self.w)


class Staircase:
    """A learning rate that is multiplied by `decay` after every so many steps."""

    def __init__(self, w: np.ndarray, lr: float, decay: float = 1.0, every: int = 1) -> None:
        self.w, self.start, self.decay, self.every, self.t = w, lr, decay, every, 0
        self.m, self.v = np.zeros_like(w), np.zeros_like(w)

    @property
    def lr(self) -> float:
        return self.start * self.decay ** ((self.t - 1) // self.every)


class PaperDescent(Staircase):
    """Gradient descent for one array."""

    def step(self, g: np.ndarray) -> None:
        self.t += 1
        self.w = self.w - self.lr * g


class PaperAdam(Staircase):
    """Kingma and Ba, algorithm 1, for one array."""

    def step(self, g: np.ndarray) -> None:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.w = self.w - self.lr * m / (np.sqrt(v) + 1e-8)


def compare(
    model: Model, optimizer: Bop, papers: dict[str, Paper | Staircase], tolerance: float
) -> None:
    """Train for some steps; each parameter must go as in the paper with the same gradients."""
    for step in range(STEPS):
        optimizer.step(make_closure(model, step))
        for name, parameter in model.named_parameters():
            paper = papers[name]
            assert parameter.grad is not None
            paper.step(float64(parameter.grad))
            if isinstance(paper, Paper):
                assert parameter.abs().eq(1).all(), f"{name} is not binary after step {step}"
                sure = paper.margin > tolerance
                assert sure.mean() > 0.98, f"{name}: nearly all weights must be compared"
                assert np.array_equal(float64(parameter)[sure], paper.w[sure]), (name, step)
    for name, parameter in model.named_parameters():
        paper, found = papers[name], float64(parameter)
        if isinstance(paper, Paper):
            assert paper.flips > 0, f"{name}: nothing was compared"
            average = optimizer.param_groups[0]["form"] == "average"
            kept = float64(optimizer.state[parameter]["m" if average else "a"])
            found, wanted = kept * (1 if average else paper.gamma), paper.m
        else:
            wanted = paper.w
        assert apart(found, wanted) < tolerance, name
