"""A memory of past examples, from which a rule learns again."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.batch import Batch, TaskLoss, of_rows
from bnnlab.interfaces.policies import POLICIES, Policy

UNKNOWN = -1
"""The task of a row whose task was not known."""


class Past(NamedTuple):
    """Past examples that a memory gave.

    Attributes:
        batch: Inputs and targets as they were learned from; each row has its own task and mask.
        logits: The model's outputs when the rows came, `(B, ..., K)`; None if they are not kept.
    """

    batch: Batch
    logits: Tensor | None


class Memory(nn.Module):
    """A fixed number of past examples, each with its task and its mask.

    Inputs are kept as the model saw them: augmented, permuted and normalised, on the device of the
    batches. The state is in the `state_dict()` of the module that has the memory.

    Args:
        size: The largest number of examples.
        generator: Seeds the memory's own one, which decides what is kept and what is drawn.
        policy: `reservoir`, or `balanced` by class, see `bnnlab.interfaces.policies`.
        logits: Whether the model's outputs are kept, too.

    Raises:
        ValueError: If there is no such policy, or no room.
    """

    def __init__(
        self,
        size: int,
        *,
        generator: torch.Generator,
        policy: Policy = "reservoir",
        logits: bool = False,
    ) -> None:
        super().__init__()
        if policy not in POLICIES or size < 1:
            raise ValueError(
                f"a memory has a size from 1 on and a policy of {', '.join(POLICIES)}, not "
                f"{size} and {policy!r}"
            )
        self.size, self.policy, self.keeps_logits = size, policy, logits
        self._places = POLICIES[policy](size)
        seed = int(torch.randint(2**62, (), generator=generator))
        self._generator = torch.Generator().manual_seed(seed)
        self._columns: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._places.held

    @property
    def reads_classes(self) -> bool:
        """Whether the policy goes by classes, so that each input must have one."""
        return self._places.reads_classes

    @property
    def bytes(self) -> int:
        """The bytes of all places; 0 before the first example, which shows how large one is."""
        return sum(column.nbytes for column in self._columns.values())

    def describe(self) -> dict[str, Any]:
        """Return what the protocol says of it."""
        keeps = ["inputs", "targets", *["logits"] * self.keeps_logits]
        return {"size": self.size, "policy": self.policy, "keeps": keeps}

    @torch.no_grad()
    def add(self, batch: Batch, logits: Tensor) -> None:
        """Offer the rows of a batch, with their logits; the policy decides which are kept.

        Raises:
            UsageError: If the policy goes by classes, and the rows do not have one each.
        """
        targets = batch.targets
        if self.reads_classes and (targets.ndim != 1 or targets.is_floating_point()):
            raise UsageError(
                f"a memory with policy={self.policy} needs one class for each input, and these "
                "targets are none: use policy=reservoir"
            )
        found = self._places.place(targets, self._generator)
        if not found:
            return
        self._move(targets.device)
        places, rows = (
            torch.tensor([*each]).to(targets.device, non_blocking=True)
            for each in (found.keys(), found.values())
        )
        tasks = UNKNOWN if batch.tasks is None else batch.tasks
        values = {"inputs": batch.inputs, "targets": targets, "tasks": of_rows(tasks, batch, ())}
        if self.keeps_logits:
            values["logits"] = logits
        mask = self._columns.get("masks", batch.mask)
        if mask is not None:  # as soon as one row has one
            values["masks"] = of_rows(batch.mask, batch, mask.shape[-1:])
        for name, each in values.items():
            if name not in self._columns:
                empty = torch.ones if name == "masks" else torch.zeros
                shape = (self.size, *each.shape[1:])
                self._columns[name] = empty(shape, dtype=each.dtype, device=each.device)
            self._columns[name].index_copy_(0, places, each.index_select(0, rows))

    @torch.no_grad()
    def draw(self, count: int, like: Batch) -> Past | None:
        """Return `count` different rows by chance, or all if there are fewer; None if empty.

        Objective and device are those of the batch `like`.
        """
        if not len(self):
            return None
        device = like.targets.device
        self._move(device)
        chosen = torch.randperm(len(self), generator=self._generator)[:count]
        chosen = chosen.to(device, non_blocking=True)
        rows = {name: each.index_select(0, chosen) for name, each in self._columns.items()}
        loss = TaskLoss(like.objective, rows.get("masks"), rows["tasks"])
        return Past(Batch(rows["inputs"], rows["targets"], loss), rows.get("logits"))

    def _move(self, device: torch.device) -> None:
        if any(column.device != device for column in self._columns.values()):
            self._columns = {name: each.to(device) for name, each in self._columns.items()}

    def get_extra_state(self) -> dict[str, Any]:
        """Return what `state_dict()` holds of it."""
        state, places = self._generator.get_state(), dict(vars(self._places))
        return {"places": places, "columns": dict(self._columns), "generator": state}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore it; raise a ValueError if a memory of another size or policy saved it."""
        state = copy.deepcopy(dict(state))
        places, own = state["places"], vars(self._places)
        if places.keys() != own.keys() or places["size"] != self.size:
            raise ValueError("a memory of another size or policy saved this state")
        own.update(places)
        self._columns = state["columns"]
        self._generator.set_state(state["generator"].cpu())
