"""Kolen-Pollack learning: the weights for the error learn what the weights of the layers learn.

Sources: Kolen and Pollack, "Backpropagation without weight transport", IEEE ICNN 1994; Akrout,
Wilson, Humphreys, Lillicrap and Tweed, "Deep Learning without Weight Transport", NeurIPS 2019.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.signs import random_signs, sign
from bnnlab.markers import AtLeast, Below, Positive, Search
from bnnlab_feedback.rule import FeedbackRule, key, size


class KolenPollack(FeedbackRule):
    """Sends the error back through weights B that learn by the gradient G of the layer's weights W.

    After each step, B <- (1 - decay) B - rate G (Akrout et al., eq. 17, where B is transposed). If
    W changes in the same way, W <- (1 - decay) W - rate G, then W - B becomes (1 - decay) (W - B):
    in the end B is W, and the rule is backpropagation. The optimizer `sgd` does this with lr =
    rate, weight_decay = decay / rate, no momentum and no bound on W or on the norm of G. The rule
    does not know the optimizer. Under another one, B follows W as far as both sum up equal
    gradients. The schedule of a run multiplies rate and decay as it does lr, and its `clip_value`
    clips G for B as for W.

    In a binary layer the error passes sign(B). So B is latent, as is the weight L of the optimizer
    behind W = sign(L): what is said above of W holds of L, and sign(B) comes to be W.

    G is the mean over the calls of a step (weight draws, or pieces of a batch), before the
    optimizer clips its norm. Where W is frozen, B is as well.

    Args:
        rate: Learning rate of B.
        decay: Part of B that is lost in every step.
        latent_init: Largest size of an initial B in a binary layer; sizes are drawn uniformly from
            0 on. In other layers B is normal, with the root mean square of the layer's weights.
    """

    name = "kolen-pollack"

    def __init__(
        self,
        rate: Annotated[Positive, Search(1e-3, 1.0)] = 0.1,
        decay: Annotated[float, AtLeast(0), Below(1), Search(1e-5, 1e-2)] = 1e-4,
        latent_init: Positive = 0.05,
    ) -> None:
        super().__init__()
        self.rate, self.decay, self.latent_init = rate, decay, latent_init
        self._sums: dict[str, Tensor] = {}  # of the gradients of a step, times their rows
        self._rows = 0
        self._factor = 1.0  # of the rates in that step

    def start(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Draw B."""
        shape = tuple(weight.shape)
        if self.layers[name]:
            sizes = self.latent_init * torch.rand(shape, generator=generator)
            return random_signs(shape, generator) * sizes
        return size(weight) * torch.randn(shape, generator=generator)

    def feedback(self, name: str, _weight: Tensor) -> Tensor:
        """Return B, or its signs for a binary layer."""
        B = self.get_buffer(key(name))
        return sign(B) if self.layers[name] else B

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run forward and backward once, and note the gradients of the weights."""
        answer, rows = super().differentiate(model, batch), len(batch.targets)
        self._rows += rows
        for name in self.layers:
            G = model.get_parameter(f"{name}.weight").grad
            if G is not None:
                self._sums[name] = self._sums.get(name, 0) + G * rows
        return answer

    def step_started(self) -> None:
        """Let B learn from the step before, however often its closure was called."""
        for name, total in self._sums.items():
            B = self.get_buffer(key(name))
            if self.clip_value is not None:
                most = self.clip_value * self._rows
                total = total.clamp(-most, most)
            rate, decay = self.rate * self._factor, self.decay * self._factor
            B.mul_(1 - decay).sub_(total.to(B), alpha=rate / self._rows)
        self._sums, self._rows, self._factor = {}, 0, self.rate_factor

    def check_rates(self, factor: float) -> None:
        """Refuse a decay of 1 or more, which leaves nothing of B."""
        if self.decay * factor >= 1:
            raise UsageError(f"decay {self.decay * factor:g} is not below 1: lower it")

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the last step has left to learn."""
        return {"sums": dict(self._sums), "rows": self._rows, "factor": self._factor}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self._sums, self._rows = dict(state["sums"]), state["rows"]
        self._factor = state.get("factor", 1.0)  # earlier versions did not save it
