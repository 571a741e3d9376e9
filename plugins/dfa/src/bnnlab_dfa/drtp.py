"""Direct random target projection: the target itself through fixed random matrices.

Source: Frenkel, Lefebvre and Bol, "Learning Without Feedback: Fixed Random Learning Signals Allow
for Feedforward Training of Deep Neural Networks", Frontiers in Neuroscience 15:629892, 2021.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.families.local import LocalRule
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab_dfa.feedback import RandomFeedback


class DirectRandomTargetProjection(RandomFeedback, LocalRule):
    """Teaches every hidden segment by a fixed random projection of the target.

    With B examples and their targets y* of shape (B, K), one-hot, a hidden segment l with output
    h_l receives -y* B_l / B in place of dL/dh_l (section 2 of the paper, eq. 3: the error's sign is
    known from the target alone, before the output is). So it learns as soon as its output is there,
    and its activations are freed before the next segment runs. The last segment's gradient is
    exact.

    Args:
        targets: The projected target y*. centred: one-hot minus its mean over the classes, 1/K.
        options: Options of `RandomFeedback`. With `skip="leak"` learning waits for the backward
            pass.
    """

    name = "drtp"
    capturable = True

    def __init__(self, targets: Literal["one-hot", "centred"] = "one-hot", **options: Any) -> None:
        super().__init__(**options)
        self.targets = targets

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run one segment after the other and teach each at once; or all at the end."""
        if self.skip == "leak":
            return self.differentiate_leaking(model, batch, lambda _: self._e(batch))
        return super().differentiate(model, batch)

    def signal(self, number: int, output: Tensor, batch: Batch) -> Tensor:
        """Return -y* B_l / B in the output's shape."""
        return self.project(number, self._e(batch), output)

    def _e(self, batch: Batch) -> Tensor:
        """Return -y* / B, of shape (B, K), which stands for the error."""
        B1 = self.get_buffer("B1")
        y = F.one_hot(batch.targets, len(B1)).to(B1)
        if self.targets == "centred":
            y = y - 1 / y.shape[1]
        return torch.div(y, -len(y))
