"""A run from its configuration to its result."""

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from typing import Any

from bnnlab import building, continual
from bnnlab.compatibility import require
from bnnlab.components import Kind
from bnnlab.config import Choice, RunConfig
from bnnlab.discovery import Status
from bnnlab.errors import BnnlabError, RunError, UsageError, explain, place
from bnnlab.host import PluginHost
from bnnlab.model import Model
from bnnlab.normalization import needs_recalibration
from bnnlab.optimizer import Optimizer
from bnnlab.progress import Progress
from bnnlab.records import RunFolder, hear
from bnnlab.result import Result
from bnnlab.result import Status as RunStatus
from bnnlab.rule import LearningRule
from bnnlab.stream import protocol_hash
from bnnlab.training import Trainer

log = logging.getLogger(__name__)

Stepped = Callable[[int, int, int, int], None]


class Experiment:
    """Four components that fit together, ready to run.

    Args:
        host: Where the components come from.
        config: The resolved configuration.
        resume: A run's folder to continue; None for a new run.

    Raises:
        UsageError: If the components do not fit, or one cannot be made.
    """

    def __init__(
        self, host: PluginHost, config: RunConfig, resume: RunFolder | None = None
    ) -> None:
        require(host, config)
        self.host, self.config = host, config
        choices, seed = config.choices, config.seed
        self.device = device = building.find_device(config.device)
        with hear() as self._heard:
            self.stream = building.make_stream(
                host,
                choices[Kind.STREAM],
                data=building.data_folder(config.data),
                device=device,
                seed=seed,
            )
            self.tasks = building.make_tasks(choices[Kind.STREAM], self.stream)
            state = resume.load_checkpoint() if resume else None
            if state:
                choices = {**choices, Kind.MODEL: building.without_files(choices[Kind.MODEL])}
            self.model, self.rule, self.optimizer = self._make_learner(choices)
            read = config.choices if config.fresh else choices  # fresh models begin from them, too
            self.files = {**(state or {}).get("files", {}), **building.digests(read)}
        self.progress = Progress()
        self.folder = resume or self._new_folder()
        if resume:
            self._restore(resume, state)

    def _make_learner(self, choices: dict[Kind, Choice]) -> tuple[Model, LearningRule, Optimizer]:
        config = replace(self.config, choices=choices)
        return building.make_learner(self.host, config, self.stream, self.device)

    def run(self, stepped: Stepped = lambda *_: None) -> Result:
        """Train on what is left of the stream and return the result, also written to the folder.

        Args:
            stepped: Called after each step with (task, epoch, step, steps in the epoch).

        Raises:
            RunError: If the run fails; what was measured until then is in the folder.
        """
        trainer = Trainer(
            self.model,
            self.rule,
            self.optimizer,
            self.tasks,
            measure_uncertainty=self.config.uncertainty or self.optimizer.test_draws > 0,
            diagnose=self.config.diagnose,
            unknown=None if self.stream.gives_task_ids else self.stream.out_of_distribution(),
            progress=self.progress,
            logged=self._logged,
            saved=self._save,
            **self._schedule(stepped),
        )
        if self.folder:
            self.folder.start_log(self._heard)
        path = self.folder.path if self.folder else None
        self.host.notify(
            "bnnlab_run_started",
            config=self.config.as_dict(),
            folder=path,
            resumed=self.progress.lines > 0,
        )
        try:
            trainer.run()
            if self.config.fresh:
                self._learn_alone(stepped)
        except KeyboardInterrupt:
            self._finish("interrupted")
            raise
        except Exception as error:
            log.error("%s", error, exc_info=not isinstance(error, BnnlabError))
            with suppress(OSError):  # the disk may be what failed; the first error is the news
                self._finish("failed")
            if isinstance(error, BnnlabError):
                raise
            raise RunError(f"the run failed at {place(error)}: {explain(error)}") from error
        else:
            return self._finish("complete")
        finally:
            if self.folder:
                self.folder.stop_log()

    def _schedule(self, stepped: Stepped) -> dict[str, Any]:
        return {
            "task_ids": self.stream.gives_task_ids,
            "epochs": self.config.epochs,
            "batch_size": self.config.batch_size,
            "seed": self.config.seed,
            "stepped": stepped,
        }

    def _learn_alone(self, stepped: Stepped) -> None:
        """Teach each task to a fresh model, to see what the tasks before it cost or gave."""
        fresh, began = self.progress.fresh, self.progress.seconds
        for task in self.tasks[len(fresh) :]:
            alone = Progress(untrained=[None])
            Trainer(
                *self._make_learner(self.config.choices),
                [replace(task, index=0)],
                measure_uncertainty=False,
                diagnose=False,
                unknown=None,
                progress=alone,
                logged=lambda _: None,
                saved=lambda: None,
                **self._schedule(stepped),
            ).run()
            fresh.append(alone.accuracy[0][0])
            began += alone.seconds
            self.progress.seconds = began
            self._save()

    # -------------------------------------------------------------------- what it writes

    def _new_folder(self) -> RunFolder | None:
        if self.config.out is None:
            return None
        names = [self.config.choices[kind].component.name for kind in _NAMING]
        out = building.expand(self.config.out)
        folder = RunFolder.create(out, self.config.name, "-".join(names))
        loaded = [plugin for plugin in self.host.plugins if plugin.status is Status.OK]
        try:
            folder.write_config(self._repeatable())
            folder.write_environment({plugin.distribution: plugin.version for plugin in loaded})
        except OSError as error:
            shutil.rmtree(folder.path, ignore_errors=True)  # made a moment ago
            raise UsageError(f"cannot write to {folder.path}: {error.strerror}.") from error
        return folder

    def _repeatable(self) -> dict[str, Any]:
        """Return the configuration with what it left to this machine, and without its own name."""
        data = building.data_folder(self.config.data).resolve()
        found = {"device": str(self.device), "data": str(data)}
        config = {**self.config.as_dict(), **found}
        del config["name"]
        return config

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint must agree on with the run that continues it."""
        config = self.config.as_dict()
        kept = {key: value for key, value in config.items() if key not in _ELSEWHERE}
        return {**kept, "protocol": protocol_hash(self.protocol())}

    def _logged(self, metrics: dict[str, Any]) -> None:
        if self.folder:
            self.folder.append_metrics(metrics)
        self.host.notify("bnnlab_metrics_logged", metrics=deepcopy(metrics))
        if metrics["event"] == "evaluation":
            task, accuracy = metrics["task"], metrics["accuracy"]
            self.host.notify("bnnlab_task_ended", task=task, accuracy=accuracy)

    def _save(self) -> None:
        if self.folder:
            self.folder.save_checkpoint(
                {
                    "model": self.model.state_dict(),
                    "rule": self.rule.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "progress": vars(self.progress),
                    "identity": self._identity(),
                    "files": self.files,
                    "data": {
                        "input_shape": list(self.stream.input_shape),
                        "classes": self.stream.classes,
                        "rule_infers": self.model.inference is not None,
                    },
                }
            )

    def _restore(self, folder: RunFolder, state: dict[str, Any] | None) -> None:
        if state:
            self._compare(folder, state.get("identity", {}))
            try:
                self.model.load_state_dict(state["model"])
                self.rule.load_state_dict(state["rule"])
                self.optimizer.load_state_dict(state["optimizer"])
                self.progress = Progress(**state["progress"])
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise UsageError(
                    f"the checkpoint in {folder.path} does not fit its run.toml: {reason}"
                ) from error
        alone = self.config.fresh and len(self.progress.fresh) < len(self.tasks)
        if self.progress.task == len(self.tasks) and not alone:
            raise UsageError(f"{folder.path} is complete: there is nothing to resume")
        folder.keep_metrics(self.progress.lines)

    def _compare(self, folder: RunFolder, saved: dict[str, Any]) -> None:
        mine = self._identity()
        changed = [key for key in mine if mine[key] != saved.get(key)]
        if changed:
            raise UsageError(
                f"{folder.path} cannot be continued: its run.toml, its data or a file that it "
                f"names changed since the checkpoint ({', '.join(changed)}). Start a new run."
            )

    def protocol(self) -> dict[str, Any]:
        """Describe what is learned from, in which order, how it is split and scored."""
        draws = self.optimizer.test_draws
        predictor = f"the mean of {draws} weight draws" if draws else "the deployed weights"
        return {
            **({"files": self.files} if self.files else {}),
            "stream": self.stream.protocol(),
            "epochs": self.config.epochs,
            "batch_size": self.config.batch_size,
            "score": f"top-1 accuracy of {predictor} on each task's whole test part",
            "task_ids_at_test": self.stream.gives_task_ids,
            "revisits_training_images": needs_recalibration(self.model),
        }

    def _finish(self, status: RunStatus) -> Result:
        matrix, protocol = self.progress.accuracy, self.protocol()
        result = Result(
            status=status,
            accuracy=matrix,
            untrained_accuracy=self.progress.untrained,
            fresh_accuracy=self.progress.fresh,
            average_accuracy=continual.average_accuracy(matrix),
            recent_accuracy=continual.recent_accuracy(matrix),
            learning_accuracy=continual.learning_accuracy(matrix),
            forgetting=continual.forgetting(matrix),
            backward_transfer=continual.backward_transfer(matrix),
            forward_transfer=continual.forward_transfer(matrix, self.progress.untrained),
            plasticity=continual.plasticity(matrix, self.progress.fresh),
            retention=continual.retention(matrix),
            uncertainty=self.progress.uncertainty[-1] if self.progress.uncertainty else {},
            flips=self.progress.flips,
            diagnostics=self.progress.diagnostics,
            diagnosis=self.progress.diagnosis,
            tasks=[task.name for task in self.tasks],
            protocol=protocol_hash(protocol),
            protocol_description=protocol,
            seed=self.config.seed,
            seconds=round(self.progress.seconds, 3),
            components={
                str(kind): {
                    "name": choice.component.name,
                    "distribution": choice.plugin.distribution,
                    "version": choice.plugin.version,
                }
                for kind, choice in self.config.choices.items()
            },
            model=self.model.eval(),
            folder=self.folder.path if self.folder else None,
        )
        if self.folder:
            self.folder.write_result(result.as_dict())
        self.host.notify("bnnlab_run_ended", result=result.as_dict())
        return result


_NAMING = (Kind.RULE, Kind.OPTIMIZER, Kind.STREAM)
_ELSEWHERE = ("data", "out", "name", "device")  # may differ where a run is continued
