"""Carry out a plan."""

import logging
from collections.abc import Callable
from concurrent.futures import as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from bnnlab.errors import RunError, UsageError
from bnnlab.registry.host import PluginHost
from bnnlab_studies.engine import Engine
from bnnlab_studies.job import Job, Outcome, finished, perform
from bnnlab_studies.plan import Plan
from bnnlab_studies.stopping import raising
from bnnlab_studies.study import Study
from bnnlab_studies.study_folder import held

log = logging.getLogger("bnnlab.studies")

TABLE = "runs.csv"
Ended = Callable[[Job, Outcome], Any]


def sweep(host: PluginHost, plan: Plan, engine: Engine, ended: Ended = lambda *_: None) -> Study:
    """Carry out all runs of a study that are not done, in its folder.

    Args:
        host: The plugins.
        plan: Of the study.
        engine: What carries the runs out, such as `plan.make_engine(host)`.
        ended: Called in this thread with each run that ends, and how.

    Raises:
        UsageError: If the study cannot begin.
        RunError: If its table cannot be written.
        KeyboardInterrupt: If SIGINT stopped it; `StoppedError` after another signal.
    """
    with held(host, plan) as agreed, raising():
        left = [job for job in agreed.jobs(engine.threads) if not finished(job.folder)]
        if left:
            _carry_out(left, engine, ended)
        study = Study([], name=plan.folder.name, folder=plan.folder)
        with suppress(UsageError):  # no run has begun
            study = Study.read(plan.folder)
        write_table(study, plan.folder)
        return study


def write_table(study: Study, folder: Path) -> None:
    """Write runs.csv.

    Raises:
        RunError: If it cannot be written.
    """
    try:
        study.to_csv(folder / TABLE)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}") from error


def _carry_out(left: list[Job], engine: Engine, ended: Ended) -> None:
    said = set[str]()
    with engine.executor(len(left)) as executor:
        jobs = {executor.submit(perform, job): job for job in left}
        for future in as_completed(jobs):
            try:
                outcome = future.result()
            except RunError as error:
                outcome = Outcome("failed", str(error))
            for level, message in outcome.said:
                if message not in said:
                    said.add(message)
                    log.log(level, "%s: %s", jobs[future], message)
            ended(jobs[future], outcome)
