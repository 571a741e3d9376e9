"""A prepared run goes from its first step to its result."""

import logging
import time
from collections.abc import Generator, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnnlab.engine.interruption import Interruption
from bnnlab.engine.learner import Learner
from bnnlab.engine.probes import Probes, ProbeStop
from bnnlab.engine.protocol import Origin
from bnnlab.engine.result import Result, RunStatus, measured
from bnnlab.engine.training import Trainer
from bnnlab.errors import NOTE, BnnlabError, RunError, StoppedError, explain, place
from bnnlab.guards.threads import computing
from bnnlab.interfaces.probe import Control, Run, Stepped
from bnnlab.interfaces.stream import protocol_hash
from bnnlab.registry.given import resuming
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import RunConfig
from bnnlab.storage import rows
from bnnlab.storage.folder import RunFolder

log = logging.getLogger(__name__)


@dataclass
class Experiment:
    """A run that is ready to go; `bnnlab.engine.preparing.prepare` makes one."""

    host: PluginHost
    config: RunConfig
    made: Run
    learner: Learner
    probes: Probes
    origin: Origin
    folder: RunFolder | None
    heard: list[logging.LogRecord]  # what was logged before there was a folder
    resumed: bool
    result: Result | None = None  # of a run that is complete or stopped by a probe, and written

    def __post_init__(self) -> None:
        self.observers = self.host.observers(self.origin.run_id)
        self._interruption = Interruption(self.config.checkpoint_minutes)

    def run(self, stepped: Stepped = lambda *_: None) -> Result:
        """Train on what is left of the stream and return the result, also written to the folder.

        With a folder, and in the main thread, the first SIGINT, SIGTERM, SIGHUP or SIGQUIT lets the
        run save its state after the step, and stop; a second one stops it at once.

        Args:
            stepped: Called after each step with (task, epoch, step, steps in the epoch).

        Raises:
            RunError: If the run fails; what was measured until then is in the folder.
            KeyboardInterrupt: If SIGINT stopped it.
            StoppedError: If another signal did.
        """
        return _ended(self.steps(stepped))

    def steps(self, stepped: Stepped, together: bool = False) -> Generator[Any, Any, Result]:
        """Do what `run` does; if `together`, others make the steps (`Steps`) and hear signals."""
        is_heard = self.folder and not together
        recording = self.folder.recording(self.heard) if self.folder else nullcontext()
        with computing(self.config.threads), recording:
            self.observers.notify(
                "bnnlab_run_started",
                config=self.config.as_dict(),
                folder=self._path,
                resumed=self.resumed,
                protocol=self.origin.protocol,
            )
            try:
                with self._interruption.listening() if is_heard else nullcontext():
                    reason = yield from self._learn(stepped, together)
                return self._finish("stopped" if reason else "complete", reason)
            except (KeyboardInterrupt, StoppedError) as stop:
                log.info("stopped by %s", getattr(stop, "signal", "SIGINT"))
                if self.result is None:  # else its observers were stopped
                    self._finish("interrupted")
                raise
            except BaseException as error:  # a plugin may raise any
                log.error("%s", error, exc_info=not isinstance(error, BnnlabError))
                with suppress(RunError):  # the disk may be what failed: that is the news
                    self._finish("failed", failure=error)
                if isinstance(error, BnnlabError):
                    error.again = error.again and self.again
                    raise
                raise RunError(f"the run failed at {place(error)}: {explain(error)}") from error

    def _learn(self, stepped: Stepped, together: bool) -> Generator[Any, Any, str | None]:
        """Train; return why a probe stopped the run, or None."""
        self._ticked = time.perf_counter()
        if not self.resumed:
            self._save()
        is_due = self._interruption.due if self.folder else lambda: False
        control = Control(self._logged, is_due, self._save, stepped)
        try:
            trainer = Trainer(self.made, self.learner.progress, control, self.probes)
            yield from trainer.steps(together)
        except ProbeStop as stop:
            log.log(NOTE, "stopped by probe %s", stop)
            return str(stop)
        if self.probes.stop_reason:
            log.log(NOTE, "nothing was left to stop: probe %s", self.probes.stop_reason)
        return None

    @property
    def again(self) -> str:
        """What goes on with the run: a command; with objects, a call; empty without a folder."""
        if not self.folder:
            return ""
        files = [each.file for each in self.host.plugins if each.file]
        return resuming(self.folder.path, self.config.as_dict(), files)

    @property
    def _path(self) -> Path | None:
        return self.folder.path if self.folder else None

    def _logged(self, metrics: dict[str, Any]) -> None:
        self._tick()
        now = {"seconds": round(self.learner.progress.seconds, 3), "time": round(time.time(), 3)}
        metrics = {**metrics, **now}
        if self.folder:
            self.folder.append_metrics(_stored(self.config, metrics, metrics))
        self.observers.notify("bnnlab_metrics_logged", metrics=metrics)
        if metrics["event"] == "evaluation":
            task, accuracy = metrics["task"], metrics["accuracy"]
            self.observers.notify("bnnlab_task_ended", task=task, accuracy=accuracy)

    def _tick(self) -> None:
        """Count the time since the last tick; a clock that was set back counts nothing."""
        now = time.perf_counter()
        self.learner.progress.seconds += max(0.0, now - self._ticked)
        self._ticked = now

    def _save(self) -> None:
        self._tick()
        if not self.folder:
            return
        state = {**self.learner.state_dict(), **self.origin.state_dict()}
        state["probes"] = self.probes.state_dict()
        self.observers.notify("bnnlab_saved", file=self.folder.save(state))
        self._ticked = time.perf_counter()
        self._interruption.saved()

    def _finish(
        self, status: RunStatus, reason: str | None = None, failure: BaseException | None = None
    ) -> Result:
        result = _result_of(self, status, reason, failure)
        found, has_ended = result.as_dict(), status in ("complete", "stopped")
        try:
            if self.folder:
                stored = _stored(self.config, found, ["accuracy"])
                self.observers.notify("bnnlab_saved", file=self.folder.write_result(stored))
            self.result = result if has_ended else None
        finally:
            if self.result is not None or not has_ended:  # else it has failed, and comes here again
                self.observers.notify("bnnlab_run_ended", result=found)
        return result


def _stored(config: RunConfig, found: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what a file holds of this: of these lists, without what was not measured.

    So files grow with the tasks, and not with their square. A run that evaluates all tasks writes
    files as earlier versions do.
    """
    if config.evaluate == "all":
        return found
    return {**found, **{name: rows.packed(found[name]) for name in names}}


def _ended(steps: Generator[Any, Any, Result]) -> Result:
    """Carry out a run that makes its steps itself; return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def _result_of(
    experiment: Experiment, status: RunStatus, reason: str | None, failure: BaseException | None
) -> Result:
    run, origin, progress = experiment.made, experiment.origin, experiment.learner.progress
    return Result(
        status=status,
        stop_reason=reason,
        measures=measured(progress, experiment.probes, status, failure),
        tasks=[task.name for task in run.tasks],
        protocol=protocol_hash(origin.protocol),
        protocol_description=origin.protocol,
        evaluate_on=experiment.config.evaluate_on,
        evaluate=experiment.config.evaluate,
        score=run.tasks[0].objective.score,
        seed=run.seed,
        run_id=origin.run_id,
        seconds=round(progress.seconds, 3),
        components=origin.components,
        computed_on=origin.computed_on,
        changed_versions={k: used for k, used in origin.versions.items() if len(used) > 1},
        model=run.model.eval(),
        folder=experiment._path,
    )
