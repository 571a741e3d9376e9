"""Backpropagation through time over the relaxation: what equilibrium propagation approximates."""

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab_eqprop.inference import RelaxingRule


class BackpropagationThroughTime(RelaxingRule):
    """Differentiates the last K of the T updates of a relaxation by autograd.

    The states before them count as constants (Ernoult et al., NeurIPS 2019; Laydevant et al., CVPR
    Workshops 2021, section 3).

    Args:
        nudge_steps: K, the number of last updates that are differentiated; all T if K is larger.
    """

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Relax, and go back through the last updates."""
        self.check(model, batch)
        states = self.relaxation.rest(batch.inputs, self.tolerance)
        logits = self.relaxation.logits(states)
        loss = self.objective(batch)(logits, batch.targets)
        torch.autograd.backward(loss)
        return self.checked(loss, {"free": states}), logits
