"""One trial, in a worker process: its seeds, one after another."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import optuna

from bnnlab.errors import UsageError, did_you_mean
from bnnlab_optuna.choices import make_pruner
from bnnlab_optuna.storage import FAULTS, connect, disconnect, unreachable
from bnnlab_optuna.tuning import Tuning
from bnnlab_studies.job import Job, perform

if TYPE_CHECKING:
    from bnnlab_optuna.pruning import Report

log = logging.getLogger("bnnlab.optuna")


@dataclass(frozen=True)
class Trial:
    """What a worker needs to carry out a trial.

    Attributes:
        number: In the study.
        jobs: A run for each seed.
        tuning: What is measured, and who prunes.
        address: Of the storage.
        study: Its name there.
        within: Whether the run itself reports, and is stopped if the trial is pruned.
    """

    number: int
    jobs: Sequence[Job]
    tuning: Tuning
    address: str = field(repr=False)
    study: str
    within: bool

    def __str__(self) -> str:
        return f"trial {self.number}"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: `interrupted` if there is something left to do.
        values: Of the seeds that were run.
        value: Of the trial, if it is complete.
        about: Of a pruned or failed one, why; in one line.
        is_unknown: Whether the runs do not have the measure.
        protocol: Hash of what the runs learned from and were scored by.
        said: Notes and warnings that the runs logged: level and message.
    """

    status: Literal["complete", "pruned", "failed", "interrupted"]
    values: Sequence[float] = ()
    value: float | None = None
    about: str = ""
    is_unknown: bool = False
    protocol: str = ""
    said: Sequence[tuple[int, str]] = ()


def examine(settings: dict[str, Any], measure: str) -> str:
    """Return why no trial can be made with these settings; empty if it can. Writes nothing.

    Args:
        settings: Of a run.
        measure: What is tuned. That of a probe is known once a run has it.
    """
    from bnnlab.engine.preparing import prepare
    from bnnlab.engine.result import MEASURES
    from bnnlab.registry.host import PluginHost
    from bnnlab.settings.layers import resolve

    host = PluginHost()
    try:
        config = resolve(host, [settings, {"out": "none"}])
        prepare(host, config)
    except UsageError as error:
        return str(error)
    if config.probes or measure.partition(".")[0] in MEASURES:
        return ""
    return f"tune.measure: {unknown(measure, MEASURES)}"


def unknown(measure: str, known: Iterable[str]) -> str:
    """Return what is said of a measure that runs do not have."""
    names = list(known)
    hint = did_you_mean(measure, names)
    return f"runs do not have {measure}.{hint} They have: {', '.join(names)}."


def perform_trial(trial: Trial) -> Outcome:
    """Carry out a trial, or what is left of it."""
    with closing(_Reporter(trial)) as report:
        return _perform(trial, report)


def _perform(trial: Trial, report: "Report") -> Outcome:
    from bnnlab_optuna.pruning import reporting  # imports torch, as the next
    from bnnlab_studies.record import Record

    so_far = Outcome("interrupted")
    for place, job in enumerate(trial.jobs):
        with reporting(report) if trial.within else nullcontext():
            ended = perform(job)
        if ended.status == "interrupted":
            return so_far
        if ended.status == "failed":
            return replace(so_far, status="failed", about=ended.error)
        record = Record.read(job.folder)
        so_far = replace(so_far, protocol=str(record["protocol"]))
        if ended.status == "stopped":
            return replace(so_far, status="pruned", about=str(record.result["stop_reason"]))
        try:
            value = _number(record, trial.tuning.measure)
        except KeyError:
            about = unknown(trial.tuning.measure, record.result)
            return replace(so_far, status="failed", about=about, is_unknown=True)
        except ValueError as error:
            return replace(so_far, status="failed", about=str(error))
        values = [*so_far.values, value]
        so_far = replace(so_far, values=values, said=[*so_far.said, *ended.said])
        is_pruned = len(trial.jobs) > 1 and report(place, _so_far(trial.tuning, values))
        if is_pruned and place < len(trial.jobs) - 1:
            about = f"after {place + 1} of {len(trial.jobs)} seeds"
            return replace(so_far, status="pruned", about=about)
    return replace(so_far, status="complete", value=trial.tuning.value(values))


def _number(run: Mapping[str, Any], measure: str) -> float:
    value = run[measure]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{measure} is no number, but {value!r:.60}")
    return float(value)


def _so_far(tuning: Tuning, values: list[float]) -> float:
    """Return what is reported after a seed.

    Wilcoxon's pruner compares trials seed by seed. Others expect the trial's value, as far as it is
    known.
    """
    return values[-1] if tuning.pruner == "wilcoxon" else tuning.value(values)


class _Reporter:
    """Tells the study the values of a trial, and asks whether it is pruned.

    A study that cannot be reached is a warning: the run is worth more than its report.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._live: optuna.Trial | None = None
        self._storage: optuna.storages.RDBStorage | None = None

    def __call__(self, step: int, value: float) -> bool:
        try:
            self._live = self._live or self._find()
            known = self._live.study.get_trials(deepcopy=False)[self._live.number]
            if step not in known.intermediate_values:  # a run that goes on reports again
                self._live.report(value, step)
            return bool(self._live.should_prune())
        except FAULTS as error:
            log.warning(
                "%s reports nothing: %s", self._trial, unreachable(self._trial.address, error)
            )
        except UsageError as error:
            log.warning("%s reports nothing: %s", self._trial, error)
        return False

    def _find(self) -> "optuna.Trial":
        trial = self._trial
        self._storage = self._storage or connect(trial.address)
        study = optuna.load_study(
            study_name=trial.study,
            storage=self._storage,
            sampler=optuna.samplers.RandomSampler(),  # draws nothing here
            pruner=make_pruner(trial.tuning.pruner),
        )
        every = study.get_trials(deepcopy=False)
        return optuna.Trial(study, every[trial.number]._trial_id)

    def close(self) -> None:
        """Close the connections."""
        if self._storage:
            disconnect(self._storage)
