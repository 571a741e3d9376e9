"""What an objective owes to what is predicted: a score of all rows, of all draws, and no state."""

import copy
import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab import seeds
from bnnlab.interfaces.objective import Objective

ROWS = 12
DRAWN = 4000
"""Targets that are drawn to compare a mean with what it must be."""
MANY = 1447
"""Rows that are scored: a prime number, so that batches of equal size do not hold them all."""


class ScoreChecks:
    """The part of `ObjectiveContract` that is about scores and draws.

    Attributes:
        objective: The objective.
        shape: Of the outputs for one input, with K last: `(K,)`, or another that it asks for.
    """

    objective: ClassVar[Objective]
    shape: ClassVar[tuple[int, ...]] = (3,)

    def outputs(self, seed: int = 0, rows: int = ROWS) -> Tensor:
        """Return outputs (rows, *shape)."""
        return torch.randn(rows, *self.shape, generator=seeds.generator(seed, "outputs"))

    def targets(self, seed: int = 1) -> Tensor:
        """Return targets for the rows, drawn from other outputs."""
        return self.objective.sample(self.outputs(seed), seeds.generator(seed, "targets"))

    def test_a_score_is_of_all_rows_whatever_their_order(self) -> None:
        """Rows in another order have the same score, which a mean over batches of rows has not.

        A run predicts all rows of a task at once. Count over all, or take the mean over rows.
        """
        outputs, targets = self._many(1.0)
        scores = [self._score([outputs], targets)]
        for seed in range(3):
            order = torch.randperm(MANY, generator=seeds.generator(seed, "order"))
            scores.append(self._score([outputs[order]], targets[order]))
        _assert_one(scores, "with the rows in another order, the score is another")

    def test_a_better_prediction_has_a_higher_score(self) -> None:
        """Outputs that the targets were drawn from have a higher score than others.

        A run takes more for better, also in forgetting. Of an error return `1 - error`.
        """
        outputs, targets = self._many()
        right, wrong = (self._score([5 * each], targets) for each in (outputs, self._outputs(1)))
        assert right > wrong, (
            f"outputs that the targets were drawn from have the score {right:.3g}, others "
            f"{wrong:.3g}: let score() grow with what is predicted rightly"
        )

    def test_every_draw_counts_alike(self) -> None:
        """What three draws of the weights predict has the same score, whichever comes first.

        With a posterior, a prediction is the mean over all draws. Go through all of `outputs`, and
        divide by `draws`.
        """
        _, targets = self._many()
        a, b, c = (self._outputs(seed) for seed in range(3))
        scores = [self._score(each, targets) for each in ([a, b, c], [b, c, a], [c, a, b])]
        _assert_one(scores, "with the draws in another order, the score is another")

    def test_draws_are_merged_by_what_they_predict(self) -> None:
        """Targets drawn from merged outputs are, in the mean, those drawn from each of the outputs.

        It is checked where targets are classes, or yes and no. Merge probabilities, and return what
        stands for their mean: of classes the logarithm. The mean of logits predicts another.
        """
        each = 3 * self.outputs(0, 3)[:, None]
        merged, *others = map(self._drawn_from, (self.objective.merge(each), *each))
        apart = merged.mean(0) - torch.stack(others).mean((0, 1))
        variance = merged.var(0) + torch.stack(others).var(1).mean(0) / len(others)
        far = float((apart.abs() / (variance / DRAWN).sqrt().clamp(min=1e-12)).max())
        assert far < 6, f"what merge() predicts is {far:.1f} standard errors apart from that"

    def test_outputs_and_targets_are_left_as_they_are(self) -> None:
        """Whatever is computed of them, their numbers are the same after it.

        A rule, the metrics and probes look at the same tensors. Change a copy.
        """
        outputs, targets = self.outputs(), self.targets()
        before = outputs.clone(), targets.clone()
        for what in ("loss", "losses", "log_likelihoods", "correct"):
            getattr(self.objective, what)(outputs, targets)
            same = all(map(torch.equal, before, (outputs, targets)))
            assert same, f"{what}() writes into outputs or targets"
        self.objective.sample(outputs, seeds.generator(0, "drawn"))
        self.objective.merge(outputs[None])
        self.objective.predict([outputs], targets, 1).score()
        same = all(map(torch.equal, before, (outputs, targets)))
        assert same, "sample(), merge() or predict() writes into outputs or targets"

    def test_it_has_no_state(self) -> None:
        """Used once, it is equal to the copy that was made of it before.

        All tasks and probes use the same one. Keep in a prediction what is found for its rows.
        """
        before = copy.deepcopy(self.objective)
        if before != self.objective:
            pytest.skip("a copy of it is never equal")
        (outputs, targets), draws = (self.outputs(), self.targets()), seeds.generator(0, "drawn")
        self.objective.loss(outputs, targets)
        self.objective.merge(torch.stack([outputs] * 2))
        self.objective.sample(outputs, draws)
        self.objective.predict([outputs], targets, 1).score()
        assert self.objective == before, "it is another one after it was used"

    def _many(self, factor: float = 5.0) -> tuple[Tensor, Tensor]:
        """Return many outputs, and targets drawn from multiples of these: so they are surer."""
        outputs = self._outputs(0)
        return outputs, self.objective.sample(factor * outputs, seeds.generator(0, "targets"))

    def _outputs(self, seed: int) -> Tensor:
        return self.outputs(seed, MANY)

    def _score(self, outputs: list[Tensor], targets: Tensor) -> float:
        return self.objective.predict(outputs, targets, len(outputs)).score()

    def _drawn_from(self, outputs: Tensor) -> Tensor:
        """Return numbers (DRAWN, n) of targets drawn from the outputs (1, *shape) of one input.

        Of classes these are 0 and 1, for each whether it is drawn.
        """
        rows = outputs.expand(DRAWN, *self.shape)
        drawn = self.objective.sample(rows, seeds.generator(0, "drawn"))
        if self.objective.classes_in(drawn) is not None:
            drawn = F.one_hot(drawn, self.shape[-1])
        elif not bool(((drawn == 0) | (drawn == 1)).all()):
            pytest.skip("its targets are neither classes nor yes and no")
        return drawn.double().flatten(1)


def _assert_one(scores: list[float], message: str) -> None:
    """Check that scores are one, to rounding."""
    first = scores[0]
    same = all(math.isclose(first, each, rel_tol=1e-5, abs_tol=1e-6) for each in scores)
    assert same, f"{message}: {', '.join(f'{each:.6g}' for each in scores)}"
