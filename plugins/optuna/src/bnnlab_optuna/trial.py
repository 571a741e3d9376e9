"""One trial, in a worker process: its seeds, one after another."""

import logging
import math
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from bnnlab.errors import UsageError
from bnnlab_optuna.choices import make_pruner
from bnnlab_optuna.storage import FAULTS, connect, disconnect, unreachable
from bnnlab_optuna.tuning import Tuning, no_measure
from bnnlab_studies.job import Job, perform
from bnnlab_studies.record import Record

log = logging.getLogger("bnnlab.optuna")


@dataclass(frozen=True)
class Trial:
    """What a worker needs to carry out a trial: a run for each seed, and where it reports."""

    number: int
    jobs: Sequence[Job]
    tuning: Tuning
    address: str = field(repr=False)
    study: str  # its name there
    is_first: bool  # no other one is complete

    def __str__(self) -> str:
        return f"trial {self.number}"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: Running, if there is something left to do.
        values: Of the seeds that were run.
        value: Of the trial, if it is complete.
        about: Why it is pruned or failed, or cannot go on now; in one line.
        said: Notes and warnings that the runs logged: level and message.
    """

    state: TrialState
    values: Sequence[float] = ()
    value: float | None = None
    about: str = ""
    said: Sequence[tuple[int, str]] = ()


def perform_trial(trial: Trial) -> Outcome:
    """Carry out a trial, or what is left of it.

    Raises:
        UsageError: If it is the first one, and does not have the measure.
    """
    from bnnlab_optuna.pruning import reporting  # imports torch

    tuning, count = trial.tuning, len(trial.jobs)
    values, said = list[float](), list[tuple[int, str]]()

    def ended(state: TrialState, about: str = "", value: float | None = None) -> Outcome:
        return Outcome(state, values, value, about, said)

    with closing(_Reporter(trial)) as report:
        for place, job in enumerate(trial.jobs, 1):
            with reporting(report) if tuning.within else nullcontext():
                run = perform(job)
            said += run.said
            if run.status == "interrupted":
                return ended(TrialState.RUNNING)
            if run.status == "failed":
                return ended(TrialState.RUNNING if run.is_outside else TrialState.FAIL, run.error)
            record = Record.read(job.folder)
            if run.status == "stopped":
                return ended(TrialState.PRUNED, str(record.result["stop_reason"]))
            try:
                values.append(_number(record, tuning.measure))
            except (UsageError, ValueError) as error:
                if isinstance(error, UsageError) and trial.is_first:
                    raise
                return ended(TrialState.FAIL, str(error))
            # Wilcoxon's pruner compares seed by seed; others, the trial's value so far.
            value = values[-1] if tuning.pruner == "wilcoxon" else tuning.value(values)
            if count > 1 and report(place - 1, value) and place < count:
                return ended(TrialState.PRUNED, f"after {place} of {count} seeds")
    return ended(TrialState.COMPLETE, value=tuning.value(values))


def _number(run: Record, measure: str) -> float:
    value: Any = run[measure] if run.has_measure(measure) else None
    if type(value) not in (int, float):
        raise no_measure(measure, run.result)
    if not math.isfinite(value):
        raise ValueError(f"{measure} is no finite number, but {value}")
    return float(value)


class _Reporter:
    """Tells the study the values of a trial, and asks whether it is pruned.

    A study that cannot be reached is a warning: the run is worth more than its report.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._storage: optuna.storages.RDBStorage | None = None

    def __call__(self, step: int, value: float) -> bool:
        trial = self._trial
        try:
            self._storage = self._storage or connect(trial.address)
            study = optuna.load_study(
                study_name=trial.study,
                storage=self._storage,
                sampler=optuna.samplers.RandomSampler(),  # draws nothing here
                pruner=make_pruner(trial.tuning.pruner),
            )
            known = study.get_trials(deepcopy=False)[trial.number]
            live = optuna.Trial(study, known._trial_id)
            if step not in known.intermediate_values:  # a run that goes on reports again
                live.report(value, step)
            return bool(live.should_prune())
        except (UsageError, *FAULTS) as error:
            why = error if isinstance(error, UsageError) else unreachable(trial.address, error)
            log.warning("%s reports nothing: %s", trial, why)
        return False

    def close(self) -> None:
        """Close the connections."""
        if self._storage:
            disconnect(self._storage)
