"""One trial, in a worker process: its seeds, one after another."""

import logging
import math
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

import optuna

from bnnlab.errors import UsageError, did_you_mean
from bnnlab_optuna.choices import make_pruner
from bnnlab_optuna.storage import FAULTS, connect, disconnect, unreachable
from bnnlab_optuna.tuning import Tuning
from bnnlab_studies.job import Job, perform
from bnnlab_studies.record import Record

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
    """

    number: int
    jobs: Sequence[Job]
    tuning: Tuning
    address: str = field(repr=False)
    study: str

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
        said: Notes and warnings that the runs logged: level and message.
    """

    status: Literal["complete", "pruned", "failed", "interrupted"]
    values: Sequence[float] = ()
    value: float | None = None
    about: str = ""
    said: Sequence[tuple[int, str]] = ()


def perform_trial(trial: Trial) -> Outcome:
    """Carry out a trial, or what is left of it.

    Raises:
        UsageError: If the runs do not have the measure.
    """
    from bnnlab_optuna.pruning import reporting  # imports torch

    tuning, count = trial.tuning, len(trial.jobs)
    so_far = Outcome("interrupted")
    with closing(_Reporter(trial)) as report:
        for place, job in enumerate(trial.jobs):
            with reporting(report) if tuning.within else nullcontext():
                ended = perform(job)
            so_far = replace(so_far, said=[*so_far.said, *ended.said])
            if ended.status == "interrupted":
                return so_far
            if ended.status == "failed":
                return replace(so_far, status="failed", about=ended.error)
            record = Record.read(job.folder)
            if ended.status == "stopped":
                return replace(so_far, status="pruned", about=str(record.result["stop_reason"]))
            try:
                values = [*so_far.values, _number(record, tuning.measure)]
            except ValueError as error:
                return replace(so_far, status="failed", about=str(error))
            so_far = replace(so_far, values=values)
            # Wilcoxon's pruner compares seed by seed; others, the trial's value so far.
            value = values[-1] if tuning.pruner == "wilcoxon" else tuning.value(values)
            if count > 1 and report(place, value) and place < count - 1:
                return replace(so_far, status="pruned", about=f"after {place + 1} of {count} seeds")
    return replace(so_far, status="complete", value=tuning.value(values))


def _number(run: Record, measure: str) -> float:
    if measure not in run:
        hint = did_you_mean(measure, run.result) or f" They have: {', '.join(run.result)}."
        raise UsageError(f"tune.measure: runs do not have {measure}.{hint}")
    value = run[measure]
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{measure} is no finite number, but {value!r:.60}")
    return float(value)


class _Reporter:
    """Tells the study the values of a trial, and asks whether it is pruned.

    A study that cannot be reached is a warning: the run is worth more than its report.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._storage: optuna.storages.RDBStorage | None = None

    def __call__(self, step: int, value: float) -> bool:
        address = self._trial.address
        try:
            self._storage = self._storage or connect(address)
            study = optuna.load_study(
                study_name=self._trial.study,
                storage=self._storage,
                sampler=optuna.samplers.RandomSampler(),  # draws nothing here
                pruner=make_pruner(self._trial.tuning.pruner),
            )
            known = study.get_trials(deepcopy=False)[self._trial.number]
            live = optuna.Trial(study, known._trial_id)
            if step not in known.intermediate_values:  # a run that goes on reports again
                live.report(value, step)
            return bool(live.should_prune())
        except FAULTS as error:
            log.warning("%s reports nothing: %s", self._trial, unreachable(address, error))
        except UsageError as error:
            log.warning("%s reports nothing: %s", self._trial, error)
        return False

    def close(self) -> None:
        """Close the connections."""
        if self._storage:
            disconnect(self._storage)
