"""Objectives: their losses, draws and predictions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.objectives import Classes
from bnnlab.interfaces.prediction import Prediction
from broken import found_by


@found_by("test_it_says_what_it_is", "score is empty")
@dataclass(frozen=True)
class Scoreless(Classes):
    """Does not say what its score is."""

    score = " "


@found_by("test_it_equals_its_copies", "make it a frozen dataclass")
class Different(Classes):
    """Is equal to itself alone."""

    __eq__, __hash__ = object.__eq__, object.__hash__


@found_by("test_the_loss_is_the_mean_of_its_losses", "is not the mean of losses")
@dataclass(frozen=True)
class Sums(Classes):
    """Adds the losses of a batch up."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.losses(outputs, targets).sum()


@found_by("test_a_row_has_the_loss_that_it_has_alone", "a row has another loss")
@dataclass(frozen=True)
class Compares(Classes):
    """Weighs each row by its share of the loss of all."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = super().losses(outputs, targets)
        return each * each / each.mean()


@found_by("test_draws_that_agree_are_as_one", "predicts something else")
@dataclass(frozen=True)
class AddsDraws(Classes):
    """Adds the logits of draws up."""

    def merge(self, outputs: Tensor) -> Tensor:
        return outputs.sum(0)


@found_by("test_what_it_draws_are_targets", "must be int64")
@dataclass(frozen=True)
class DrawsProbabilities(Classes):
    """Draws probabilities, which are no classes."""

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return outputs.softmax(-1)


@found_by("test_likelihoods_are_of_what_it_draws", "standard errors from 0")
@dataclass(frozen=True)
class DrawsByChance(Classes):
    """Draws classes whatever the outputs are."""

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(0, outputs.shape[-1], (len(outputs),), generator=generator)


class Unscored(Prediction):
    """Has no score."""

    def score(self) -> float:
        return float("nan")


@found_by("test_a_prediction_is_scored", "the score is not finite")
@dataclass(frozen=True)
class HasNoScore(Classes):
    """Predicts without a score."""

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        return Unscored(**vars(super().predict(outputs, targets, draws)))


class Hopeful(Prediction):
    """Takes everything for finite."""

    def is_finite(self) -> bool:
        return True


@found_by("test_outputs_that_are_not_finite_are_noticed", "of NaN is finite")
@dataclass(frozen=True)
class NoticesNothing(Classes):
    """Predicts NaN in silence."""

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        return Hopeful(**vars(super().predict(outputs, targets, draws)))


@found_by("test_a_prediction_splits_into_its_tasks", "split")
@dataclass(frozen=True)
class CountsNumbers(Classes):
    """Counts all that belongs to a row."""

    def rows(self, targets: Tensor) -> int:
        return 2 * len(targets)


@found_by("test_what_is_right_is_a_number_of_rows", "of 12 rows are right")
@dataclass(frozen=True)
class CountsWrong(Classes):
    """Counts rows below zero."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -1 - super().correct(outputs, targets)


@found_by("test_other_targets_are_refused", "of another dtype are not refused")
@dataclass(frozen=True)
class TakesAll(Classes):
    """Takes everything for a class."""

    def check(self, targets: Any, outputs: int) -> None:
        """Refuse nothing."""
