"""What a run found."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from bnnlab.engine import continual, figures
from bnnlab.engine.html import result_html
from bnnlab.errors import RunError
from bnnlab.settings.run import PLOTS, EvaluateOn

if TYPE_CHECKING:  # what a result is can be read without torch
    from bnnlab.engine.probes import Probes
    from bnnlab.engine.progress import Progress
    from bnnlab.interfaces.model import Model

log = logging.getLogger(__name__)

RunStatus = Literal["complete", "stopped", "failed", "interrupted"]
Status = RunStatus
"""Its name in 0.1.0."""
Value = TypeVar("Value")


class Measure(Generic[Value]):
    """A figure that results have: an attribute of a result, and an entry of `result.measures`.

    Attributes:
        name: The key of the figure in the result.
        unit: Unit or range of the figure.
        meaning: What the figure is, in a few words.
        absent: The figure's value if nothing measured it.
    """

    def __init__(self, unit: str, meaning: str, absent: Any = None) -> None:
        self.unit, self.meaning, self.absent = unit, meaning, absent

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, result: None, owner: type) -> "Measure[Value]": ...
    @overload
    def __get__(self, result: "Result", owner: type) -> Value: ...
    def __get__(self, result: "Result | None", owner: type) -> "Measure[Value] | Value":
        if result is None:
            return self
        found: Value = result.measures[self.name]
        return found


PerTask = list[float | None]


class Measured(Mapping[str, Any]):
    """Measures by name: `found["forgetting"]`."""

    measures: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.measures)

    def __len__(self) -> int:
        return len(self.measures)


@dataclass(frozen=True, eq=False, repr=False)
class Result(Measured):
    """What a run found: measures by name, `result["forgetting"]`, and what they belong to.

    `print(result)` shows the chief measures, with what each means, and what they belong to; a
    notebook shows the accuracy matrix, too.

    `MEASURES` says what the core's measures mean; probes add their own. result.json holds all but
    the model and the folder.

    Attributes:
        status: `complete`, `stopped` by a probe, `failed` or `interrupted`.
        stop_reason: Of a stopped run: which probe stopped it, and why; else None.
        measures: All of them by name.
        tasks: Names of the tasks.
        protocol: Hash of what was learned from, in which order, how it was split and scored.
        protocol_description: What was hashed.
        seed: Root seed.
        run_id: Sixteen hexadecimal digits of this run alone; a resumed run keeps them.
        seconds: Training and evaluation.
        components: Per kind: name, distribution and version; of an object its class, and its
            digest as version.
        computed_on: Kind of device and number of CPU threads; more than one if a resumed run went
            on with others. The threads are None for a part that 0.1.0 computed.
        changed_versions: Of torch, bnnlab and the plugins in use, those that a resumed run went on
            with another version of: all that parts of it were made with, in order.
        model: The trained model, in evaluation mode, as `bnnlab.load` returns it.
        folder: Where the run was written, or None.
        evaluate_on: The part of each task that was scored, `test` or `validation`.
        evaluate: After which tasks which tasks were scored, as the setting says it.
        score: What the numbers of `accuracy` are, such as "top-1 accuracy" or "R2". Measures keep
            their names: `average_accuracy` is the average R2 then, and its range is that of R2.
    """

    accuracy = Measure[list[PerTask]](
        "0 to 1", "T x T: row i after learning task i, column j scored on task j"
    )
    untrained_accuracy = Measure[PerTask]("0 to 1", "per task, before any training")
    fresh_accuracy = Measure[PerTask](
        "0 to 1", "per task, of a fresh model that learned it alone", []
    )
    average_accuracy = Measure[float | None]("0 to 1", "over all tasks after the last one")
    recent_accuracy = Measure[float | None](
        "0 to 1", f"over the last {continual.RECENT} tasks after the last one"
    )
    learning_accuracy = Measure[float | None]("0 to 1", "mean accuracy when just learned")
    forgetting = Measure[float | None]("-1 to 1", "mean drop from a task's best")
    backward_transfer = Measure[float | None]("-1 to 1", "mean change since learned")
    forward_transfer = Measure[float | None]("-1 to 1", "mean gain before learning")
    plasticity = Measure[float | None]("-1 to 1", "mean of just learned minus a fresh model's")
    retention = Measure[PerTask]("0 to 1", "per lag k, mean accuracy k tasks after learning")
    uncertainty = Measure[dict[str, Any]](
        "its own", "of the predictions for all tasks after the last one", {}
    )
    flips = Measure[PerTask]("0 to 1", "per task, share of binary weights it changed", [])
    diagnostics = Measure[list[dict[str, float | None]]](
        "their own", "per task, what rule and optimizer say of themselves"
    )
    diagnosis = Measure[list[list[dict[str, float | None]]]](
        "its own", "per task, per segment, the rule's gradient beside the exact one", []
    )

    status: RunStatus
    stop_reason: str | None
    measures: dict[str, Any]
    tasks: list[str]
    protocol: str
    protocol_description: dict[str, Any]
    seed: int
    run_id: str
    seconds: float
    components: dict[str, dict[str, str]]
    computed_on: list[dict[str, Any]]
    changed_versions: dict[str, list[str]]
    model: "Model"
    folder: Path | None
    evaluate_on: EvaluateOn = "test"
    evaluate: str = "all"
    score: str = "top-1 accuracy"

    def plot(self) -> Any:
        """Return a matplotlib figure: accuracy over the tasks and the accuracy matrix.

        Raises:
            UsageError: If bnnlab-plots is not installed.
        """
        from bnnlab.registry.host import PluginHost

        return PluginHost().library(PLOTS, "bnnlab_plots:plot_accuracy")([self])

    def __repr__(self) -> str:
        found = self.as_dict()
        table = figures.aligned(told(found), texts=(0, 2))
        return "\n".join([figures.head(found), table, figures.tail(found, self.folder)])

    def _repr_html_(self) -> str:
        found = self.as_dict()
        return result_html(found, told(found), self.folder)

    def as_dict(self) -> dict[str, Any]:
        """Return what result.json holds."""
        return {**self.measures, **{name: getattr(self, name) for name in ABOUT}}


ABOUT = tuple(
    each.name for each in fields(Result) if each.name not in ("measures", "model", "folder")
)
"""What result.json holds besides the measures."""
MEASURES: dict[str, Measure[Any]] = {
    name: each for name, each in vars(Result).items() if isinstance(each, Measure)
}
"""What the core's measures mean, and those that it asks bnnlab-analysis for, by name."""
ABSENT: dict[str, Any] = {name: measure.absent for name, measure in MEASURES.items()}
"""The values of measures that nothing measured."""


def told(result: Mapping[str, Any]) -> figures.Rows:
    """Return name, value and meaning of each measure that is a number.

    Args:
        result: What result.json holds, with all of `MEASURES`.
    """
    meanings = {name: each.meaning for name, each in MEASURES.items()}
    return figures.rows(result, meanings, sorted(result.keys() - MEASURES.keys() - {*ABOUT}))


def measured(
    progress: "Progress", probes: "Probes", status: RunStatus, failure: BaseException | None
) -> dict[str, Any]:
    """Return all measures of a run that has come as far as its progress says, by name.

    `failure` is what failed the run, which was said.

    Raises:
        RunError: If what a probe measures is refused; a run that ended early is then without it.
    """
    own = {
        **continual.measures(progress.accuracy, progress.untrained),
        "diagnostics": progress.diagnostics,
    }
    try:
        found = probes.measures(own.keys() | {f.name for f in fields(Result)})
    except RunError as error:
        if status in ("complete", "stopped"):
            raise
        if str(error) != str(failure):
            log.warning("the result is without what probes measure: %s", error)
        found = {}
    return {**ABSENT, **own, **found}
