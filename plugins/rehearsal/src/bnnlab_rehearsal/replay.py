"""Experience replay, ER-ACE and DER++. The loss of a step is that of new and of past examples.

With the batch (x, y) of B rows, memory rows (x', y'), logits f and cross-entropy CE, means over
rows:

    replay   mean over all rows of CE(f(x), y) and CE(f(x'), y')
    er-ace   CE over the batch's classes (f(x), y) + CE over all classes seen (f(x'), y')
    derpp    CE(f(x), y) + alpha |f(x') - z'|^2 / K + beta CE(f(x''), y'')

z' are the logits of x' when it came; (x'', y'') is a second draw from the memory.
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.interfaces.batch import joined
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.markers import AtLeast, Search
from bnnlab_rehearsal.losses import among, distance_to, summed
from bnnlab_rehearsal.rehearsal import ByTheLoss, Rehearsal, classes_of


class Replay(Rehearsal):
    """Learns past examples beside new ones, all alike.

    Source: Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019 (arXiv
    1902.10486), algorithm 1.

    Args:
        rest: Options of `Rehearsal`.
    """

    name = "replay"

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)

    def recall(self, model: Model, batch: Batch) -> Batch:  # noqa: ARG002
        """Return the batch's rows and past ones; the loss is the mean over all."""
        past = self.past(batch)
        return batch if past is None else joined([batch, past.batch])


class AsymmetricReplay(Rehearsal):
    """New examples are compared among the classes of their batch, past ones among all seen.

    So the first batches of new classes do not push the representation of old ones away. Source:
    Caccia et al., "New Insights on Reducing Abrupt Representation Change in Online Continual
    Learning", ICLR 2022, eq. 3.

    Args:
        rest: Options of `Rehearsal`.
    """

    name = "er-ace"
    any_loss = False  # it is about classes
    changes_loss = True
    seen: Tensor

    def __init__(self, *, base: ByTheLoss = "bp", **rest: Any) -> None:
        super().__init__(base=base, **rest)

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Attach the base, make the memory; no class was seen yet."""
        super().attach(model, generator)
        device = next(model.parameters()).device
        seen = torch.zeros(classes_of(model, self.name), dtype=torch.bool, device=device)
        self.register_buffer("seen", seen)

    def recall(self, model: Model, batch: Batch) -> Batch:  # noqa: ARG002
        """Return the batch's rows and past ones, with a loss for each."""
        own = torch.zeros_like(self.seen).index_fill_(0, batch.targets, True)
        parts = [(len(batch.targets), 1.0, among(own, batch.loss))]
        past = self.past(batch)
        if past is None:
            return summed(batch, *parts)
        theirs = past.batch
        parts += [(len(theirs.targets), 1.0, among(own | self.seen, theirs.loss))]
        return summed(joined([batch, theirs]), *parts)

    def remember(self, batch: Batch, logits: Tensor) -> None:
        """Keep the batch, and that its classes were seen."""
        super().remember(batch, logits)
        self.seen.index_fill_(0, batch.targets, True)


class DarkReplay(Rehearsal):
    """Matches the logits of past examples, and learns the labels of others.

    Source: Buzzega et al., "Dark Experience for General Continual Learning: a Strong, Simple
    Baseline", NeurIPS 2020, eq. 6. As in the published code, the squared distance is a mean over
    the K logits, not their sum. Of a step with several weight draws, z' is the mean of its logits.

    Args:
        alpha: Weight of the squared distance to past logits.
        beta: Weight of the loss on past labels; 0: DER.
        rest: Options of `Rehearsal`.
    """

    name = "derpp"
    any_loss = False  # it is about classes
    changes_loss = True
    keeps_logits = True

    def __init__(
        self,
        *,
        base: ByTheLoss = "bp",
        alpha: Annotated[float, AtLeast(0), Search(0.1, 1.0)] = 0.3,
        beta: Annotated[float, AtLeast(0), Search(0.1, 1.0)] = 0.5,
        **rest: Any,
    ) -> None:
        super().__init__(base=base, **rest)
        self.alpha, self.beta = alpha, beta

    def recall(self, model: Model, batch: Batch) -> Batch:  # noqa: ARG002
        """Return the batch's rows and two draws of past ones, with a loss for each."""
        dark, others = self.past(batch), self.past(batch)
        if dark is None or others is None:
            return batch
        assert dark.logits is not None
        return summed(
            joined([batch, dark.batch, others.batch]),
            (len(batch.targets), 1.0, batch.loss),
            (len(dark.batch.targets), self.alpha, distance_to(dark.logits)),
            (len(others.batch.targets), self.beta, others.batch.loss),
        )
