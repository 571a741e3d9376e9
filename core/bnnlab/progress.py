"""How far a run has come."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bnnlab.diagnosis import Diagnosis


@dataclass
class Progress:
    """How far a run has come; everything in it is in the checkpoint.

    Attributes:
        task: The task to go on with.
        epoch: Its epoch to go on with.
        steps: Optimizer steps made.
        lines: Lines of metrics written.
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
    epoch: int = 0
    steps: int = 0
    lines: int = 0
    untrained: list[float | None] = field(default_factory=list)
    accuracy: list[list[float | None]] = field(default_factory=list)
    flips: list[float | None] = field(default_factory=list)
    diagnostics: list[dict[str, float | None]] = field(default_factory=list)
    uncertainty: list[dict[str, Any]] = field(default_factory=list)
    fresh: list[float | None] = field(default_factory=list)
    diagnosis: list[list[Diagnosis]] = field(default_factory=list)
    seconds: float = 0.0
    start_signs: list[Tensor] = field(default_factory=list)
