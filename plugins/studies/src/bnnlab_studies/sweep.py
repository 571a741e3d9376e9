"""Carry out a plan."""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any

from bnnlab.engine.interruption import raising
from bnnlab.errors import BnnlabError, DownloadError, RunError, UsageError, explain
from bnnlab.registry.host import PluginHost
from bnnlab.settings.terms import deciding
from bnnlab_studies.asking import Asked, EngineError
from bnnlab_studies.engine import Engine, open_executor
from bnnlab_studies.job import Job, Outcome, examine, finished, perform
from bnnlab_studies.plan import Cell, Plan
from bnnlab_studies.study import TABLE, Study
from bnnlab_studies.study_folder import held

log = logging.getLogger("bnnlab.studies")

Ended = Callable[[Job, Outcome], Any]


def sweep(host: PluginHost, plan: Plan, engine: Engine, ended: Ended = lambda *_: None) -> Study:
    """Carry out all runs of a study that are not done, in its folder.

    Args:
        host: The plugins.
        plan: Of the study.
        engine: What carries the runs out, such as `make_engine(host, plan.engine)`.
        ended: Called in this thread with each run that ends, and how.

    Raises:
        UsageError: If the study cannot begin.
        TableError: If its table cannot be written; it has the study.
        EngineError: If the engine fails; the table is written.
        KeyboardInterrupt: If SIGINT stopped it; `StoppedError` after another signal.
    """
    with held(host, plan) as agreed, raising():
        left = [
            job for job in agreed.jobs(engine.threads) if not finished(job.folder, job.settings)
        ]
        try:
            if left:
                with open_executor(engine, len(left) + len(agreed.cells)) as executor:
                    _examine(agreed.cells, executor)
                    _carry_out(left, executor, ended)
        except (EngineError, RunError):
            try:
                _tabulate(host, plan.folder)
            except TableError as error:
                log.warning("%s", error)  # what ended the block is raised
            raise
        return _tabulate(host, plan.folder)


def _tabulate(host: PluginHost, folder: Path) -> Study:
    """Return a study as its folder has it, with its table written."""
    study = Study([], name=folder.name, folder=folder, host=host)
    with suppress(UsageError):  # no run has begun
        study = Study.read(folder, host)
    write_table(study, folder)
    return study


class TableError(RunError):
    """The table of a study that was carried out cannot be written.

    Attributes:
        study: With what its runs found.
    """

    def __init__(self, message: str, study: Study) -> None:
        super().__init__(message)
        self.study = study


def write_table(study: Study, folder: Path) -> None:
    """Write runs.csv.

    Raises:
        TableError: If it cannot be written.
    """
    try:
        study.to_csv(folder / TABLE)
    except OSError as error:
        raise TableError(f"cannot write to {folder / TABLE}: {error.strerror}", study) from error


def _examine(cells: Iterable[Cell], executor: Asked) -> None:
    """Refuse cells that cannot begin, where only their stream, model or optimizer can say so.

    Of cells that are alike in what that depends on, one is examined, by a worker.

    Raises:
        UsageError: With what is wrong; a `DownloadError` if it is only the network.
    """
    alike: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.later:
            alike.setdefault(deciding(cell.settings, cell.later), []).append(cell)
    asked = [(some, executor.submit(examine, some[0].settings)) for some in alike.values()]
    found = [(some, future.result()) for some, future in asked]
    if faults := [f"{', '.join(it.name for it in some)}: {why}" for some, why in found if why]:
        is_of_network = all(isinstance(why, DownloadError) for _, why in found if why)
        raise (DownloadError if is_of_network else UsageError)(" ".join(faults))


def _carry_out(left: list[Job], executor: Asked, ended: Ended) -> None:
    said = set[str]()
    jobs = {executor.submit(perform, job): job for job in left}
    for future in as_completed(jobs):
        try:
            outcome = future.result()
        except BnnlabError as error:
            outcome = Outcome("failed", str(error))
        except Exception as error:  # of the engine, which may lose a call
            outcome = Outcome("failed", explain(error))
        for level, message in outcome.said:
            if message not in said:
                said.add(message)
                log.log(level, "%s: %s", jobs[future], message)
        ended(jobs[future], outcome)
