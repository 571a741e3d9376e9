"""A chain of beakers behind each latent weight.

Source: Benna and Fusi, "Computational principles of synaptic memory consolidation", Nature
Neuroscience 19, 2016; as the control that Laborieux, Ernoult, Hirtzlin and Querlioz, "Synaptic
metaplasticity in binarized neural networks", Nature Communications 12:2549, 2021, have in their
code (`Adam_bk`).
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.markers import Above, AtLeast
from bnnlab_metaplasticity.optimizer import MetaplasticAdam


class BeakerAdam(MetaplasticAdam):
    """Adam on latent weights, each of which is the first of a chain of beakers.

    Liquid flows between neighbours u_k and u_k+1 through pipes r_k, until their levels are equal.
    A_k is the area of a beaker: the larger, the slower its level changes. u_0 is the latent weight;
    the others begin at its level; the last one leaks to the level 0. So a change that lasts moves
    the whole chain, and the chain pulls a later change back. With n beakers, the step s U of Adam
    as in `MetaplasticAdam`, feedback b, and the levels of before the step on the right,

        u_0   <- u_0 - s U + r_0 / A_0 (u_1 - u_0) + b [u_n-1 - u_0]
        u_k   <- u_k + r_k-1 / A_k (u_k-1 - u_k) + r_k / A_k (u_k+1 - u_k),     0 < k < n - 1
        u_n-1 <- u_n-1 + r_n-2 / A_n-1 (u_n-2 - u_n-1) f - r_n-1 / A_n-1 u_n-1

    [x] is x where it has the sign of u_n-1, so that the feedback strengthens only, and 0 elsewhere.
    f = 1 - tanh^2(m u_n-1) where the flow into the last beaker would bring its level towards 0, and
    1 elsewhere: the metaplasticity of `meta`, of the last beaker. Real parameters get the Adam.

    Args:
        m: Metaplasticity coefficient of the last beaker; 0: none.
        ratios: r_0 to r_n-1, the pipes, from the latent weight on.
        areas: A_0 to A_n-1, the areas, as many as pipes.
        feedback: b, from the last beaker to the first.
        meta: Options of `MetaplasticAdam`.

    Raises:
        UsageError: If there are fewer than two beakers, or not as many pipes as areas.
    """

    capturable = True

    def __init__(
        self,
        model: Model,
        *,
        m: Annotated[float, AtLeast(0)] = 0.0,
        ratios: Annotated[Sequence[float], AtLeast(0)] = (1e-2, 1e-3, 1e-4, 1e-5),
        areas: Annotated[Sequence[float], Above(0)] = (1.0, 2.0, 4.0, 8.0),
        feedback: Annotated[float, AtLeast(0)] = 5e-3,
        **meta: Any,
    ) -> None:
        if len(ratios) < 2 or len(ratios) != len(areas):
            raise UsageError(
                f"optimizer.ratios has {len(ratios)} pipes and optimizer.areas {len(areas)} "
                "beakers: give as many of both, two or more"
            )
        super().__init__(model, m=0.0, **meta)
        self._last_m, self._feedback = m, feedback
        self._in = [ratio / area for ratio, area in zip(ratios, areas[1:], strict=False)]
        self._out = [ratio / area for ratio, area in zip(ratios, areas, strict=True)]
        self._rest = [f"u{k}" for k in range(1, len(areas))]

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        """Apply the equations of this module."""
        before = [value.clone() for value in values if group["learned"]]
        super().update(group, parameters, values, grads)
        for parameter, value, first in zip(parameters, values, before, strict=False):
            state = self.state[parameter]
            if "u1" not in state:
                state.update({name: first.clone() for name in self._rest})
            value.add_(self._flow(first, [state[name] for name in self._rest]))

    def adopt(self, parameter: Tensor) -> None:
        """Accept a weight that other code wrote: where its sign is another, the chain's is, too."""
        latent = self.latent(parameter)
        assert latent is not None
        turned = latent.signbit() != parameter.signbit()
        state = self.state[parameter]
        for level in (state[name] for name in self._rest if name in state):
            level.copy_(torch.where(turned, -level, level))
        super().adopt(parameter)

    def _flow(self, first: Tensor, rest: list[Tensor]) -> Tensor:
        """Let liquid flow between the beakers of `rest`; return what flows into the `first`."""
        last, levels = rest[-1], [first, *(level.clone() for level in rest)]
        back = last - first
        total = torch.where(back * last > 0, back * self._feedback, 0)
        total.add_(levels[1] - first, alpha=self._out[0])
        for k, level in enumerate(rest, start=1):
            inflow = levels[k - 1] - levels[k]
            if level is last:
                damped = inflow * (1 - torch.tanh(self._last_m * levels[k]).square())
                inflow = torch.where(inflow * levels[k] < 0, damped, inflow)
                outflow = -levels[k]
            else:
                outflow = levels[k + 1] - levels[k]
            level.add_(inflow, alpha=self._in[k - 1]).add_(outflow, alpha=self._out[k])
        return total
