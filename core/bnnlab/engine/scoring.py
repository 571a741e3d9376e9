"""Evaluations: a row of the accuracy matrix, which may be interrupted between predictions."""

from collections.abc import Sequence
from dataclasses import replace

from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.figures import SHARE, score_of
from bnnlab.engine.probes import STAMPS, Probes, joined
from bnnlab.engine.progress import Progress
from bnnlab.errors import RunError
from bnnlab.interfaces.faults import ADVICE
from bnnlab.interfaces.prediction import Predicted
from bnnlab.interfaces.probe import Control, Moment, Probe, Run
from bnnlab.interfaces.stream import Task


class Scorer:
    """Scores test parts into the progress, and tells the probes what is predicted."""

    def __init__(self, run: Run, progress: Progress, control: Control, probes: Probes) -> None:
        self.made, self.progress, self._control, self._probes = run, progress, control, probes
        self._evaluator = Evaluator(run.model, run.optimizer, run.task_ids)

    def score_untrained(self) -> None:
        """Score the model before training on all tasks, for forward transfer; ask no probe."""
        progress, tasks = self.progress, self.made.tasks
        if self._goes_ahead:
            self._score(tasks, tasks[:1], None)
        progress.untrained = progress.end_evaluation() or [None] * len(tasks)
        score = tasks[0].objective.score
        said = {} if score_of({"score": score}) == SHARE else {"score": score}
        self._control.log({"event": "untrained", "accuracy": progress.untrained, **said})

    def score_held(self, task: Task) -> dict[str, float]:
        """Return the accuracy on what is held out of a task's training data, if anything is."""
        if task.validation is None or not len(task.validation):
            return {}
        seen = self.made.tasks[: task.index + 1]
        (group,) = self._evaluator.predict([replace(task, test=task.validation)], seen)
        ((_, held),) = group
        return {"validation_accuracy": held.score()}

    def score_after(self, task: Task) -> None:
        """Score tasks seen, as far as the run is told to, and the next one for forward transfer.

        If there is nothing to score, probes that wait for predictions are not asked.
        """
        progress, tasks = self.progress, self.made.tasks
        self.made.optimizer.look()  # at what task_ended() left
        at = progress.at(task)
        asked = self.made.policy.evaluations.after(task.index, len(tasks))
        if asked:
            scored = tasks[asked.start : asked.stop + self._goes_ahead]
            self._score(scored, tasks[: task.index + 1], at)
        row = [*[None] * asked.start, *progress.end_evaluation()]
        row += [None] * (len(tasks) - len(row))
        progress.accuracy.append(row)
        line = {"event": "evaluation", "task": task.index, "step": progress.steps, "accuracy": row}
        unasked = None if asked else Probe.predicted
        answers = self._probes.ask(Probe.evaluated, at, row, without=unasked)
        self._control.log({**joined(answers, {*line, *STAMPS}), **line})

    @property
    def _goes_ahead(self) -> bool:
        """Whether tasks are scored before they are learned: then they have statistics, too."""
        return self.made.policy.evaluations.forward and not self.made.task_ids

    def _score(self, tasks: Sequence[Task], seen: Sequence[Task], at: Moment | None) -> None:
        """Score test parts from where the progress is; `at` is None before training."""
        progress = self.progress
        further = self._further(at) if at else []
        every = [*(inputs for _, inputs in further), *tasks]
        for group in self._evaluator.predict(every[progress.further + len(progress.row) :], seen):
            for task, prediction in group:
                if progress.further < len(further):
                    who, _ = further[progress.further]
                    self._probes.ask(Probe.predicted, at, None, prediction, only=who)
                    progress.further += 1
                    continue
                _check(prediction, at)
                progress.row.append(prediction.score())
                if at:
                    self._probes.ask(Probe.predicted, at, task, prediction)
            if self._control.is_due():
                self._control.save()

    def _further(self, at: Moment) -> list[tuple[str, Task]]:
        """Return which probe asks for further inputs, and a task with these as its test part."""
        return [
            (who, replace(at.task, name=f"the further inputs of probe {who}", test=inputs))
            for who, answer in self._probes.ask(Probe.further_inputs, at).items()
            for inputs in answer
        ]


def _check(prediction: Predicted, at: Moment | None) -> None:
    """Check that a prediction is finite; `Optimizer.look` does not see the last step's outcome."""
    if not prediction.is_finite():
        when = f"after task {at.task.index + 1} ({at.task.name})" if at else "before training"
        raise RunError(f"{when} the model predicts numbers that are not finite. {ADVICE}")
