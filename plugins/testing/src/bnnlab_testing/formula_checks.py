"""What an optimizer owes that has formulas for compiled loops: they are what its steps compute."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.errors import NotInstalledError
from bnnlab.interfaces.kernels import MakeFormulas
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.saying import says
from bnnlab.settings.run import KERNELS
from bnnlab_testing import toy
from bnnlab_testing.asserting import tensors_in
from bnnlab_testing.evaluated import FUNCTIONS, Draws, Evaluated, recording, state_of
from bnnlab_testing.optimizer_checks import OptimizerChecks

EXACT = 1e-10
"""How far float64 results may be apart, per unit of the largest."""
ROUNDED = 1e-4
"""How far those of compiled loops may be, which are of float32."""
DRAWS, FAR = 4096, 0.05
"""Draws of a weight, and how far their distribution may be from the right one (Kolmogorov)."""

Pair = tuple[Model, Any]
"""A model and its optimizer."""


class FormulaChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about `formulas`."""

    def test_its_formulas_are_what_its_steps_compute(self) -> None:
        """In float64, by NumPy, they give the weights and the state that its own steps leave.

        So it is in four steps of two tasks, the second at other learning rates, with the same
        weight draws and gradients.
        """
        one, other = self._with_formulas(), self._with_formulas()
        for model, _ in (one, other):
            model.double()
        self._compare(one, other, EXACT)
        (_, optimizer), (_, its) = one, other
        assert _near(optimizer.diagnostics(), its.diagnostics()), (
            "with kernels, diagnostics() are not those of its own steps"
        )
        ahead = _numbers(its, 4)
        its.count_steps(3)
        assert _near(_numbers(its, 1), ahead), (
            "after count_steps(3), numbers() of the next step are not those that were the fourth's"
        )

    def test_its_formulas_draw_from_the_same_distribution(self) -> None:
        """Weights, and their noise, that they draw are distributed as those of `draws`.

        Where bnnlab-kernels is installed, compiled loops draw them so, too.
        """
        model, optimizer = self._with_formulas()
        formulas = _made(optimizer)(FUNCTIONS)
        if formulas.draw is None:
            pytest.skip("its formulas draw nothing")
        toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=2)
        parameter = min(optimizer.learned(), key=Tensor.numel)
        group = optimizer.group_of(parameter)
        kept = [each.flatten()[:8, None] for each in state_of(formulas, optimizer, parameter)]
        u = (np.arange(DRAWS) + 0.5) / DRAWS
        state = tuple(each.double().numpy() for each in kept)
        wanted = formulas.draw(optimizer.numbers(group, parameter, 1), state, u)
        found = {"draws()": _drawn(optimizer.draws, group, parameter)}
        if kernels := self._compiled(optimizer):
            kernels.begin(optimizer)
            found["compiled loops"] = _drawn(kernels.draws, optimizer, group, parameter)
        for who, drawn in found.items():
            for what, right, its in zip(("weights", "noise"), wanted, drawn, strict=True):
                apart = max(map(_distance, np.broadcast_to(right, its.shape), its))
                assert apart < FAR, (
                    f"{what} of {who} are not distributed as those of its formulas: for one "
                    f"weight, they are {apart:.3g} apart (Kolmogorov)"
                )

    def test_compiled_loops_compute_its_formulas(self) -> None:
        """Where bnnlab-kernels is installed, its loops give what formulas do, but for rounding.

        For that they are of float32. At most one in a hundred numbers, near a jump as that of a
        sign, is another.
        """
        one, other = self._with_formulas(), self._with_formulas()
        one[1].kernels = self._compiled(one[1])
        if one[1].kernels is None:
            pytest.skip("bnnlab-kernels is not installed")
        other[0].double()
        self._compare(one, other, ROUNDED, share=0.01)

    def _with_formulas(self) -> Pair:
        """Return a model and its optimizer, if that has formulas."""
        model = self.make_model()
        optimizer = self.make(0, model)
        _made(optimizer)
        return model, optimizer

    def _compiled(self, optimizer: Optimizer) -> Any:
        """Return compiled loops; None without bnnlab-kernels."""
        try:
            kernels_of = self.host.library(KERNELS, "bnnlab_kernels.compiled:kernels_of")
        except NotInstalledError:
            return None
        return kernels_of(optimizer)

    def _compare(self, one: Pair, other: Pair, near: float, share: float = 0.0) -> None:
        """Compare steps of the first with those by formulas, which the second one makes."""
        (model, optimizer), (copy, its) = one, other
        drawn = Draws()
        its.kernels = kernels = Evaluated(_made(its), drawn)
        owner = optimizer.kernels or optimizer
        for index in range(2):
            task = toy.make_task(index)
            told = [toy.context(task, m, self.make_rule(m), toy.GOES_ON) for m in (model, copy)]
            for group in (*optimizer.param_groups, *its.param_groups) if index else ():
                group.update({name: 0.7 * group[name] for name in optimizer.rates if name in group})
            optimizer.task_started(told[0])
            its.task_started(told[1])
            aheads = [_numbers(its, n if kernels.formulas.counts_steps else 1) for n in (1, 2)]
            for step, ahead in enumerate(aheads):
                with recording(owner, drawn):
                    optimizer.step(_gradients(model, index, step))
                its.step(_gradients(copy, index, step))
                kernels.expect_used(ahead)
                self._expect_alike(one, other, near, share)
            optimizer.task_ended(told[0])
            its.task_ended(told[1])

    def _expect_alike(self, one: Pair, other: Pair, near: float, share: float) -> None:
        """Compare weights and state."""
        (mine, others) = (
            tensors_in(
                {
                    "state": [optimizer.state[p] for p in model.parameters()],
                    "model": model.state_dict(),
                }
            )  # the cause first
            for model, optimizer in (one, other)
        )
        for name, value in mine.items():
            apart = (value.double() - others[name].double()).abs()
            most = near * max(float(value.double().abs().max()), 1e-30)
            wrong = int((~(apart <= most)).sum())
            assert wrong <= max(share * value.numel(), 1.0 if share else 0.0), (
                f"by its formulas, {name} is up to {float(apart.max()):.3g} from what a step leaves"
            )


def _made(optimizer: Optimizer) -> MakeFormulas:
    """Return what makes the formulas; skip if there are none."""
    if optimizer.formulas is None or not says(optimizer, "formulas"):
        pytest.skip("it has no formulas, as it is set")
    return optimizer.formulas


def _numbers(optimizer: Optimizer, ahead: int) -> list[tuple[float, ...]]:
    """Return the numbers of a step ahead, for each learned parameter."""
    learned = optimizer.learned()
    return [tuple(optimizer.numbers(optimizer.group_of(p), p, ahead)) for p in learned]


def _near(some: Any, others: Any) -> bool:
    """Return whether numbers, in lists or dicts, are the same but for rounding."""
    if isinstance(some, dict):
        some, others = ([its[key] for key in sorted(its)] for its in (some, others))
    return len(some) == len(others) and np.allclose(some, others, rtol=1e-9, atol=0)


def _drawn(draws: Callable[..., tuple[Tensor, Tensor]], *given: Any) -> list[Any]:
    """Return `DRAWS` draws of the first eight weights, and their noise, each `(8, DRAWS)`."""
    found = [[each.flatten(1)[:, :8].double().clone() for each in draws(*given, 64)]
             for _ in range(DRAWS // 64)]  # fmt: skip
    return [torch.cat(its).T.numpy() for its in zip(*found, strict=True)]


def _distance(some: Any, others: Any) -> float:
    """Return how far two distributions are apart, each by as many numbers.

    Numbers count as equal that differ by 1e-6 of the largest, as where float32 rounds to 1.
    """
    near = 1e-6 * float(np.abs(some).max())
    apart = 0
    for one, other in ((np.sort(some), np.sort(others)), (np.sort(others), np.sort(some))):
        above = np.searchsorted(other, one + near, side="right")
        apart = max(apart, int((1 + np.arange(len(one)) - above).max()))
    return apart / len(some)


def _gradients(model: Model, *where: int) -> Callable[[], Tensor]:
    """Return a closure that leaves gradients of many sizes, and of 0 and -0, for each step."""
    draws = seeds.generator(0, "formulas", *where)

    def closure() -> Tensor:
        for parameter in model.parameters():
            sizes, signs = (torch.randn(parameter.shape, generator=draws) for _ in range(2))
            grad = (0.1 * (2 * sizes).exp() * signs).where(sizes > -1, 0 * signs)
            parameter.grad = grad.to(parameter)
        return torch.zeros((), dtype=parameter.dtype)

    return closure
