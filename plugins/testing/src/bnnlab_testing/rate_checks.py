"""What an optimizer owes of its learning rates: those of the groups are read at each step."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab_testing import toy
from bnnlab_testing.asserting import flat
from bnnlab_testing.optimizer_checks import OptimizerChecks, tensors_of

MANY = 8
"""Steps within which a method moves something, also one that adds up the gradients of a few."""
NEXT_TO_NONE = 1e-12
"""A learning rate at which nothing moves that follows it."""


class RateChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about learning rates."""

    def test_the_lr_of_every_group_is_read_at_each_step(self) -> None:
        """Lowered after the first step, as by a scheduler, it changes the next steps."""
        ends = []
        for factor in (1.0, 1e-3):
            model, optimizer = self.trained(1)
            for group in optimizer.param_groups:
                group["lr"] *= factor
            self.step_again(model, optimizer)
            ends.append([contents_of(optimizer, group) for group in optimizer.param_groups])
        for group, usual, slow in zip(optimizer.param_groups, *ends, strict=True):
            if not group["params"] or (group["learned"] and not self.has_option("lr")):
                continue
            which = "learned weights" if group["learned"] else "other parameters"
            assert usual != slow, (
                f"in {MANY} steps, a change of the {which}' group['lr'] has no effect"
            )

    def step_again(self, model: Model, optimizer: Optimizer) -> None:
        """Make many steps, in all of which each parameter has its gradient of the first."""
        batch = next(toy.make_task().train.batches(toy.BATCH_SIZE))
        loss = self.make_rule(model).closure(model, batch)()
        grads = {p: p.grad.clone() for p in model.parameters() if p.grad is not None}

        def again() -> Tensor:
            for parameter, grad in grads.items():
                parameter.grad = grad.clone()
            return loss

        for _ in range(MANY):
            optimizer.step(again)

    def test_real_lr_is_the_real_parameters_own(self) -> None:
        """With a tiny `real_lr`, if there is such an option, real parameters hardly move."""
        if not self.has_option("real_lr"):
            pytest.skip("it has no option 'real_lr'")
        model, before = self.make_model(), self.make_model()
        optimizer = self.make(0, model, self.with_options(real_lr=1e-9))
        toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=5)
        learned = {id(parameter) for parameter in optimizer.learned()}
        for name, parameter in model.named_parameters():
            moved = float((parameter - before.get_parameter(name)).detach().abs().max())
            slow = id(parameter) in learned or moved < 1e-5
            assert slow, f"{name} moves by {moved:g} with real_lr = 1e-9"

    def test_the_lr_of_the_constructor_is_that_of_the_groups_alone(self) -> None:
        """Made with another `lr`, and with every group's next to 0, it makes the same steps.

        A schedule changes the groups alone. What is multiplied by the constructor's rate, as a
        decay of weights, goes on as the schedule ends. Read `group["lr"]` there, too.
        """
        if not self.has_option("lr"):
            pytest.skip("it has no option 'lr'")
        lr, ends = self.choice.options["lr"] or 0.01, list[list[Tensor]]()
        for choice in (self.with_options(lr=lr), self.with_options(lr=lr / 2)):
            model = self.make_model()
            optimizer = self.make(0, model, choice)
            begins = _numbers(model, optimizer)
            for group in optimizer.param_groups:
                group["lr"] = NEXT_TO_NONE
            toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=0)
            self.step_again(model, optimizer)
            ends += [begins, _numbers(model, optimizer)]
        if not _alike(ends[0], ends[2]):
            pytest.skip("it begins with other numbers if it is made with another lr")
        assert _alike(ends[1], ends[3]), (
            f"with group['lr'] = {NEXT_TO_NONE:g}, {MANY} steps are others if it is made with half "
            "the lr: read group['lr'] at each step, also for a decay"
        )


def contents_of(optimizer: Optimizer, group: Group) -> dict[str, Any]:
    """Return the parameters of a group, with the tensors of their state."""
    return flat([tensors_of(optimizer, parameter) for parameter in group["params"]])


def _numbers(model: Model, optimizer: Optimizer) -> list[Tensor]:
    """Return copies of the parameters, and of what is behind them."""
    behind = [optimizer.latent(parameter) for parameter in model.parameters()]
    every = [*model.parameters(), *(each for each in behind if each is not None)]
    return [each.detach().clone() for each in every]


def _alike(some: list[Tensor], others: list[Tensor]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(torch.allclose(one, two, rtol=1e-5, atol=1e-8) for one, two in pairs)
