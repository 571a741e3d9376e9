"""What an optimizer owes of the weights that it predicts with."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from bnnlab.errors import RunError, UsageError
from bnnlab.families.posterior import PosteriorOptimizer
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, flat, refused
from bnnlab_testing.optimizer_checks import (
    OptimizerChecks,
    assert_signs,
)


class PosteriorChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about `predictive`."""

    def test_the_deployed_weights_are_what_predictive_of_zero_shows(self) -> None:
        """`predictive(0)` yields once and leaves the weights alone."""
        model, optimizer = self.trained()
        before = flat(model.state_dict())
        for count, _ in enumerate(optimizer.predictive(0)):
            assert count == 0, "predictive(0) yields more than once"
            assert_same("predictive() changed", before, flat(model.state_dict()))
        assert_same("predictive() changed", before, flat(model.state_dict()))

    def test_drawn_weights_are_put_back(self) -> None:
        """`predictive(3)` yields three times and restores; without a posterior it is refused."""
        model, optimizer = self.trained()
        if not self.provides("posterior"):
            missed = "without a posterior, predictive(1) is not refused"
            with refused(UsageError, "posterior", missed):
                list(optimizer.predictive(1))
            return
        before = flat(model.state_dict())
        assert len([None for _ in optimizer.predictive(3)]) == 3
        assert_same("predictive() changed", before, flat(model.state_dict()))

    def test_drawn_weights_are_signs_and_differ(self) -> None:
        """Of `predictive(3)`, binary weights are -1 and +1, and at least two are not the same."""
        one, *others = self._draws(*self._with_posterior())
        assert any(not torch.equal(one, other) for other in others), "three draws are all the same"

    def test_a_draw_that_is_cut_short_is_put_back(self) -> None:
        """Closed after its first draw, `predictive(3)` restores the deployed weights."""
        model, optimizer = self._with_posterior()
        before = flat(model.state_dict())
        draws = optimizer.predictive(3)
        next(draws)
        closing = getattr(draws, "close", None)
        assert closing is not None, "predictive() must be a generator: it cannot be closed"
        closing()
        assert_same("predictive() changed", before, flat(model.state_dict()))

    def test_draws_come_from_the_seed(self) -> None:
        """Two seeds with one posterior draw different weights."""
        (model, optimizer), (copy, other) = self._with_posterior(), self.trained(3, 1)
        copy.load_state_dict(model.state_dict())
        for parameter, its in zip(model.parameters(), copy.parameters(), strict=True):
            for name, value in optimizer.state[parameter].items():
                if isinstance(value, Tensor) and value.is_floating_point():
                    other.state[its][name].copy_(value)
        pairs = zip(self._draws(model, optimizer), self._draws(copy, other), strict=True)
        assert any(not torch.equal(one, two) for one, two in pairs), "two seeds draw the same"

    def test_draws_are_of_the_present_posterior(self) -> None:
        """After more steps of a task they are those of one made anew, which loads the state.

        An evaluation within a task, as of each epoch, is of what was learned until then. Keep
        nothing from one `predictive` to the next, as probabilities of weights.
        """
        model, optimizer = self._with_posterior()
        self._draws(model, optimizer)
        for _ in range(5):
            optimizer.step(toy.constant(model, 1e3))
        copy, other = self.trained(0, 1)
        copy.load_state_dict(model.state_dict())
        other.load_state_dict(deepcopy(optimizer.state_dict()))
        pairs = zip(self._draws(model, optimizer), self._draws(copy, other), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs), (
            "after steps since an evaluation, draws are not those of the state: compute what is "
            "drawn from in each predictive() anew"
        )

    def test_evaluation_changes_no_state(self) -> None:
        """After `predictive`, state_dict() is the same bit for bit: training goes on alike."""
        _, optimizer = self.trained()
        before = flat(optimizer.state_dict())
        for _ in optimizer.predictive(3 if self.provides("posterior") else 0):
            pass
        assert_same("predictive() changes state_dict() at", before, flat(optimizer.state_dict()))

    def test_an_infinite_gradient_at_a_draw_is_noticed(self) -> None:
        """Gradients at draws do not stay in `.grad`: a later look finds what one of inf leaves."""
        _, optimizer = self._with_posterior()
        if not isinstance(optimizer, PosteriorOptimizer):
            pytest.skip("it does not learn at draws")

        def closure() -> Tensor:
            for parameter in optimizer.learned():
                parameter.grad = torch.full_like(parameter, 0.1)
                parameter.grad.view(-1)[0] = torch.inf
            return torch.zeros(())

        optimizer.step(closure)
        optimizer.zero_grad()
        missed = "a gradient of inf is cut to a number, and not refused by look()"
        with refused(RunError, "not finite", missed):
            optimizer.look()

    def test_test_draws_is_what_the_option_says(self) -> None:
        """An evaluation averages over as many draws as the option of that name, if it has one."""
        self._with_posterior()
        if not self.has_option("test_draws"):
            pytest.skip("it has no option 'test_draws'")
        draws = self.choice.options["test_draws"] + 1
        found = self.make(0, choice=self.with_options(test_draws=draws)).test_draws
        assert found == draws, f"with the option test_draws={draws}, `test_draws` is {found}"

    def _with_posterior(self) -> tuple[Model, Optimizer]:
        if not self.provides("posterior"):
            pytest.skip("it does not provide 'posterior'")
        return self.trained()

    def _draws(self, model: Model, optimizer: Optimizer) -> list[Tensor]:
        found = []
        for _ in optimizer.predictive(3):
            assert_signs(model)
            weights = optimizer.param_groups[0]["params"]
            found.append(torch.cat([weight.detach().flatten() for weight in weights]))
        return found
