"""A run from its configuration to its result."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from typing import Any

from bnnlab.engine import building
from bnnlab.engine.interruption import Interruption
from bnnlab.engine.learner import Learner
from bnnlab.engine.protocol import compare, describe, identity, join_versions, versions
from bnnlab.engine.result import Result, conclude
from bnnlab.engine.result import Status as RunStatus
from bnnlab.engine.training import Trainer
from bnnlab.errors import BnnlabError, RunError, StoppedError, UsageError, explain, place
from bnnlab.interfaces.stream import Task
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import Status
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import is_storable, shown
from bnnlab.registry.requirements import warn_of_unmet
from bnnlab.settings.fit import require
from bnnlab.settings.run import Choice, RunConfig
from bnnlab.storage import checkpoint
from bnnlab.storage.folder import LOG, RunFolder
from bnnlab.storage.log import hear, written

log = logging.getLogger(__name__)

Stepped = Callable[[int, int, int, int], None]


class Experiment:
    """Four components that fit together, ready to run.

    Args:
        host: Where the components come from.
        config: The resolved configuration.
        resume: A run's folder to continue; None for a new run.
        allow_changed_versions: Whether it may be continued with other versions of torch, bnnlab or
            a plugin than it was begun with.

    Attributes:
        protocol: What is learned from, in which order, how it is split and scored.

    Raises:
        UsageError: If the components do not fit, one cannot be made, or the run cannot be
            continued.
    """

    def __init__(
        self,
        host: PluginHost,
        config: RunConfig,
        resume: RunFolder | None = None,
        *,
        allow_changed_versions: bool = False,
    ) -> None:
        require(host, config)
        self.host, self.config, self.folder = host, config, resume
        self.observers = host.observers()
        self.device = building.find_device(config.device)
        with ExitStack() as undo, hear() as self._heard:
            state = None
            if resume:
                with resume.writing(UsageError):
                    resume.lock()
                    undo.callback(resume.unlock)
                    state = checkpoint.load(resume.path)
            warn_of_unmet(choice.plugin.distribution for choice in config.choices.values())
            self._make(state)
            self.protocol = describe(config, self.stream, self.model, self.optimizer, self.files)
            self._identity = identity(config, self.protocol)
            now = versions(host, config, self.learner)
            self._versions = {name: [version] for name, version in now.items()}
            if resume:
                with resume.writing(UsageError):
                    self._restore(resume, state, now, allow_changed_versions)
            else:
                self.folder = self._new_folder()
            undo.pop_all()
        self._resumed = state is not None
        self._interruption = Interruption(config.checkpoint_minutes)

    def _make(self, state: Mapping[str, Any] | None) -> None:
        """Make the components; a model whose state follows begins as no file."""
        config, choices = self.config, self.config.choices
        self.stream = building.make_stream(
            self.host,
            choices[Kind.STREAM],
            data=building.data_folder(config.data),
            device=self.device,
            seed=config.seed,
        )
        self.tasks = building.make_tasks(choices[Kind.STREAM], self.stream)
        self.unknown = building.make_unknown(choices[Kind.STREAM], self.stream, self.tasks)
        if state:
            choices = {**choices, Kind.MODEL: building.without_files(choices[Kind.MODEL])}
        self.learner = learner = self._make_learner(choices)
        self.model, self.rule = learner.model, learner.rule
        self.optimizer, self.progress = learner.optimizer, learner.progress
        self.alone: Learner | None = None
        read = config.choices if config.fresh else choices  # fresh models begin from them, too
        self.files = {**(state or {}).get("files", {}), **building.digests(read)}

    def _make_learner(self, choices: dict[Kind, Choice]) -> Learner:
        config = replace(self.config, choices=choices)
        return Learner(*building.make_learner(self.host, config, self.stream, self.device))

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
        with ExitStack() as ending:
            if self.folder:
                ending.callback(self.folder.unlock)
                with self.folder.writing():
                    ending.enter_context(written(self.folder.path / LOG, self._heard))
            self.observers.notify(
                "bnnlab_run_started",
                config=self.config.as_dict(),
                folder=self.folder.path if self.folder else None,
                resumed=self._resumed,
            )
            try:
                with self._interruption.listening() if self.folder else nullcontext():
                    self._learn(stepped)
            except (KeyboardInterrupt, StoppedError) as stop:
                log.info("stopped by %s", getattr(stop, "signal", "SIGINT"))
                self._finish("interrupted")
                raise
            except (Exception, SystemExit) as error:
                log.error("%s", error, exc_info=not isinstance(error, BnnlabError))
                with suppress(OSError, RunError):  # the disk may be what failed: that is the news
                    self._finish("failed")
                if isinstance(error, BnnlabError):
                    raise
                raise RunError(f"the run failed at {place(error)}: {explain(error)}") from error
            return self._finish("complete")

    def _learn(self, stepped: Stepped) -> None:
        if not self._resumed:
            self._save()
        self._train(
            self.learner,
            self.tasks,
            stepped,
            measure_uncertainty=self.config.uncertainty or self.optimizer.test_draws > 0,
            diagnose=self.config.diagnose,
            unknown=self.unknown,
            logged=self._logged,
        )
        if self.config.fresh:
            self._learn_alone(stepped)

    def _learn_alone(self, stepped: Stepped) -> None:
        """Teach each task to a fresh model, to see what the tasks before it cost or gave."""
        fresh = self.progress.fresh
        for task in self.tasks[len(fresh) :]:
            if self.alone is None:
                self.alone = self._make_learner(self.config.choices)
                self.alone.progress.untrained = [None]
            self._train(
                self.alone,
                [replace(task, index=0)],
                lambda _, *where, index=task.index: stepped(index, *where),
                measure_uncertainty=False,
                diagnose=False,
                unknown=None,
                logged=lambda _: None,
            )
            fresh.append(self.alone.progress.accuracy[0][0])
            self.progress.seconds += self.alone.progress.seconds
            self.alone = None
            self._save()

    def _train(
        self, learner: Learner, tasks: Sequence[Task], stepped: Stepped, **measured: Any
    ) -> None:
        """Train on what is left of the tasks."""
        Trainer(
            **vars(learner),
            tasks=tasks,
            task_ids=self.stream.gives_task_ids,
            epochs=self.config.epochs,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            due=self._interruption.due if self.folder else lambda: False,
            saved=self._save,
            stepped=stepped,
            **measured,
        ).run()

    # -------------------------------------------------------------------- what it writes

    def _new_folder(self) -> RunFolder | None:
        if self.config.out is None:
            return None
        described = "-".join(self.config.choices[kind].component.name for kind in _NAMING)
        config, out = self._repeatable(), building.expand(self.config.out)
        folder = RunFolder.create(out, self.config.name, described)
        loaded = [plugin for plugin in self.host.plugins if plugin.status is Status.OK]
        folder.describe(config, {each.distribution: each.version for each in loaded})
        return folder

    def _repeatable(self) -> dict[str, Any]:
        """Return the configuration with what it left to this machine, and without its own name."""
        data = str(building.data_folder(self.config.data).resolve())
        if not is_storable(data):
            raise UsageError(f"data: {shown(data)} has characters that a run file cannot hold.")
        config = {**self.config.as_dict(), "device": str(self.device), "data": data}
        del config["name"]
        return config

    def _logged(self, metrics: dict[str, Any]) -> None:
        if self.folder:
            with self.folder.writing():
                self.folder.append_metrics(metrics)
        self.observers.notify("bnnlab_metrics_logged", metrics=metrics)
        if metrics["event"] == "evaluation":
            task, accuracy = metrics["task"], metrics["accuracy"]
            self.observers.notify("bnnlab_task_ended", task=task, accuracy=accuracy)

    def _save(self) -> None:
        if not self.folder:
            return
        state = {
            **self.learner.state_dict(),
            "alone": self.alone.state_dict() if self.alone else None,
            "identity": self._identity,
            "device": self.device.type,
            "versions": self._versions,
            "files": self.files,
            "data": {
                "input_shape": list(self.stream.input_shape),
                "classes": self.stream.classes,
                "rule_infers": self.model.inference is not None,
            },
            "metrics": self.folder.lines,
        }
        with self.folder.writing():
            checkpoint.save(self.folder.path, state)
        self._interruption.saved()

    def _restore(
        self,
        folder: RunFolder,
        state: Mapping[str, Any] | None,
        now: Mapping[str, str],
        allow_changed_versions: bool,
    ) -> None:
        if state is None:
            folder.begin_anew()
            return
        self._versions = join_versions(folder.path, state["versions"], now, allow_changed_versions)
        compare(folder.path, state["identity"], self._identity)
        if state["device"] != self.device.type:
            log.warning(
                "%s was saved on %s and continues on %s: from here on it differs from an "
                "uninterrupted run, in rounding and in what an optimizer draws",
                *(folder.path, state["device"], self.device.type),
            )
        self.learner.load_state_dict(state, folder.path)
        if state["alone"]:
            self.alone = self._make_learner(self.config.choices)
            self.alone.load_state_dict(state["alone"], folder.path)
        folder.restore_metrics(state["metrics"])
        alone = self.config.fresh and len(self.progress.fresh) < len(self.tasks)
        if self.progress.task == len(self.tasks) and not alone:
            log.warning("%s is complete: only its result is written again", folder.path)

    def _finish(self, status: RunStatus) -> Result:
        result = conclude(
            status,
            self.config,
            self.learner,
            self.tasks,
            self.protocol,
            self._versions,
            self.folder.path if self.folder else None,
        )
        if self.folder:
            with self.folder.writing():
                self.folder.write_result(result.as_dict())
        self.observers.notify("bnnlab_run_ended", result=result.as_dict())
        return result


_NAMING = (Kind.RULE, Kind.OPTIMIZER, Kind.STREAM)
