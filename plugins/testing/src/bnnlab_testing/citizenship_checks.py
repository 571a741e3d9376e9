"""What an optimizer owes to who else has hands on its model: torch's tools, and the user."""

import copy
import io
import pickle
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
from bnnlab_testing.asserting import refused
from bnnlab_testing.optimizer_checks import (
    OptimizerChecks,
    assert_signs,
    copy_of,
    differing,
    flat,
    tensors_of,
)

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


class CitizenshipChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about what others do between its steps."""

    def go_on(self, model: Model, optimizer: Optimizer, steps: int = 1) -> None:
        """Make more steps of the task in which `trained` made three."""
        toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=steps, done=3)

    def test_weights_that_are_loaded_are_learned_from(self) -> None:
        """Loaded before a tiny step, of gradients 0, all are there after it.

        Where all signs are turned, the step does the same to sizes as without loading.
        """
        (model, optimizer), (other, its) = self.trained(), self.trained()
        with torch.no_grad():
            model.load_state_dict({n: -v for n, v in model.named_parameters()}, strict=False)
        for each, step in ((model, optimizer), (other, its)):
            for group in step.param_groups:
                group["lr"] *= 1e-9
            step.step(_constant(each, 0.0))
        for (name, parameter), twin in zip(
            model.named_parameters(), other.parameters(), strict=True
        ):
            lost = int((~torch.isclose(parameter, -twin, atol=1e-3)).sum())
            assert not lost, f"{name}: {lost} of {parameter.numel()} loaded weights are lost"
            after, right = optimizer.latent(parameter), its.latent(twin)
            if after is None or right is None:
                continue
            kept = torch.allclose(after.abs(), right.abs(), atol=1e-3)
            assert kept, f"{name}: what is kept behind it has another size since it was loaded"

    def test_weights_that_nobody_wrote_are_adopted_without_a_change(self) -> None:
        """Every weight is adopted after a load or a copy: adopt() leaves alone what agrees."""
        model, optimizer = self.trained()
        before = copy.deepcopy(optimizer.state_dict())
        for name, parameter in model.binary_parameters().items():
            with torch.no_grad():
                optimizer.adopt(parameter)
            places = differing(flat(before), flat(optimizer.state_dict()))
            assert not places, (
                f"adopt() changes {', '.join(places[:5])} for {name}, which nobody wrote"
            )

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

    def test_a_frozen_parameter_is_left_alone(self) -> None:
        """Without requires_grad, no step changes it or its state; later ones do."""
        model, optimizer = self.trained()
        frozen = _freeze(model, optimizer)

        def everything() -> dict[str, Any]:
            return flat([tensors_of(optimizer, parameter) for parameter in frozen])

        closure, before = _constant(model, 0.1), everything()
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

        before = kept()
        for index in range(2):
            toy.train(model, toy.ToyRule(), optimizer, toy.make_task(index), steps=0, end=True)
        same = kept() == before
        assert same, "task_started() or task_ended() changes frozen weights, or what is behind them"
        for _ in optimizer.predictive(2 if self.provides("posterior") else 0):
            drawn = not all(map(torch.equal, frozen, weights))
            assert not drawn, "predictive() draws a frozen parameter"

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
            places = differing(ends[0], end)
            assert not places, f"a copy by {how} goes another way at {', '.join(places[:5])}"

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

        for _ in range(3):
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
                for _ in range(2):
                    self.go_on(model, optimizer)
                    scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
                optimizer.look()
            except Exception as error:
                raise AssertionError(f"{name} was made, and then: {explain(error)}") from error
            assert_signs(model)

    def test_what_signs_hide_is_noticed(self) -> None:
        """A gradient or a loss that is NaN once ends in an error at the next look."""
        for loss, grad in ((0.0, torch.nan), (torch.nan, 0.0)):
            model, optimizer = self.trained()

            def closure(loss: float = loss, grad: float = grad, model: Model = model) -> Tensor:
                for parameter in model.parameters():
                    parameter.grad = torch.full_like(parameter, grad)
                return torch.tensor(loss)

            optimizer.step(closure)
            missed = f"a gradient of {grad} with a loss of {loss} is not refused by look()"
            with refused(RunError, "not finite", missed):
                optimizer.look()

    def test_it_learns_in_half_precision_or_refuses(self) -> None:
        """It never becomes infinite or NaN, and goes on bit for bit from its state."""
        for dtype in (torch.float16, torch.bfloat16):
            self._learn_in(dtype)

    def _learn_in(self, dtype: torch.dtype) -> None:
        model, copied = self.make_model().to(dtype), self.make_model().to(dtype)
        optimizer, other = self.make(0, model), self.make(1, copied)
        try:
            _train_in(dtype, model, optimizer)
        except UsageError:
            return
        optimizer.look()
        assert_signs(model)
        copied.load_state_dict(model.state_dict())
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        both = (model, optimizer), (copied, other)
        for each, its in both:
            _train_in(dtype, each, its)
        places = differing(*(flat([copy_of(m), it.state_dict()]) for m, it in both))
        assert not places, f"in {dtype}, after loading, it goes another way at {places[:5]}"


def _freeze(model: Model, optimizer: Optimizer) -> list[Tensor]:
    """Freeze a learned weight and the last parameter, and return them."""
    frozen = [optimizer.learned()[0], [*model.parameters()][-1]]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


def _constant(model: Model, grad: float) -> Callable[[], Tensor]:
    """Return a closure that gives all parameters a gradient, as a rule does that computes it."""

    def closure() -> Tensor:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, grad)
        return torch.zeros(())

    return closure


def _train_in(dtype: torch.dtype, model: Model, optimizer: Optimizer) -> None:
    task, rule = toy.make_task(), toy.ToyRule()
    optimizer.task_started(toy.context(task, model, rule, 3))
    for inputs, targets in task.train.batches(toy.BATCH_SIZE):
        optimizer.step(rule.closure(model, (inputs.to(dtype), targets)))
