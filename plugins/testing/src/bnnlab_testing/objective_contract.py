"""What an objective owes: one loss for all who ask, predictions with a score, and strict checks."""

import copy
import math
import pickle

import pytest
import torch

from bnnlab import seeds
from bnnlab.interfaces.prediction import Predicted
from bnnlab_testing.asserting import assert_close, refused
from bnnlab_testing.likelihood_checks import LikelihoodChecks
from bnnlab_testing.score_checks import ROWS


class ObjectiveContract(LikelihoodChecks):
    """Checks an objective, on outputs that are drawn and on targets that it draws from these."""

    def test_it_says_what_it_is(self) -> None:
        """It has a name and a score in words, and says what it predicts."""
        for what in ("name", "score"):
            said = getattr(self.objective, what, None)
            assert isinstance(said, str), f"{what} is {said!r}, and must be text"
            assert said.strip(), f"{what} is empty"
        assert issubclass(self.objective.prediction, Predicted), "prediction is no Predicted"

    def test_it_equals_its_copies(self) -> None:
        """All tasks of a stream have equal ones, also after a pickle."""
        for other in (copy.copy(self.objective), pickle.loads(pickle.dumps(self.objective))):
            assert other == self.objective, "a copy of it is not equal: make it a frozen dataclass"
            try:
                same = hash(other) == hash(self.objective)
            except TypeError as error:
                remedy = "make it a frozen dataclass of numbers, text and tuples"
                raise AssertionError(f"it has no hash ({error}): {remedy}") from error
            assert same, "a copy of it has another hash"

    def test_the_loss_is_the_mean_of_its_losses(self) -> None:
        """`loss` is a finite scalar with a gradient, and `losses` has one for each row."""
        outputs, targets = self.outputs().requires_grad_(), self.targets()
        loss, losses = (getattr(self.objective, it)(outputs, targets) for it in ("loss", "losses"))
        assert losses.shape == (ROWS,), f"losses() has shape {tuple(losses.shape)}"
        assert_close([loss], [losses.mean()], "loss() is not the mean of losses()")
        (grad,) = torch.autograd.grad(loss, outputs)
        assert bool(loss.isfinite() & grad.isfinite().all()), "loss or gradient is not finite"

    def test_a_row_has_the_loss_that_it_has_alone(self) -> None:
        """So every row twice changes nothing, and batches of several tasks have a mean."""
        outputs, targets = self.outputs(), self.targets()
        each = [self.objective.losses(outputs[i : i + 1], targets[i : i + 1]) for i in range(ROWS)]
        together = self.objective.losses(outputs, targets)
        assert_close([torch.cat(each)], [together], "with other rows, a row has another loss")

    def test_draws_that_agree_are_as_one(self) -> None:
        """What three equal outputs predict together has the losses of each."""
        outputs, targets = self.outputs(), self.targets()
        merged = self.objective.merge(torch.stack([outputs] * 3))
        assert merged.shape == outputs.shape, f"merge() of (3, B, ...) is {tuple(merged.shape)}"
        losses = [self.objective.losses(each, targets) for each in (outputs, merged)]
        assert_close(losses[:1], losses[1:], "merge() of equal outputs predicts something else")

    def test_what_it_draws_are_targets(self) -> None:
        """They pass its own check, are drawn from the generator, and ask for these outputs."""
        targets, again = self.targets(), self.targets()
        assert torch.equal(targets, again), "drawn with the same seed, targets differ"
        assert len(targets) == ROWS, f"for {ROWS} rows it draws {len(targets)}"
        self.objective.check(targets, self.shape[-1])
        shape = self.objective.output_shape(tuple(targets.shape[1:]), self.shape[-1])
        assert shape == self.shape, f"for outputs {self.shape} of an input, it asks for {shape}"
        draws = (seeds.generator(seed, "drawn") for seed in (0, 1))
        many = [self.objective.sample(self._outputs(0), each) for each in draws]
        assert not torch.equal(*many), "drawn with another seed, targets are the same"

    def test_a_prediction_is_scored(self) -> None:
        """A finite number, the same for one output and for two equal ones."""
        one, two = self._predicted(1), self._predicted(2)
        assert isinstance(one, self.objective.prediction), f"it predicts {type(one).__name__}"
        assert one.is_finite(), "a prediction of finite outputs is not finite"
        scores = one.score(), two.score()
        assert all(type(each) is float for each in scores), f"scores are {scores}, no floats"
        assert math.isfinite(scores[0]), "the score is not finite"
        assert math.isclose(*scores, rel_tol=1e-5, abs_tol=1e-6), f"of equal draws: {scores}"

    def test_outputs_that_are_not_finite_are_noticed(self) -> None:
        """A run that predicts NaN is stopped."""
        outputs = self.outputs()
        outputs[0] = torch.nan
        found = self.objective.predict([outputs], self.targets(), 1)
        assert not found.is_finite(), "a prediction of NaN is finite"

    def test_a_prediction_splits_into_its_tasks(self) -> None:
        """`rows` says how many belong to some targets: tasks that are predicted together part."""
        outputs, targets = self.outputs(), self.targets()
        halves = [targets[:5], targets[5:]]
        parts = self._predicted(1).split([self.objective.rows(each) for each in halves])
        alone = (outputs[:5], outputs[5:])
        for part, its, own in zip(parts, alone, halves, strict=True):
            expected = self.objective.predict([its], own, 1).score()
            assert math.isclose(part.score(), expected, rel_tol=1e-5, abs_tol=1e-6), (
                f"of a part of the rows the score is {part.score()}, and alone {expected}"
            )

    def test_what_is_right_is_a_number_of_rows(self) -> None:
        """From 0 to B, or None where that means nothing; it grows as `score` does."""
        right = self.objective.correct(self.outputs(), self.targets())
        if right is None:
            pytest.skip("it does not count what is right")
        assert right.shape == (), f"correct() has shape {tuple(right.shape)}"
        assert 0 <= float(right) <= ROWS, f"{float(right)} of {ROWS} rows are right"
        outputs, targets = self._many()
        counts = [self.objective.correct(each, targets) for each in (outputs, self._outputs(1))]
        found, by_chance = (float(each) for each in counts if each is not None)
        assert found > by_chance, (
            f"of outputs that the targets were drawn from {found:g} are right, of others "
            f"{by_chance:g}"
        )

    def test_other_targets_are_refused(self) -> None:
        """Of another dtype, or without a row for each input, by a ValueError with words."""
        targets = self.targets()
        is_real = targets.is_floating_point()
        others = {
            "of another dtype": targets.long() if is_real else targets.float(),
            "of half the bits": targets.half() if is_real else targets.int(),
            "of no dimension": targets.flatten()[0],
        }
        for what, wrong in others.items():
            with refused(ValueError, ".", f"targets {what} are not refused"):
                self.objective.check(wrong, self.shape[-1])

    def _predicted(self, draws: int) -> Predicted:
        return self.objective.predict([self.outputs()] * draws, self.targets(), draws)
