"""One run of a study, in whatever process: done already, gone on with, or begun."""

import logging
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bnnlab.errors import NOTE, BnnlabError, DataError, DownloadError, StoppedError, UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import Layer, resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import CONFIG, RESULT, RunFolder
from bnnlab.storage.log import hear
from bnnlab_studies.cells import departures
from bnnlab_studies.record import leaves
from bnnlab_studies.results import read_result

if TYPE_CHECKING:
    from bnnlab.engine.experiment import Experiment
    from bnnlab.interfaces.evaluations import Evaluations
    from bnnlab.interfaces.probe import Run

PATIENCE = 60.0
"""Seconds to wait for another process that writes to a run's folder."""

Status = Literal["complete", "stopped", "failed", "interrupted"]


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        settings: All its settings, as `RunConfig.as_dict()` returns them.
        folder: The run's folder.
        name: For people.
    """

    settings: Mapping[str, Any]
    folder: Path
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: As in its result.json.
        error: Why it failed, in one line; else empty.
        said: Notes and warnings that it logged: level and message.
        is_outside: Whether it failed for its files, its data or its machine, and not for its
            settings.
    """

    status: Status
    error: str = ""
    said: tuple[tuple[int, str], ...] = ()
    is_outside: bool = False

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status in ("complete", "stopped")


def perform(job: Job) -> Outcome:
    """Carry out a run, or what is left of it. A run that has its result is not run again.

    A run that fails, or that a signal stops, is an outcome like others.
    """
    from bnnlab.engine.interruption import stop_if_all_stop

    with hear() as heard:
        try:
            stop_if_all_stop()
            outcome = finished(job.folder, job.settings) or Outcome(_ready(job).run().status)
        except (KeyboardInterrupt, StoppedError):
            outcome = Outcome("interrupted")
        except (BnnlabError, OSError) as error:
            if isinstance(error, BnnlabError):
                error.again = ""  # the study says how all its runs go on
            outcome = Outcome("failed", str(error), is_outside=_is_outside(error, job.settings))
    told = (each for each in heard if NOTE <= each.levelno <= logging.WARNING)
    return replace(outcome, said=tuple((each.levelno, each.getMessage()) for each in told))


def examine(settings: Mapping[str, Any], measure: str = "") -> UsageError | None:
    """Return why a run with these settings cannot begin; None if it can. Nothing is written.

    It is a `DownloadError` or a plain `UsageError`, which any engine can send.

    Args:
        settings: All of them.
        measure: What the run must measure; empty for nothing.
    """
    from bnnlab.engine.preparing import prepare

    host = PluginHost()
    try:
        untracked = {key: it for key, it in settings.items() if key != Kind.TRACKER}
        experiment = prepare(host, resolve(host, [untracked, {"out": None}]))
        _expect_scored(measure, experiment.made)
    except DownloadError as error:
        return DownloadError(str(error))
    except UsageError as error:
        return UsageError(str(error))
    return None


def _expect_scored(measure: str, made: "Run") -> None:
    """Raise UsageError if the evaluations of a run leave out what a measure needs."""
    from bnnlab.engine.continual import measured
    from bnnlab.interfaces.evaluations import WHOLE

    schedule, count = made.policy.evaluations, len(made.tasks)

    def numbers(evaluations: "Evaluations") -> dict[str, Any]:
        return dict(leaves(measured(evaluations, count, made.task_ids), lists=True))

    has, could = numbers(schedule), numbers(WHOLE)
    needed = "learning_accuracy" if measure == "plasticity" else measure
    if needed in has and has[needed] is None and could[needed] is not None:
        is_ahead = measure.partition(".")[0] in ("forward_transfer", "untrained_accuracy")
        ahead = ", with forward=true," if is_ahead else ""
        there = ", ".join(name for name, it in has.items() if it is not None and "." not in name)
        raise UsageError(
            f"{measure} is not measured where a run is scored on {schedule}. evaluate=all{ahead} "
            f"measures it. Measured as it is: {there}."
        )


def _is_outside(error: BaseException, settings: Mapping[str, Any]) -> bool:
    """Return whether an error is of the file system or the data, or one that another run lacks."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError | DataError):
            return True
        cause = cause.__cause__
    return isinstance(error, UsageError) and not examine(settings)


def finished(folder: Path, settings: Mapping[str, Any] | None = None) -> Outcome | None:
    """Return the outcome of a run that has its result; None if there is something left to do.

    A run with other settings is not finished: `perform` says what is wrong with it.

    Args:
        folder: Of the run.
        settings: That it should have, with its seed.
    """
    with suppress(UsageError):
        its = read_config(folder / CONFIG)
        found = read_result(folder / RESULT)
        outcome = Outcome(found["status"])
        if outcome.is_done and not departures(its, settings or {}):
            return outcome
    return None


def others(job: Job) -> list[str]:
    """Return how the run in a job's folder differs from the job; empty if none is there."""
    with suppress(UsageError, OSError):
        return departures(read_config(job.folder / CONFIG), job.settings)
    return []


def _ready(job: Job) -> "Experiment":
    """Prepare a run that begins or goes on."""
    from bnnlab.engine.preparing import prepare

    study = job.folder.parents[1]
    if not study.is_dir():
        raise UsageError(
            f"the study's folder {study} is not (or no more) on {platform.node()}: all machines "
            "of a study need it under one path"
        )
    host, file = PluginHost(), job.folder / CONFIG
    if job.folder.exists() and not file.exists():
        _clear(job.folder)
    if not file.exists():
        where = {"out": str(job.folder.parent), "name": job.folder.name}
        try:
            return prepare(host, resolve(host, [job.settings, where]))
        except UsageError:
            if not file.exists():
                raise  # else a worker whose parent was killed has made it meanwhile
    trackers = {str(Kind.TRACKER): job.settings.get(Kind.TRACKER, {})}
    config = resolve(host, [Layer(read_config(file), str(file)), trackers])
    if found := departures(config.as_dict(), job.settings):
        raise UsageError(
            f"{job.folder} holds a run with other settings than {job}: {'; '.join(found)}. Move it "
            "away, or give the sweep another --name"
        )
    return prepare(host, config, RunFolder(job.folder, patience=PATIENCE))


def _clear(path: Path) -> None:
    """Delete the folder of a process that was killed before it wrote run.toml.

    Raises:
        UsageError: If something else is in it.
    """
    folder = RunFolder(path, patience=PATIENCE)
    folder.lock()
    try:
        others = sorted(each.name for each in path.iterdir() if not each.name.startswith("."))
        if others:
            raise UsageError(f"{path} is no run's folder, and not empty: there is {others[0]!r}.")
        shutil.rmtree(path)
    finally:
        folder.unlock()
