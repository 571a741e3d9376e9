"""Carry out a study: ask for trials, let the engine run them, tell how they ended."""

import logging
import re
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from bnnlab.errors import BnnlabError, RunError, UsageError, explain
from bnnlab_optuna.ownership import ASKING, Ownership, lock_of, unwritable
from bnnlab_optuna.plan import Plan
from bnnlab_optuna.storage import FAULTS, connect, disconnect, unreachable
from bnnlab_optuna.trial import Outcome, Trial, perform_trial
from bnnlab_studies.asking import Asked, EngineError
from bnnlab_studies.engine import make_engine, open_executor
from bnnlab_studies.job import Job, examine
from bnnlab_studies.membership import PLAN

log = logging.getLogger("bnnlab.optuna")

ALIKE = 5
"""How many trials may fail in the same way before the study stops."""
VALUES, ABOUT = "bnnlab_values", "bnnlab_about"
"""Attributes of a trial: its seeds' values, and why it is not complete."""


class Tuner:
    """The share that this process has in a study.

    Args:
        plan: What is tuned.
        heard: Is told of each trial of this process that ended.

    Attributes:
        ownership: Has the study and its trials, once `run` has begun.
    """

    ownership: Ownership

    def __init__(self, plan: Plan, heard: Callable[[FrozenTrial], None]) -> None:
        self._plan, self._heard = plan, heard
        self._engine = make_engine(plan.host, plan.engine)
        self._pending: dict[Future[Outcome], optuna.Trial] = {}
        self._said = set[str]()  # of what runs logged
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._storage: optuna.storages.RDBStorage | None = None

    def close(self) -> None:
        """Close the connections to the storage."""
        if self._storage:
            disconnect(self._storage)

    def run(self) -> None:
        """Carry out trials until the study has its number of them.

        Raises:
            UsageError: If no run can begin, or the runs do not have the measure.
            RunError: If the first trials all fail alike, a trial fails for something outside of
                its settings, or the storage or the file system fails.
            EngineError: If the engine fails.
        """
        plan = self._plan
        try:
            with open_executor(self._engine, plan.tuning.trials) as executor:
                self._open(executor)
                while self._begin(executor):
                    for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                        self._end(future)
        except FAULTS as error:
            raise RunError(unreachable(plan.address, error), again=plan.again) from None
        except OSError as error:
            raise RunError(unwritable(plan.folder, error), again=plan.again) from error
        finally:
            for future in [*self._pending]:  # those that ended while the others stopped
                if future.done() and not future.cancelled():
                    with suppress(BnnlabError, *FAULTS):
                        self._end(future)

    def _open(self, executor: Asked) -> None:
        """Make or continue the study; raise UsageError, and leave no new folder, if it cannot."""
        plan, is_new = self._plan, not self._plan.folder.exists()
        if not (plan.folder / PLAN).exists():
            measure = plan.tuning.measure
            asked = [executor.submit(examine, settings, measure) for settings in plan.unlike()]
            if fault := next(filter(None, (each.result() for each in asked)), None):
                raise fault
        try:
            with lock_of(plan.folder, ASKING):  # one process makes the database
                self._storage = connect(plan.address, make=True)
            self.ownership = Ownership(self._storage, plan)
        except Exception as error:
            if is_new and not (plan.folder / PLAN).exists():  # of a process that could begin
                shutil.rmtree(plan.folder, ignore_errors=True)
            if isinstance(error, OSError | NotImplementedError):  # a file system without locks
                raise UsageError(f"{unwritable(plan.folder, error)}.") from error
            raise

    def _begin(self, executor: Asked) -> bool:
        """Fill the engine with trials; return whether there are any."""
        while len(self._pending) < self._engine.jobs and (trial := self.ownership.take()):
            try:
                self._pending[executor.submit(perform_trial, self._work(trial))] = trial
            except UsageError as error:  # such as a value that only the component refuses
                self._tell(trial, Outcome(TrialState.FAIL, about=str(error)))
        return bool(self._pending)

    def _work(self, trial: optuna.Trial) -> Trial:
        """Return what a worker needs to know of a trial."""
        plan, jobs = self._plan, list[Job]()
        probes = {"bnnlab-optuna/pruning": dict[str, str]()} if plan.tuning.within else {}
        for seed in plan.tuning.seeds:
            config = plan.resolve(plan.space.settings(trial), {"probe": probes}, {"seed": seed})
            if config.threads is None:
                config = replace(config, threads=self._engine.threads)
            folder, name = plan.folder_of(trial.number), f"trial {trial.number}, seed {seed}"
            jobs.append(Job(config.as_dict(), folder / f"seed-{seed}", name))
        study = self.ownership.study
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return Trial(trial.number, jobs, plan.tuning, plan.address, study.study_name, not done)

    def _end(self, future: "Future[Outcome]") -> None:
        """Tell how a trial ended.

        Raises:
            UsageError: If no trial can be carried out.
            EngineError: If the engine answered with something else than how it ended.
        """
        trial = self._pending.pop(future)
        try:
            outcome = future.result()
        except (UsageError, EngineError):
            self.ownership.release(trial.number)
            raise
        except Exception as error:
            about = str(error) if isinstance(error, BnnlabError) else explain(error)
            outcome = Outcome(TrialState.FAIL, about=about)
        self._tell(trial, outcome)

    def _tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Tell the study how a trial ended. One that was interrupted stays running."""
        for level, message in outcome.said:
            if message not in self._said:
                self._said.add(message)
                log.log(level, "trial %d: %s", trial.number, message)
        if outcome.state.is_finished():
            trial.set_user_attr(VALUES, [*outcome.values])
            trial.set_user_attr(ABOUT, outcome.about)
            self._heard(self.ownership.study.tell(trial, outcome.value, outcome.state))
        self.ownership.release(trial.number)
        if outcome.state is TrialState.FAIL:
            self._stop_if_alike()
        elif not outcome.state.is_finished() and outcome.about:
            why = f"trial {trial.number} is unfinished: {outcome.about}"
            raise RunError(why, again=self._plan.again)

    def _stop_if_alike(self) -> None:
        """Raise RunError if all trials failed in the same way, up to their numbers."""
        trials = self.ownership.study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished()]
        alike = {(it.state, re.sub(r"\d+", "", it.user_attrs.get(ABOUT, ""))) for it in ended}
        if len(ended) >= ALIKE and len(alike) == 1:
            about = ended[-1].user_attrs[ABOUT]
            raise RunError(f"all {len(ended)} trials failed alike, so the study stops: {about}")
