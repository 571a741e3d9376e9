"""The trials of a study that this process carries out: asked for, or left by a dead process.

A process owns a trial by a lock in the trial's folder, which it holds until it has told the study
how the trial ended. The file system frees the lock of a process that died. So a trial that the
study has as running, whose folder is here, and whose lock is free, is dead, and is gone on with.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from bnnlab.errors import UsageError
from bnnlab_optuna.choices import make_sampler, suggest
from bnnlab_optuna.plan import Plan

OWNED = "bnnlab_owned"
"""The attribute of a trial that has a folder, here or on another machine."""
UNOWNED = 60
"""Seconds after which a trial without a folder is that of a process that died as it asked."""


@dataclass(frozen=True)
class Owned:
    """A trial of this process.

    Attributes:
        number: In the study.
        settings: What was drawn for it, nested as in a run file.
        folder: Its folder.
        lock: Held until the study is told how it ended.
        resumed: Whether another process began it.
    """

    number: int
    settings: dict[str, Any]
    folder: Path
    lock: FileLock
    resumed: bool


class Ownership:
    """Asks the study for trials.

    Args:
        study: The study.
        plan: What is tuned.

    Raises:
        UsageError: If the folder has trials, and the study none.
    """

    def __init__(self, study: optuna.Study, plan: Plan) -> None:
        self._study, self._plan = study, plan
        self._seed = plan.resolve().seed
        self._study.sampler = self._sampler(0)  # a grid gives its points as it is asked
        self.asking = lock_of(plan.folder, ".asking")
        with self.asking:
            if not study.get_trials(deepcopy=False) and any(plan.folder.glob("trial-*")):
                raise UsageError(
                    f"{plan.folder} has another study's trials. Choose another --name."
                )

    def take(self) -> Owned | None:
        """Return a dead trial to go on with, or a new one; None if the study has its number.

        Machines that do not share the folder may each ask for the last one.
        """
        with self.asking:
            if owned := self._take_over():
                return owned
            if len(self._study.get_trials(deepcopy=False)) >= self._plan.tuning.trials:
                return None
            trial = self._study.ask()
            lock = _locked(self._folder(trial.number))
            assert lock is not None, "a new trial has no owner"
            return self._own(trial, lock, resumed=False)

    def _take_over(self) -> Owned | None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            folder = self._folder(trial.number)
            if not (folder.exists() if OWNED in trial.user_attrs else _is_old(trial)):
                continue
            lock = _locked(folder)
            if lock is None:
                continue
            now = self._study.get_trials(deepcopy=False)[trial.number]
            if now.state is TrialState.RUNNING:
                return self._own(optuna.Trial(self._study, now._trial_id), lock, resumed=True)
            lock.release()  # it ended meanwhile
        return None

    def _own(self, trial: optuna.Trial, lock: FileLock, *, resumed: bool) -> Owned:
        """Draw what is not drawn yet. The lock is held before the trial says that it is owned."""
        trial.set_user_attr(OWNED, True)
        self._study.sampler = self._sampler(trial.number)
        settings = self._plan.space.settings(lambda dimension: suggest(trial, dimension))
        return Owned(trial.number, settings, self._folder(trial.number), lock, resumed)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        return make_sampler(self._plan.tuning.sampler, self._plan.space, self._seed, number)

    def _folder(self, number: int) -> Path:
        return self._plan.folder / f"trial-{number:04}"


def lock_of(folder: Path, name: str = ".lock") -> FileLock:
    """Return a lock in a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / name, thread_local=False)


def _locked(folder: Path) -> FileLock | None:
    """Lock a trial's folder; return None if another process has it."""
    lock = lock_of(folder)
    with suppress(Timeout):
        lock.acquire(timeout=0)
        return lock
    return None


def _is_old(trial: FrozenTrial) -> bool:
    began = trial.datetime_start
    return began is not None and (datetime.now() - began).total_seconds() > UNOWNED
