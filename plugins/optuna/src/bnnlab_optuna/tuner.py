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
from bnnlab_optuna.ownership import Owned, Ownership, counted, lock_of
from bnnlab_optuna.plan import Plan
from bnnlab_optuna.storage import FAULTS, connect, disconnect, guarded, open_study
from bnnlab_optuna.trial import Outcome, Trial, examine, perform_trial
from bnnlab_studies.engine import make_engine, open_executor
from bnnlab_studies.job import Job

log = logging.getLogger("bnnlab.optuna")

ALIKE = 5
"""How many trials may fail in the same way before the study stops."""
VALUES, ABOUT, PROTOCOL = "bnnlab_values", "bnnlab_about", "bnnlab_protocol"
"""Attributes of a trial: its seeds' values, why it is not complete, its protocol's hash."""
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
        self.ownership.check_folder()

    def close(self) -> None:
        """Close the connections to the storage."""
        disconnect(self._storage)

    def run(self) -> None:
        """Carry out trials until the study has its number of them.

        Raises:
            UsageError: If no run can begin, or the runs do not have the measure.
            RunError: If the first trials all fail alike, or the storage fails.
        """
        left = self._plan.tuning.trials - len(counted(self.study.get_trials(deepcopy=False)))
        pending: dict[Future[Outcome], Owned] = {}
        try:
            with open_executor(self._engine, max(left, 1)) as executor:
                self._examine(executor)
                while True:
                    self._begin(executor, pending)
                    if not pending:
                        return
                    done, _ = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._tell(pending.pop(future), _outcome(future))
        except FAULTS as error:
            raise guarded(self._plan.address, error) from None  # it holds the address
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
        if fault := executor.submit(examine, config.as_dict(), self._plan.tuning.measure).result():
            raise UsageError(fault)

    def _begin(self, executor: Executor, pending: dict[Future[Outcome], Owned]) -> None:
        """Fill the engine with trials."""
        while len(pending) < self._engine.jobs and (owned := self.ownership.take()):
            if owned.resumed:
                log.log(NOTE, "trial %d was left unfinished: it goes on", owned.number)
            elif (same := self._same_as(owned.number)) is not None:
                log.log(NOTE, "trial %d has the settings of trial %d", owned.number, same)
            try:
                jobs = self._jobs(owned)
            except UsageError as error:  # such as a value that only the component refuses
                self._tell(owned, Outcome("failed", about=str(error)))
                continue
            plan = self._plan
            work = Trial(
                number=owned.number,
                jobs=jobs,
                tuning=plan.tuning,
                address=plan.address,
                study=self.study.study_name,
                within=plan.within,
            )
            pending[executor.submit(perform_trial, work)] = owned

    def _jobs(self, owned: Owned) -> list[Job]:
        """Return the runs of a trial."""
        plan, jobs = self._plan, []
        probe = (
            {"probe": {"bnnlab-optuna/pruning": {"measure": plan.tuning.measure}}}
            if plan.within
            else {}
        )
        for seed in plan.tuning.seeds:
            config = plan.resolve(owned.settings, probe, {"seed": seed})
            if config.threads is None:
                config = replace(config, threads=self._engine.threads)
            name = f"trial {owned.number}, seed {seed}"
            jobs.append(Job(config.as_dict(), owned.folder / f"seed-{seed}", name))
        return jobs

    def _same_as(self, number: int) -> int | None:
        """Return an earlier trial with the settings of this one."""
        every = self.study.get_trials(deepcopy=False)
        mine = every[number].params
        return next((it.number for it in counted(every[:number]) if it.params == mine), None)

    def _tell(self, owned: Owned, outcome: Outcome) -> None:
        """Tell the study how a trial ended. One that was interrupted stays running."""
        for level, message in outcome.said:
            if message not in self._said:
                self._said.add(message)
                log.log(level, "trial %d: %s", owned.number, message)
        if outcome.status == "interrupted":
            owned.lock.release()
            return
        storage, number = self._storage, owned.number
        trial_id = self.study.get_trials(deepcopy=False)[number]._trial_id
        said = {VALUES: [*outcome.values], ABOUT: outcome.about, PROTOCOL: outcome.protocol}
        for key, value in said.items():
            if value:
                storage.set_trial_user_attr(trial_id, key, value)
        state = STATES[outcome.status]
        self._heard(self.study.tell(number, outcome.value, state))
        owned.lock.release()
        if outcome.is_unknown:
            raise UsageError(f"tune.measure: {outcome.about}")
        if state is TrialState.FAIL:
            self._stop_if_alike()

    def _stop_if_alike(self) -> None:
        """Raise RunError if all trials failed in the same way, up to their numbers."""
        ended = [it for it in counted(self.study.get_trials()) if it.state.is_finished()]
        about = {re.sub(r"\d+", "", str(it.user_attrs.get(ABOUT))) for it in ended}
        if len(ended) >= ALIKE and len(about) == 1 and _all_failed(ended):
            raise RunError(
                f"all {len(ended)} trials failed alike, so the study stops: "
                f"{ended[-1].user_attrs[ABOUT]}"
            )


def _all_failed(trials: list[FrozenTrial]) -> bool:
    return all(trial.state is TrialState.FAIL for trial in trials)


def _outcome(future: "Future[Outcome]") -> Outcome:
    """Return how a trial ended, whatever its worker raised."""
    try:
        return future.result()
    except BnnlabError as error:
        return Outcome("failed", about=str(error))
    except Exception as error:
        return Outcome("failed", about=explain(error))
