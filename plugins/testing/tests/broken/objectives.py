"""Objectives: their losses, draws and predictions."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import Classes, RealNumbers
from bnnlab.interfaces.prediction import Prediction, RealPrediction
from bnnlab_testing import ObjectiveContract
from broken import found_by, right


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


@found_by("test_it_equals_its_copies", "it has no hash .*unhashable type: 'list'.*tuples")
@dataclass(frozen=True)
class HasAList(Classes):
    """Has a list, of which there is no hash."""

    weights: list[float] = field(default_factory=lambda: [1.0, 1.0])


@found_by("test_it_has_no_state", "it is another one after it was used")
@dataclass(frozen=True, eq=False)
class Counts(Classes):
    """Counts what it has predicted."""

    seen: list[int] = field(default_factory=list)

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        self.seen.append(len(targets))
        return super().predict(outputs, targets, draws)


class ByBatches(Prediction):
    """Has the mean score of batches of ten."""

    def score(self) -> float:
        right = (self.probabilities.argmax(-1) == self.targets).float()
        return float(torch.stack([each.mean() for each in right.split(10)]).mean())


@found_by(
    "test_a_score_is_of_all_rows_whatever_their_order", "in another order, the score is another"
)
@dataclass(frozen=True)
class ScoresBatches(Classes):
    """Counts the last rows more than the others."""

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        return ByBatches(**vars(super().predict(outputs, targets, draws)))


@found_by("test_every_draw_counts_alike", "with the draws in another order, the score is another")
@dataclass(frozen=True)
class TakesTheFirstDraw(Classes):
    """Predicts by one draw, whatever follows."""

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        return super().predict([next(iter(outputs))], targets, 1)


@found_by("test_draws_are_merged_by_what_they_predict", "standard errors apart from that")
@dataclass(frozen=True)
class MeansLogits(Classes):
    """Merges draws by the mean of their logits."""

    def merge(self, outputs: Tensor) -> Tensor:
        return outputs.mean(0)


@found_by("test_a_better_prediction_has_a_higher_score", "let score.. grow with what is predicted")
@dataclass(frozen=True)
class PredictsTheOpposite(Classes):
    """Predicts what is least probable."""

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        return super().predict((-each for each in outputs), targets, draws)


class Missed(Prediction):
    """Has an error for a score."""

    def score(self) -> float:
        return 1 - self.accuracy()


@found_by("test_a_better_prediction_has_a_higher_score", "others .*: let score.. grow")
@dataclass(frozen=True)
class CountsWhatIsWrong(Classes):
    """Scores errors."""

    score = "error"

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        return Missed(**vars(super().predict(outputs, targets, draws)))


@found_by(
    "test_likelihoods_have_the_size_of_what_it_draws", "is log_likelihoods.. a mean in place of a"
)
@dataclass(frozen=True)
class MeansLikelihoods(RealNumbers):
    """Has the mean over real numbers where log p is half their sum."""

    def log_likelihoods(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -self.losses(outputs, targets)


@dataclass(frozen=True)
class YesNo(Objective):
    """Several answers of yes or no per input, each with a probability of its own."""

    name = "answers"
    score = "share of right answers"
    prediction = RealPrediction

    def check(self, targets: Tensor, outputs: int) -> None:
        if targets.dtype != torch.float32 or targets.shape[1:] != (outputs,):
            raise ValueError("are no answers")

    def output_shape(self, targets: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        return (outputs,)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -self.log_likelihoods(outputs, targets) / outputs.shape[-1]

    def log_likelihoods(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(-1)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.bernoulli(outputs.cpu().sigmoid(), generator=generator)

    def merge(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid().mean(0).logit(eps=1e-6)

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> RealPrediction:
        mean = sum(each.sigmoid() for each in outputs) / draws
        return Answers(mean, torch.zeros_like(mean), targets)


class Answers(RealPrediction):
    """Probabilities of yes."""

    def score(self) -> float:
        return float(((self.outputs > 0.5) == (self.targets > 0.5)).double().mean())


right(*(name for name in dir(ObjectiveContract) if name.startswith("test_")))(YesNo)


@found_by("test_draws_are_merged_by_what_they_predict", "standard errors apart from that")
@dataclass(frozen=True)
class MeansLogitsOfAnswers(YesNo):
    """Merges draws by the mean of their logits."""

    def merge(self, outputs: Tensor) -> Tensor:
        return outputs.mean(0)


@found_by("test_outputs_and_targets_are_left_as_they_are", "correct.. writes into outputs")
@dataclass(frozen=True)
class SubtractsTheLargest(Classes):
    """Subtracts the largest output in place."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        outputs.sub_(outputs.max())
        return super().correct(outputs, targets)


@found_by("test_what_it_draws_are_targets", "drawn with another seed, targets are the same")
@dataclass(frozen=True)
class DrawsTheSame(Classes):
    """Draws by a seed of its own."""

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return super().sample(outputs, torch.Generator().manual_seed(0))


@found_by("test_what_is_right_is_a_number_of_rows", "drawn from .* are right, of others")
@dataclass(frozen=True)
class CountsTheLeastProbable(Classes):
    """Takes for right what is least probable."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().correct(-outputs, targets)
