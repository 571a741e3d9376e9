"""The trials of a study that this process carries out: asked for, or left by a dead process.

A process owns a trial by a lock in the trial's folder, which it holds until it has told the study
how the trial ended. The file system frees the lock of a process that died. So a trial that the
study has as running, whose folder is here, and whose lock is free, is dead, and is gone on with.
"""

import logging
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from bnnlab.errors import NOTE, UsageError, first_line
from bnnlab_optuna.choices import make_sampler
from bnnlab_optuna.plan import Plan
from bnnlab_optuna.storage import open_study

log = logging.getLogger("bnnlab.optuna")

OWNED = "bnnlab_owned"
"""The attribute of a trial that has a folder, here or on another machine."""
ASKING = ".asking"
"""The file that is locked while a process begins a study, asks for a trial, or sums up."""
UNOWNED = 60
"""Seconds after which a trial without a folder is that of a process that died as it asked."""


class Ownership:
    """The trials of this process in a study, which is made if the storage does not have it.

    Attributes:
        study: The study.
        asking: A lock of all processes that share the folder.

    Raises:
        UsageError: If the storage or the folder has another study.
    """

    def __init__(self, storage: optuna.storages.RDBStorage, plan: Plan) -> None:
        self._plan, self._seed = plan, plan.resolve().seed
        self._locks: dict[int, FileLock] = {}  # of its trials, by their numbers
        self.asking = lock_of(plan.folder, ASKING)
        self._is_alone = plan.tuning.storage == "sqlite"  # all who ask for trials hold `asking`
        with self.asking:
            name = self._name_in(storage)
            self.study = open_study(storage, name, plan.tuning.direction, plan.digest)
            plan.write()
        self._sample(0)  # a grid gives its points as it is asked

    def _name_in(self, storage: optuna.storages.RDBStorage) -> str:
        """Return the study's name: that of the folder, or the one before it was renamed."""
        folder, name = self._plan.folder, self._plan.folder.resolve().name
        known = optuna.get_all_study_names(storage)
        if name in known:
            return name
        if known and self._is_alone:
            return str(known[0])
        if any(folder.glob("trial-*")):
            raise UsageError(
                f"{folder} has trials, and the storage no study {name!r}. If the folder was "
                "renamed, give it its earlier name; else choose another --name."
            )
        return name

    def take(self) -> optuna.Trial | None:
        """Return a dead trial to go on with, or a new one; None if the study has its number.

        All its settings are drawn. It is this process's until it is released.

        Machines that do not share the folder may each ask for the last one.
        """
        with self.asking:
            trial = self._dead() or self._new()
            if trial is not None:  # its folder is locked: others may see that it has one
                trial.set_user_attr(OWNED, True)
                self._sample(trial.number)
                self._plan.space.settings(trial)
            return trial

    def release(self, number: int) -> None:
        """Let others have a trial, if it is still running."""
        self._locks.pop(number).release()

    def _dead(self) -> optuna.Trial | None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            number, is_here = trial.number, self._plan.folder_of(trial.number).exists()
            is_lost = self._is_alone or _is_old(trial)  # its process died as it asked
            is_dead = is_here if OWNED in trial.user_attrs else is_lost
            if is_dead and self._lock(number):
                if self.study.get_trials(deepcopy=False)[number].state is TrialState.RUNNING:
                    log.log(NOTE, "trial %d was left unfinished: it goes on", number)
                    return optuna.Trial(self.study, trial._trial_id)
                self.release(number)  # it ended meanwhile
        return None

    def _new(self) -> optuna.Trial | None:
        if len(self.study.get_trials(deepcopy=False)) >= self._plan.tuning.trials:
            return None
        trial = self.study.ask()
        assert self._lock(trial.number), "a new trial has no owner"
        return trial

    def _lock(self, number: int) -> bool:
        """Lock a trial's folder; return whether nobody had it."""
        lock = lock_of(self._plan.folder_of(number))
        with suppress(Timeout):
            lock.acquire(timeout=0)
            self._locks[number] = lock
        return lock.is_locked

    def _sample(self, number: int) -> None:
        sampler, space = self._plan.tuning.sampler, self._plan.space
        self.study.sampler = make_sampler(sampler, space, self._seed, number)


def lock_of(folder: Path, name: str = ".lock") -> FileLock:
    """Return a lock in a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / name, thread_local=False)


def unwritable(folder: Path, error: BaseException) -> str:
    """Return what is wrong with a folder."""
    return f"cannot write to {folder}: {getattr(error, 'strerror', None) or first_line(error)}"


def _is_old(trial: FrozenTrial) -> bool:
    began = trial.datetime_start
    return began is not None and (datetime.now() - began).total_seconds() > UNOWNED
