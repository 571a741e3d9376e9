"""How far a run has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.probe import Moment
from bnnlab.interfaces.stream import Task
from bnnlab.storage.rows import packed, unpacked

Phase = Literal["start", "epochs", "evaluation"]


@dataclass
class Progress:
    """How far a run has come; everything in it is in the checkpoint.

    Attributes:
        task: The task to go on with.
        phase: What comes next of it: its `start`, its `epochs`, or its `evaluation`, once rule and
            optimizer have heard that the task is over. Nothing is saved before both have heard.
        epoch: The epoch to go on with.
        step: Steps made in that epoch.
        losses: Of its steps, 0 for those to come, on the device of the data.
        correct: Training examples that the epoch's steps predicted rightly, a tensor `()`; None
            where that means nothing.
        generator: State of the augmentation's generator before the piece of examples in use.
        row: Accuracies that the evaluation under way has found.
        further: How many of the probes' further inputs it has predicted.
        steps: Optimizer steps made.
        untrained: Accuracy of the untrained model per task.
        accuracy: Rows of the accuracy matrix, T numbers each, None where not measured.
        diagnostics: Per task, what rule and optimizer said of themselves after its last epoch.
        best: What `Selection` keeps of the best epoch of the task under way; None for nothing.
        ended: Whether the probes have heard that the run has ended.
        seconds: Time spent, evaluation included.
    """

    task: int = 0
    phase: Phase = "start"
    epoch: int = 0
    step: int = 0
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    correct: Tensor | None = None
    generator: Tensor | None = None
    row: list[float | None] = field(default_factory=list)
    further: int = 0
    steps: int = 0
    untrained: list[float | None] = field(default_factory=list)
    accuracy: list[list[float | None]] = field(default_factory=list)
    diagnostics: list[dict[str, float | None]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    ended: bool = False
    seconds: float = 0.0

    def at(self, task: Task) -> Moment:
        """Return how far the run is in a task, for probes."""
        return Moment(task, self.epoch, self.steps)

    def begin(self, steps: int, device: torch.device) -> None:
        """Put `losses` and `correct`, at an epoch's first step 0, on a device."""
        if self.step == 0:
            self.generator, self.losses = None, torch.zeros(steps)
            self.correct = torch.zeros((), dtype=torch.int64)
        self.losses = self.losses.to(device)
        self.correct = None if self.correct is None else self.correct.to(device)

    def count(self, losses: Tensor, right: Tensor | None) -> None:
        """Count steps, by the loss of each, and the examples that they predicted rightly.

        None: that means nothing. An example of which a part is right counts as that part.
        """
        steps = losses.numel()
        self.losses[self.step : self.step + steps] = losses
        self.step, self.steps = self.step + steps, self.steps + steps
        self.correct = None if right is None or self.correct is None else self.correct + right

    def remembering(self, examples: Examples) -> Examples:
        """Return the examples; their augmentation stores its generator's state here."""
        augment = examples.augment
        if augment is None:
            return examples

        def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
            self.generator = generator.get_state()
            return augment(images, generator)

        return replace(examples, augment=augmented)

    def end_evaluation(self) -> list[float | None]:
        """Return the accuracies that an evaluation has found, and forget them."""
        row, self.row, self.further = self.row, [], 0
        return row

    def state_dict(self) -> dict[str, Any]:
        """Return all of it in plain types and tensors; of the matrix, only what is measured."""
        return {**vars(self), "accuracy": packed(self.accuracy)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: If it is something else.
        """
        state = {"best": None, **state}  # which 0.1.0 did not have
        if "draws" in state:  # its name in 0.1.0
            state["generator"] = state.pop("draws")
        if state.keys() != vars(self).keys():
            raise ValueError(f"{', '.join(sorted(state.keys() ^ vars(self).keys()))} do not match")
        rows = [unpacked(row) if isinstance(row, Mapping) else row for row in state["accuracy"]]
        vars(self).update({**state, "accuracy": rows})
