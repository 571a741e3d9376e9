"""Synaptic intelligence: a quadratic penalty, weighted by what each parameter did for the loss."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.markers import AtLeast, Positive, Search
from bnnlab_consolidation.consolidation import Consolidation


class SI(Consolidation):
    """Synaptic intelligence on any base optimizer.

    Source: Zenke, Poole and Ganguli, "Continual Learning Through Synaptic Intelligence", ICML 2017,
    eqs. 3-5.

    Over the steps of a task, with g the gradient of its loss L and delta theta what the base makes
    of a step; at the task's end, theta~ being the parameters at the end of the one before; and in
    the loss of the next:

        omega <- omega - g delta theta
        Omega <- Omega + max(0, omega) / ((theta - theta~)^2 + xi),  omega <- 0,  theta~ <- theta
        L + c sum_i Omega_i (theta_i - theta~_i)^2

    g is the gradient without the penalty and before the base clips, and delta theta the realised
    change, so that the sum of all omega is the loss that the steps took away, to first order. With
    `clip_value` of a run g is what that leaves, so the sum is no more than near this loss. Of a
    binary parameter theta is the latent weight, and g the gradient at its sign (straight through).
    A surrogate gradient, as of direct feedback alignment, stands for g where the rule gives one.

    The paper's eq. 4 has omega itself. A negative one makes the loss unbounded from below, so it
    counts as 0 here, as in published code.

    A step holds a copy of the gradients and of theta for as long as it lasts.

    Args:
        strength: c, the factor on the penalty; 0: none. A list has one per task, and its last is
            also that of all later ones; the first task has no penalty yet.
        damping: xi, in units of theta squared: it bounds the importance of parameters that hardly
            moved.
        rest: Options of `Consolidation`.

    Raises:
        UsageError: On an empty list.
    """

    capturable = Consolidation.capturable

    def __init__(
        self,
        model: Model,
        *,
        strength: Annotated[float | Sequence[float], AtLeast(0), Search(0.1, 300.0)] = 30.0,
        damping: Annotated[Positive, Search(1e-3, 1.0)] = 0.1,
        **rest: Any,
    ) -> None:
        each = [*strength] if isinstance(strength, Sequence) else [strength]
        if not each:
            raise UsageError("optimizer.strength is an empty list: give one value per task")
        super().__init__(model, strength=each[0], **rest)
        self.damping, self._strengths = damping, each

    def task_started(self, context: TaskContext) -> None:
        """Tell the base, and take the task's own strength, if there is a list."""
        super().task_started(context)
        if len(self._strengths) > 1:
            strength = self._strengths[min(context.task.index, len(self._strengths) - 1)]
            for group in self.param_groups:
                group["consolidation_strength"] = strength

    def penalty(self, parameter: Tensor) -> Tensor | None:
        """Return 2 Omega (theta - theta~), or None before the first task's end."""
        state = self.state[parameter]
        if "si_Omega" not in state:
            return None
        return (self.theta(parameter) - state["si_anchor"]).mul_(state["si_Omega"]).mul_(2)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Let the base make one step with the penalised gradients, and add to omega."""
        before: dict[Tensor, tuple[Tensor, Tensor]] = {}

        def recording() -> Tensor:
            loss = closure()
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        before[p] = p.grad.clone(), self.theta(p).clone()
            return loss

        loss = super().step(recording)
        for parameter, (grad, old) in before.items():
            state = self.state[parameter]
            if "si_omega" not in state:
                state["si_omega"], state["si_anchor"] = torch.zeros_like(old), old.clone()
            # A product of numbers that are finite may not be.
            state["si_omega"].addcmul_(grad, old.sub_(self.theta(parameter))).nan_to_num_()
        return loss

    def consolidate(self, context: TaskContext) -> None:  # noqa: ARG002
        """Turn omega into importance, and hold the parameters where they are."""
        for state, theta in self._learned():
            omega, anchor = state["si_omega"], state["si_anchor"]
            new = omega.clamp_min(0).div_((theta - anchor).square_().add_(self.damping))
            state["si_Omega"] = state["si_Omega"].add_(new) if "si_Omega" in state else new
            omega.zero_()
            anchor.copy_(theta)

    def _learned(self) -> list[tuple[dict[str, Any], Tensor]]:
        """Return state and theta of each parameter that had a gradient so far."""
        every = [parameter for group in self.param_groups for parameter in group["params"]]
        return [(self.state[p], self.theta(p)) for p in every if "si_omega" in self.state[p]]
