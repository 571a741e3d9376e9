"""Carry out a study: ask for trials, let the engine run them, tell how they ended."""

import logging
import re
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from bnnlab.errors import NOTE, BnnlabError, RunError, UsageError, explain
from bnnlab_optuna.ownership import Owned, Ownership, lock_of
from bnnlab_optuna.plan import Plan
from bnnlab_optuna.storage import FAULTS, connect, disconnect, open_study, unreachable
from bnnlab_optuna.trial import Outcome, Trial, perform_trial
from bnnlab_studies.engine import make_engine, open_executor
from bnnlab_studies.job import Job, examine
from bnnlab_studies.study import PLAN

log = logging.getLogger("bnnlab.optuna")

ALIKE = 5
"""How many trials may fail in the same way before the study stops."""
VALUES, ABOUT = "bnnlab_values", "bnnlab_about"
"""Attributes of a trial: its seeds' values, and why it is not complete."""
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Tuner:
    """The share that this process has in a study.

    Args:
        plan: What is tuned.
        heard: Is told of each trial of this process that ended.

    Attributes:
        study: Optuna's.
        ownership: Asks it for trials.
    """

    def __init__(self, plan: Plan, heard: Callable[[FrozenTrial], None]) -> None:
        self._plan, self._heard = plan, heard
        self._engine = make_engine(plan.host, plan.engine)
        self._said = set[str]()  # of what runs logged
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            plan.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {plan.folder}: {error.strerror}.") from error
        with lock_of(plan.folder, ".asking"):  # one process makes the database
            self._storage = connect(plan.address, make=True)
            name = plan.folder.resolve().name
            self.study = open_study(self._storage, name, plan.tuning.direction, plan.digest)
            plan.write()
        self.ownership = Ownership(self.study, plan)

    def close(self) -> None:
        """Close the connections to the storage."""
        disconnect(self._storage)

    def run(self) -> None:
        """Carry out trials until the study has its number of them.

        Raises:
            UsageError: If no run can begin, or the runs do not have the measure.
            RunError: If the first trials all fail alike, or the storage fails.
        """
        pending: dict[Future[Outcome], Owned] = {}
        try:
            left = self._plan.tuning.trials - len(self.study.get_trials(deepcopy=False))
            with open_executor(self._engine, max(left, 1)) as executor:
                self._examine(executor)
                while self._begin(executor, pending):
                    done, _ = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        outcome = _outcome(future)
                        self._tell(pending.pop(future), outcome)
        except FAULTS as error:
            why = unreachable(self._plan.address, error)
            raise RunError(f"{why}; the same command continues the study") from None
        finally:
            for future, owned in pending.items():  # those that ended while the others stopped
                if future.done() and not future.cancelled():
                    with suppress(BnnlabError, *FAULTS):
                        self._tell(owned, _outcome(future))
                owned.lock.release()

    def _examine(self, executor: Executor) -> None:
        """Raise UsageError if no run can begin with the settings of the file."""
        if any(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False)):
            return
        config = self._plan.resolve({"seed": self._plan.tuning.seeds[0]})
        if fault := executor.submit(examine, config.as_dict()).result():
            self._forget()
            raise UsageError(fault)

    def _forget(self) -> None:
        """Delete a study that cannot begin, so that its corrected file can."""
        with self.ownership.asking, suppress(KeyError):  # another process may have deleted it
            if not self.study.get_trials(deepcopy=False):
                optuna.delete_study(study_name=self.study.study_name, storage=self._storage)
                (self._plan.folder / PLAN).unlink(missing_ok=True)

    def _begin(self, executor: Executor, pending: dict[Future[Outcome], Owned]) -> bool:
        """Fill the engine with trials; return whether there are any."""
        plan = self._plan
        while len(pending) < self._engine.jobs and (owned := self.ownership.take()):
            if owned.resumed:
                log.log(NOTE, "trial %d was left unfinished: it goes on", owned.number)
            try:
                jobs = self._jobs(owned)
            except UsageError as error:  # such as a value that only the component refuses
                self._tell(owned, Outcome("failed", about=str(error)))
                continue
            name = self.study.study_name
            work = Trial(owned.number, jobs, plan.tuning, plan.address, name)
            pending[executor.submit(perform_trial, work)] = owned
        return bool(pending)

    def _jobs(self, owned: Owned) -> list[Job]:
        """Return the runs of a trial."""
        plan, jobs = self._plan, []
        probes = {"bnnlab-optuna/pruning": dict[str, str]()} if plan.tuning.within else {}
        for seed in plan.tuning.seeds:
            config = plan.resolve(owned.settings, {"probe": probes}, {"seed": seed})
            if config.threads is None:
                config = replace(config, threads=self._engine.threads)
            name = f"trial {owned.number}, seed {seed}"
            jobs.append(Job(config.as_dict(), owned.folder / f"seed-{seed}", name))
        return jobs

    def _tell(self, owned: Owned, outcome: Outcome) -> None:
        """Tell the study how a trial ended. One that was interrupted stays running."""
        for level, message in outcome.said:
            if message not in self._said:
                self._said.add(message)
                log.log(level, "trial %d: %s", owned.number, message)
        if outcome.status != "interrupted":
            trial_id = self.study.get_trials(deepcopy=False)[owned.number]._trial_id
            self._storage.set_trial_user_attr(trial_id, VALUES, [*outcome.values])
            self._storage.set_trial_user_attr(trial_id, ABOUT, outcome.about)
            state = STATES[outcome.status]
            self._heard(self.study.tell(owned.number, outcome.value, state))
        owned.lock.release()
        if outcome.status == "failed":
            self._stop_if_alike()

    def _stop_if_alike(self) -> None:
        """Raise RunError if all trials failed in the same way, up to their numbers."""
        ended = [each for each in self.study.get_trials() if each.state.is_finished()]
        alike = {
            (each.state, re.sub(r"\d+", "", str(each.user_attrs.get(ABOUT)))) for each in ended
        }
        if len(ended) >= ALIKE and len(alike) == 1:
            raise RunError(
                f"all {len(ended)} trials failed alike, so the study stops: "
                f"{ended[-1].user_attrs[ABOUT]}"
            )


def _outcome(future: "Future[Outcome]") -> Outcome:
    """Return how a trial ended.

    Raises:
        UsageError: If no trial can be carried out.
    """
    try:
        return future.result()
    except UsageError:
        raise
    except Exception as error:
        about = str(error) if isinstance(error, BnnlabError) else explain(error)
        return Outcome("failed", about=about)
