"""How far a run has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bnnlab.engine.diagnosis import Diagnosis
from bnnlab.engine.evaluation import Prediction
from bnnlab.engine.uncertainty import Summary
from bnnlab.interfaces.stream import Examples

Phase = Literal["start", "epochs", "evaluation"]


@dataclass
class Progress:
    """How far a run has come; everything in it is in the checkpoint.

    Attributes:
        task: The task to go on with.
        phase: What comes next of it: its `start`, its `epochs`, or its `evaluation`, once the
            optimizer has heard that the task is over.
        epoch: The epoch to go on with.
        step: Steps made in that epoch.
        losses: Of its steps, 0 for those to come, on the device of the data.
        correct: Training examples that the epoch's steps predicted rightly, an integer tensor `()`.
        draws: State of the augmentation's generator before the piece of examples in use.
        row: Accuracies that the evaluation under way has found.
        summaries: What it keeps of the predictions, for the uncertainty.
        unknown: What it predicted for inputs of no task.
        steps: Optimizer steps made.
        untrained: Accuracy of the untrained model per task.
        accuracy: Rows of the accuracy matrix, T numbers each, None where not measured.
        flips: Per task, the share of binary weights that differ from the task's beginning.
        diagnostics: Per task, what the optimizer said of itself after its last epoch.
        uncertainty: Per task, what was measured of the predictions for the tasks seen; may be {}.
        fresh: Per task, the accuracy of a fresh model that learned it alone, if that is measured.
        diagnosis: Per task, per segment, how the rule's gradient compared with the exact one after
            the last epoch, if that is measured.
        seconds: Time spent, evaluation included.
        start_signs: Where each learned weight was positive at the task's beginning, as bool.
    """

    task: int = 0
    phase: Phase = "start"
    epoch: int = 0
    step: int = 0
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    correct: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    draws: Tensor | None = None
    row: list[float | None] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)
    unknown: Prediction | None = None
    steps: int = 0
    untrained: list[float | None] = field(default_factory=list)
    accuracy: list[list[float | None]] = field(default_factory=list)
    flips: list[float | None] = field(default_factory=list)
    diagnostics: list[dict[str, float | None]] = field(default_factory=list)
    uncertainty: list[dict[str, Any]] = field(default_factory=list)
    fresh: list[float | None] = field(default_factory=list)
    diagnosis: list[list[Diagnosis]] = field(default_factory=list)
    seconds: float = 0.0
    start_signs: list[Tensor] = field(default_factory=list)

    def begin_epoch(self, steps: int, device: torch.device) -> None:
        """Forget the steps of the epoch before."""
        self.step, self.draws = 0, None
        self.losses = torch.zeros(steps, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)

    def remembering(self, examples: Examples) -> Examples:
        """Return examples whose augmentation notes here where its draws begin."""
        augment = examples.augment
        if augment is None:
            return examples

        def augmented(images: Tensor, draws: torch.Generator) -> Tensor:
            self.draws = draws.get_state()
            return augment(images, draws)

        return replace(examples, augment=augmented)

    def end_evaluation(self) -> list[float | None]:
        """Return the accuracies that were found, and forget what else the evaluation kept."""
        row, self.row, self.summaries, self.unknown = self.row, [], [], None
        return row

    def state_dict(self) -> dict[str, Any]:
        """Return all of it in plain types and tensors."""
        unknown = None if self.unknown is None else vars(self.unknown)
        summaries = [vars(each) for each in self.summaries]
        return {**vars(self), "unknown": unknown, "summaries": summaries}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        unknown = None if state["unknown"] is None else Prediction(**state["unknown"])
        summaries = [Summary(**each) for each in state["summaries"]]
        saved = Progress(**{**state, "unknown": unknown, "summaries": summaries})
        vars(self).update(vars(saved))
