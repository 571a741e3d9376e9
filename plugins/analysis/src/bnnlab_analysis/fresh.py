"""Fresh models, each of which learns one task alone: what the tasks before it cost or gave."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnlab.engine.continual import plasticity
from bnnlab.engine.learner import Learner
from bnnlab.engine.rates import Rates
from bnnlab.engine.training import Trainer
from bnnlab.interfaces.probe import Control, Probe, Run


class Fresh(Probe):
    """Teaches each task to a fresh model once the run has learned all of them.

    It has as many steps as the run had in that task, at the same learning rates.

    It doubles the time. A run that is interrupted meanwhile goes on within the task.
    """

    def __init__(self) -> None:
        self._accuracy: list[float | None] = []
        self._learner: Learner | None = None
        self._plasticity: float | None = None

    def attach(self, run: Run) -> None:
        """Take what makes fresh models."""
        self._run = run

    def run_ended(self, accuracy: Sequence[Sequence[float | None]], control: Control) -> None:
        """Teach the tasks that are left, and compare."""
        rates = Rates(self._run)
        for task in self._run.tasks[len(self._accuracy) :]:
            learner = self._learner = self._learner or self._make()
            run = replace(
                self._run,
                model=learner.model,
                rule=learner.rule,
                optimizer=learner.optimizer,
                tasks=[replace(task, index=0)],
                policy=self._run.policy.alone(task.index),
            )

            def stepped(_: int, *where: int, index: int = task.index) -> None:
                control.stepped(index, *where)

            alone = replace(control, log=lambda _: None, stepped=stepped)
            Trainer(run, learner.progress, alone, rates=rates.alone(task.index)).run()
            self._accuracy.append(learner.progress.accuracy[0][0])
            self._learner = None
            control.save()
        self._plasticity = plasticity(accuracy, self._accuracy)

    def _make(self) -> Learner:
        learner = Learner(*self._run.make_again())
        learner.progress.untrained = [None]  # which nobody asks for
        return learner

    def measures(self) -> Mapping[str, Any]:
        """Return the accuracy of each fresh model, and how much better the run's own was."""
        return {"fresh_accuracy": self._accuracy, "plasticity": self._plasticity}

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured, and the state of the model that is learning."""
        return {
            "fresh": self._accuracy,
            "learner": self._learner and self._learner.state_dict(),
            "plasticity": self._plasticity,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._accuracy, self._plasticity = list(state["fresh"]), state["plasticity"]
        if state["learner"]:
            self._learner = self._make()
            self._learner.load_state_dict(state["learner"], Path("checkpoint"))
