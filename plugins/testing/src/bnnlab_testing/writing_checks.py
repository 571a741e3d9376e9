"""What an optimizer owes to who writes into its model, or freezes a part of it."""

from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, flat, refused
from bnnlab_testing.optimizer_checks import (
    OptimizerChecks,
    tensors_of,
)


class WritingChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about what others write or freeze."""

    def test_weights_that_are_loaded_are_learned_from(self) -> None:
        """Loaded before a tiny step, of gradients 0, all are there after it.

        Where all signs are turned, the step does the same to sizes as without loading. If a step
        draws, noise may turn one of twenty weights.
        """
        (model, optimizer), (other, its) = self.trained(), self.trained()
        with torch.no_grad():
            model.load_state_dict({n: -v for n, v in model.named_parameters()}, strict=False)
        before, behind = flat(its.state_dict().get("generator")), _behind(other, its)
        for each, step in ((model, optimizer), (other, its)):
            for group in step.param_groups:
                group["lr"] *= 1e-9
            step.step(toy.constant(each, 0.0))
        draws = flat(its.state_dict().get("generator")) != before
        is_slow = all(map(torch.allclose, behind, _behind(other, its)))
        first = ". Others move, too, at a group['lr'] next to 0, which is to be mended first"
        for (name, parameter), twin in zip(
            model.named_parameters(), other.parameters(), strict=True
        ):
            lost = int((~torch.isclose(parameter, -twin, atol=1e-3)).sum())
            few = 0.05 * parameter.numel() if draws else 0
            what = f"{name}: {lost} of {parameter.numel()} loaded weights are lost"
            assert lost <= few, what + ("" if is_slow else first)
            after, right = optimizer.latent(parameter), its.latent(twin)
            if after is None or right is None:
                continue
            kept = torch.allclose(after.abs(), right.abs(), atol=1e-3)
            assert kept, f"{name}: what is kept behind it has another size since it was loaded"

    def test_weights_that_nobody_wrote_are_adopted_without_a_change(self) -> None:
        """Every weight is adopted after a load or a copy: adopt() leaves alone what agrees."""
        model, optimizer = self.trained()
        before = flat(optimizer.state_dict())
        for name, parameter in model.binary_parameters().items():
            with torch.no_grad():
                optimizer.adopt(parameter)
            now = flat(optimizer.state_dict())
            assert_same(f"adopt() of {name}, which nobody wrote, changes", before, now)

    def test_what_is_no_sign_is_not_adopted(self) -> None:
        """Written into a binary weight, 0.5 is refused at the next step, by the weight's name."""
        model, optimizer = self.trained()
        for name, parameter in list(model.binary_parameters().items())[:1]:
            with torch.no_grad():
                parameter.fill_(0.5)
            with refused(RunError, name, f"{name}: 0.5 in a binary weight is not refused"):
                self.go_on(model, optimizer)

    def test_what_goes_round_torchs_count_of_writes_is_refused(self) -> None:
        """Weights that are written through `.data` are missed at the next look, by name."""

        def copied(parameter: Tensor) -> None:
            parameter.data.copy_(-parameter.data)

        def replaced(parameter: Tensor) -> None:
            parameter.data = -parameter.data

        for write in (copied, replaced):
            model, optimizer = self.trained()
            for name, parameter in list(model.binary_parameters().items())[-1:]:
                write(parameter)
                self.go_on(model, optimizer)
                missed = f"{name}: what was written through `.data` is not refused by look()"
                with refused(RunError, rf"{name} was written through `.data`", missed):
                    optimizer.look()

    def test_what_signs_hide_is_noticed(self) -> None:
        """A gradient or a loss that is NaN once ends in an error at the next look."""
        for loss, grad in ((0.0, torch.nan), (torch.nan, 0.0)):
            model, optimizer = self.trained()
            optimizer.step(toy.constant(model, grad, loss))
            missed = f"a gradient of {grad} with a loss of {loss} is not refused by look()"
            with refused(RunError, "not finite", missed):
                optimizer.look()

    def test_a_frozen_parameter_is_left_alone(self) -> None:
        """Without requires_grad, no step changes it or its state; later ones do."""
        model, optimizer = self.trained()
        frozen = _freeze(model, optimizer)

        def everything() -> dict[str, Any]:
            return flat([tensors_of(optimizer, parameter) for parameter in frozen])

        closure, before = toy.constant(model, 0.1), everything()
        for _ in range(3):
            optimizer.step(closure)
        assert everything() == before, "a step changes frozen parameters, or their state"
        for parameter in frozen:
            parameter.requires_grad_(True)
        for _ in range(3):
            optimizer.step(closure)
        assert everything() != before, "what was frozen once is learned no more"

    def test_a_task_and_a_draw_leave_frozen_parameters_alone(self) -> None:
        """What hears of a task may add to their state, but leaves alone what is behind them."""
        model, optimizer = self.trained()
        frozen = _freeze(model, optimizer)
        weights = [parameter.clone() for parameter in frozen]

        def kept() -> dict[str, Any]:
            return flat([(parameter, optimizer.latent(parameter)) for parameter in frozen])

        before, rule = kept(), self.make_rule(model)
        for index in range(2):
            toy.train(model, rule, optimizer, toy.make_task(index), steps=0, end=True)
        same = kept() == before
        assert same, "task_started() or task_ended() changes frozen weights, or what is behind them"
        for _ in optimizer.predictive(2 if self.provides("posterior") else 0):
            drawn = not all(map(torch.equal, frozen, weights))
            assert not drawn, "predictive() draws a frozen parameter"


def _freeze(model: Model, optimizer: Optimizer) -> list[Tensor]:
    """Freeze a learned weight and the last parameter, and return them."""
    frozen = [optimizer.learned()[0], [*model.parameters()][-1]]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


def _behind(model: Model, optimizer: Optimizer) -> list[Tensor]:
    """Return copies of what is behind the weights."""
    found = (optimizer.latent(parameter) for parameter in model.parameters())
    return [each.clone() for each in found if each is not None]
