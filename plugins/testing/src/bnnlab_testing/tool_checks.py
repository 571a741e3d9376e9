"""What an optimizer owes to torch's tools: copies, groups, schedulers, half precision."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR

from bnnlab.errors import RunError, UsageError, explain
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, flat, refused
from bnnlab_testing.optimizer_checks import (
    OptimizerChecks,
    assert_signs,
    copy_of,
)
from bnnlab_testing.rate_checks import MANY

SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "LambdaLR": lambda it: schedulers.LambdaLR(it, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda it: schedulers.MultiplicativeLR(it, lambda _: 0.9),
    "StepLR": lambda it: schedulers.StepLR(it, 1),
    "MultiStepLR": lambda it: schedulers.MultiStepLR(it, [1]),
    "ConstantLR": schedulers.ConstantLR,
    "LinearLR": schedulers.LinearLR,
    "ExponentialLR": lambda it: schedulers.ExponentialLR(it, 0.9),
    "PolynomialLR": schedulers.PolynomialLR,
    "CosineAnnealingLR": lambda it: schedulers.CosineAnnealingLR(it, 3),
    "CosineAnnealingWarmRestarts": lambda it: schedulers.CosineAnnealingWarmRestarts(it, 2),
    "ReduceLROnPlateau": lambda it: schedulers.ReduceLROnPlateau(it, patience=0),
    "CyclicLR": lambda it: schedulers.CyclicLR(it, 1e-4, 1e-3, step_size_up=1),
    "OneCycleLR": lambda it: schedulers.OneCycleLR(it, 1e-3, total_steps=3),
    "SequentialLR": lambda it: schedulers.SequentialLR(
        it, [schedulers.ConstantLR(it), schedulers.ExponentialLR(it, 0.9)], [1]
    ),
    "ChainedScheduler": lambda it: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(it), schedulers.ExponentialLR(it, 0.9)]
    ),
    "SWALR": lambda it: SWALR(it, 1e-3),
}
"""Every scheduler of torch, with what it asks for."""


class ToolChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about torch's tools."""

    def test_copies_go_on_as_the_original(self) -> None:
        """Copied by deepcopy, pickle or torch.save with its model; alone a copy is refused."""

        def saved(both: Any) -> Any:
            file = io.BytesIO()
            torch.save(both, file)
            return torch.load(io.BytesIO(file.getvalue()), weights_only=False)

        model, optimizer = self.trained()
        (_, alone), *copies = (
            (model, copy.deepcopy(optimizer)),
            copy.deepcopy((model, optimizer)),
            pickle.loads(pickle.dumps((model, optimizer))),
            saved((model, optimizer)),
        )
        with refused(RunError, "another model", "a copy without its model is not refused"):
            self.go_on(model, alone)
        ends = [self._end(*both) for both in ((model, optimizer), *copies)]
        for how, end in zip(("copy.deepcopy", "pickle", "torch.save"), ends[1:], strict=True):
            assert_same(f"a copy by {how} goes another way at", ends[0], end)

    def _end(self, model: Model, optimizer: Optimizer) -> dict[str, Any]:
        self.go_on(model, optimizer, 2)
        return flat([self.shown(model, optimizer), optimizer.state_dict()])

    def test_a_group_of_new_real_parameters_is_learned(self) -> None:
        """With the learning rate of other real ones; what would be binary is refused in words."""
        model, optimizer = self.trained()
        new, start = torch.nn.Parameter(torch.full((3, 2), 0.5)), torch.full((3, 2), 0.5)
        optimizer.add_param_group({"params": [new]})

        def closure() -> Tensor:
            for parameter in (*model.parameters(), new):
                parameter.grad = torch.full_like(parameter, 0.1)
            return torch.zeros(())

        for _ in range(MANY):
            optimizer.step(closure)
        assert not torch.equal(new, start), "a parameter in a new group is not learned"
        assert bool(new.isfinite().all()), "a parameter in a new group is not finite"
        other = torch.nn.Parameter(torch.ones(3, 2))
        with refused(UsageError, r"shape \(3, 2\)", "a new binary parameter is not refused"):
            optimizer.add_param_group({"params": [other], "learned": True, "binary": True})

    def test_torchs_schedulers_work_or_are_refused(self) -> None:
        """If it is not refused when it is made, a scheduler works, and numbers stay finite."""
        trained = self.trained()
        for name, make in SCHEDULERS.items():
            model, optimizer = copy.deepcopy(trained)
            try:
                scheduler = make(optimizer)
            except (ValueError, UsageError):
                continue
            try:
                self._follow(scheduler, model, optimizer)
            except Exception as error:
                raise AssertionError(f"{name} was made, and then: {explain(error)}") from error
            assert_signs(model)

    def test_changed_settings_are_loaded(self) -> None:
        """What a scheduler, or a user, has set in a group is set where the state is loaded."""
        model, optimizer = self.trained()
        for group in optimizer.param_groups:
            group["lr"] *= 0.25
        other = self.make(0, model)
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        found, right = ([each["lr"] for each in it.param_groups] for it in (other, optimizer))
        assert found == right, f"saved with lr {right}, it is loaded with {found}"

    def _follow(self, scheduler: Any, model: Model, optimizer: Optimizer) -> None:
        plateau = isinstance(scheduler, schedulers.ReduceLROnPlateau)
        for _ in range(2):
            self.go_on(model, optimizer)
            with warnings.catch_warnings():  # SequentialLR of torch 2.6 does what torch warns of
                warnings.filterwarnings("ignore", "The epoch parameter", UserWarning)
                scheduler.step(*([1.0] if plateau else []))
        optimizer.look()

    def test_it_learns_in_half_precision_or_refuses(self) -> None:
        """It never becomes infinite or NaN, and goes on bit for bit from its state."""
        for dtype in (torch.float16, torch.bfloat16):
            self._learn_in(dtype)

    def _learn_in(self, dtype: torch.dtype) -> None:
        model, copied = self.make_model().to(dtype), self.make_model().to(dtype)
        optimizer, other = self.make(0, model), self.make(1, copied)
        try:
            self._train_in(dtype, model, optimizer)
        except UsageError:
            return
        optimizer.look()
        assert_signs(model)
        copied.load_state_dict(model.state_dict())
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        both = (model, optimizer), (copied, other)
        for each, its in both:
            self._train_in(dtype, each, its)
        ends = [flat([copy_of(m), it.state_dict()]) for m, it in both]
        assert_same(f"in {dtype}, after loading, it goes another way at", *ends)

    def _train_in(self, dtype: torch.dtype, model: Model, optimizer: Optimizer) -> None:
        task, rule = toy.make_task(), self.make_rule(model)
        optimizer.task_started(toy.context(task, model, rule, 3))
        for inputs, targets in task.train.batches(toy.BATCH_SIZE):
            optimizer.step(rule.closure(model, (inputs.to(dtype), targets)))
