"""What an objective owes of its likelihoods: they are those of the targets that it draws."""

import math

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab_testing.score_checks import DRAWN, ScoreChecks


class LikelihoodChecks(ScoreChecks):
    """The part of `ObjectiveContract` that is about likelihoods, which Fisher information needs."""

    def test_likelihoods_are_of_what_it_draws(self) -> None:
        """The mean gradient of log p(y) over y drawn from p is 0 (Fisher information needs it)."""
        _, grads = self._likelihoods()
        far = _far_from_zero(grads)
        assert far < 6, f"it is {far:.1f} standard errors from 0"

    def test_likelihoods_have_the_size_of_what_it_draws(self) -> None:
        """Along a direction, the mean squared slope of log p(y) is minus the mean curvature.

        So Fisher information, as of `ewc`, is neither too large nor too small. log p is the sum of
        what a target has, such as positions, and not their mean; of real numbers, it is minus half
        the squared error.
        """
        outputs, grads = self._likelihoods()
        way = torch.randn(grads.shape[1], generator=seeds.generator(0, "direction"))
        slopes = grads @ way
        try:
            (rows,) = torch.autograd.grad(slopes.sum(), outputs)
        except RuntimeError as error:
            pytest.skip(f"it has no second derivative: {error}")
        curvatures = rows.flatten(1) @ way
        if not curvatures.any():
            pytest.skip("its second derivative is 0")
        far = _far_from_zero((slopes.square() + curvatures)[:, None])
        assert far < 6, (
            f"it is {far:.1f} standard errors from that: is log_likelihoods() a mean in place of a "
            "sum, or is its p not that of sample()?"
        )

    def _likelihoods(self) -> tuple[Tensor, Tensor]:
        """Return equal outputs (DRAWN, *shape), and the gradient (DRAWN, n) of log p of a draw."""
        outputs = self.outputs(0, 1).expand(DRAWN, *self.shape).clone().requires_grad_()
        drawn = self.objective.sample(outputs.detach(), seeds.generator(0, "drawn"))
        log_p = self.objective.log_likelihoods(outputs, drawn)
        assert log_p.shape == (DRAWN,), f"log_likelihoods() has shape {tuple(log_p.shape)}"
        (grads,) = torch.autograd.grad(log_p.sum(), outputs, create_graph=True)
        return outputs, grads.flatten(1)


def _far_from_zero(values: Tensor) -> float:
    """Return by how many standard errors a mean over rows (N, n) is apart from 0, the largest."""
    values = values.detach()
    error = values.std(0) / math.sqrt(len(values))
    return float((values.mean(0) / error.clamp(min=1e-12)).abs().max())
