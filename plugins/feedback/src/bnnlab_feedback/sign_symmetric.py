"""Sign-symmetric feedback: the signs of the weights on the way back, with other magnitudes.

Sources: Liao, Leibo and Poggio, "How Important Is Weight Symmetry in Backpropagation?", AAAI 2016;
Moskovitz, Litwin-Kumar and Abbott, "Feedback alignment in deep convolutional networks", 2018; Xiao,
Chen, Liao and Poggio, "Biologically-Plausible Learning Algorithms Can Scale to Large Datasets",
ICLR 2019.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.signs import sign
from bnnlab.markers import Positive, Search
from bnnlab_feedback.rule import FeedbackRule, key, size


class SignSymmetry(FeedbackRule):
    """Sends the error back through B = M o sign(W), with magnitudes M that know nothing of W.

    o is the product of elements. The root mean square of M is scale * a, where a is that of the
    layer's weights when the rule is attached. With U of the shape of W, uniform in (0, 1), M is

    - fixed: sqrt(3) scale a U, drawn once (frSF);
    - batch: the same, drawn anew in every step (brSF);
    - uniform: scale a (uSF).

    The signs are those of the present weights. A binary weight is its sign, and a is 1: only M
    distinguishes B from W. Under `uniform` B is then W, but for the scale.

    Args:
        magnitude: Sizes of the feedback weights. fixed: random, drawn once (frSF). batch: random,
            drawn in every step (brSF). uniform: all equal (uSF), for layers with real weights.
        scale: Root mean square of the feedback weights, in units of that of the layer's initial
            weights.
    """

    name = "sign-symmetric"
    capturable = True

    def __init__(
        self,
        magnitude: Literal["fixed", "batch", "uniform"] = "fixed",
        scale: Annotated[Positive, Search(0.1, 10.0)] = 1.0,
    ) -> None:
        super().__init__()
        self.magnitude, self.scale = magnitude, scale
        self.capturable = magnitude != "batch"  # else a generator is made in each step
        self._generator = torch.Generator()
        self._seed = 0

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Draw or set the magnitudes.

        Raises:
            UsageError: As in `FeedbackRule`; or if B is W in all layers.
        """
        super().attach(model, generator)
        self._generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        if self.magnitude == "uniform" and all(self.layers.values()):
            raise UsageError(
                "sign-symmetric with magnitude=uniform sends the error back through the signs of "
                "the weights, and in this model these are the weights: it would be rule=bp. Take "
                "magnitude=fixed or batch, or a model with real weights"
            )

    def start(self, _name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Return M, or what the magnitudes of every step are multiplied by."""
        rms = torch.tensor(self.scale * size(weight))
        if self.magnitude == "uniform":
            return rms
        most = math.sqrt(3) * rms
        return (
            most
            if self.magnitude == "batch"
            else most * torch.rand(weight.shape, generator=generator)
        )

    def step_started(self) -> None:
        """Choose the magnitudes of a step, however often its closure is called."""
        if self.magnitude == "batch":
            self._seed = int(torch.randint(2**62, (), generator=self._generator))

    def feedback(self, name: str, weight: Tensor) -> Tensor:
        """Return M o sign(W)."""
        M, signs = self.get_buffer(key(name)), sign(weight)
        if self.magnitude == "batch":
            seed = self._seed + [*self.layers].index(name)
            draws = torch.Generator(weight.device).manual_seed(seed)
            M = M * torch.empty_like(weight).uniform_(generator=draws)
        return M * signs

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the magnitudes of later steps depend on."""
        return {"generator": self._generator.get_state()} if self.magnitude == "batch" else {}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        if "generator" in state:
            self._generator.set_state(state["generator"].cpu())
