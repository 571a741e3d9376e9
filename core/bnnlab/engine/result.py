"""What a run found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from bnnlab.engine import continual
from bnnlab.engine.diagnosis import Diagnosis
from bnnlab.engine.learner import Learner
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.stream import Task, protocol_hash
from bnnlab.settings.run import RunConfig

Status = Literal["complete", "failed", "interrupted"]


@dataclass(frozen=True)
class Result:
    """What a run found; `result.json` holds all but the model and the folder.

    Accuracies are fractions; None is "not measured".

    Attributes:
        status: `complete`, `failed` or `interrupted`.
        accuracy: T x T matrix: row i after learning task i, column j on the test part of task j.
        untrained_accuracy: Of the model before training, per task.
        fresh_accuracy: Of a fresh model that learned one task alone, per task; [] if not measured.
        average_accuracy: Mean over all tasks after the last one.
        recent_accuracy: Mean over the last five tasks after the last one.
        learning_accuracy: Mean accuracy on each task right after learning it.
        forgetting: Mean drop from each earlier task's best accuracy to its last.
        backward_transfer: Mean change of earlier tasks' accuracy since each was learned.
        forward_transfer: Mean gain on a task from the tasks before it, over the untrained model.
        plasticity: Mean of (accuracy on each task right after learning it - a fresh model's).
        retention: Per lag k, mean accuracy on a task k tasks after it was learned.
        uncertainty: Of the predictions for all tasks after the last one; see
            `bnnlab.engine.uncertainty.uncertainty`. Empty if not measured.
        flips: Per task, the share of binary weights it changed.
        diagnostics: Per task, what rule and optimizer said of themselves after the last epoch;
            None for what was not finite.
        diagnosis: Per task, per segment, how the rule's gradient compared with the exact one after
            the last epoch; see `bnnlab.engine.diagnosis.diagnose`. Empty if not measured.
        tasks: Names of the tasks.
        protocol: Hash of what was learned from, in which order, how it was split and scored.
        protocol_description: What was hashed.
        seed: Root seed.
        seconds: Training and evaluation.
        components: Per kind: name, distribution and version.
        changed_versions: Of torch, bnnlab and the plugins in use, those that a resumed run went on
            with another version of: all that parts of it were made with, in order.
        model: The trained model, in evaluation mode, as `bnnlab.load` returns it.
        folder: Where the run was written, or None.
    """

    status: Status
    accuracy: list[list[float | None]]
    untrained_accuracy: list[float | None]
    fresh_accuracy: list[float | None]
    average_accuracy: float | None
    recent_accuracy: float | None
    learning_accuracy: float | None
    forgetting: float | None
    backward_transfer: float | None
    forward_transfer: float | None
    plasticity: float | None
    retention: list[float | None]
    uncertainty: dict[str, float | list[float]]
    flips: list[float | None]
    diagnostics: list[dict[str, float | None]]
    diagnosis: list[list[Diagnosis]]
    tasks: list[str]
    protocol: str
    protocol_description: dict[str, Any]
    seed: int
    seconds: float
    components: dict[str, dict[str, str]]
    changed_versions: dict[str, list[str]]
    model: Model = field(repr=False)
    folder: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return what result.json holds."""
        own = {"model", "folder"}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in own}


def conclude(
    status: Status,
    config: RunConfig,
    learner: Learner,
    tasks: Sequence[Task],
    protocol: dict[str, Any],
    versions: Mapping[str, list[str]],
    folder: Path | None,
) -> Result:
    """Return the result of a run that has come as far as its learner's progress says.

    Args:
        status: How it ended.
        config: What was run.
        learner: What learned.
        tasks: All of the stream.
        protocol: What figures depend on, see `bnnlab.engine.protocol.describe`.
        versions: All that parts of the run were made with, by name.
        folder: Where it was written, or None.
    """
    progress, matrix = learner.progress, learner.progress.accuracy
    return Result(
        status=status,
        accuracy=matrix,
        untrained_accuracy=progress.untrained,
        fresh_accuracy=progress.fresh,
        average_accuracy=continual.average_accuracy(matrix),
        recent_accuracy=continual.recent_accuracy(matrix),
        learning_accuracy=continual.learning_accuracy(matrix),
        forgetting=continual.forgetting(matrix),
        backward_transfer=continual.backward_transfer(matrix),
        forward_transfer=continual.forward_transfer(matrix, progress.untrained),
        plasticity=continual.plasticity(matrix, progress.fresh),
        retention=continual.retention(matrix),
        uncertainty=progress.uncertainty[-1] if progress.uncertainty else {},
        flips=progress.flips,
        diagnostics=progress.diagnostics,
        diagnosis=progress.diagnosis,
        tasks=[task.name for task in tasks],
        protocol=protocol_hash(protocol),
        protocol_description=protocol,
        seed=config.seed,
        seconds=round(progress.seconds, 3),
        components={
            str(kind): {
                "name": choice.component.name,
                "distribution": choice.plugin.distribution,
                "version": choice.plugin.version,
            }
            for kind, choice in config.choices.items()
        },
        changed_versions={name: each for name, each in versions.items() if len(each) > 1},
        model=learner.model.eval(),
        folder=folder,
    )
