"""Evaluations: a row of the accuracy matrix, which may be interrupted between predictions."""

from collections.abc import Sequence
from dataclasses import replace

from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.progress import Progress
from bnnlab.engine.reporting import Reporter
from bnnlab.errors import RunError
from bnnlab.interfaces.faults import ADVICE
from bnnlab.interfaces.probe import Moment, Probe, Run
from bnnlab.interfaces.stream import Task


class Scorer:
    """Scores test parts into the progress, and tells the probes what is predicted."""

    def __init__(
        self, run: Run, progress: Progress, evaluator: Evaluator, reporter: Reporter
    ) -> None:
        self.made, self.progress = run, progress
        self._evaluator, self._reporter = evaluator, reporter

    def score_untrained(self) -> None:
        """Score the model before training on all tasks; no probe is asked."""
        progress, tasks = self.progress, self.made.tasks
        if not self.made.task_ids:  # else an unseen task has no statistics of its own yet
            self._score(tasks, tasks[:1], None)
        progress.untrained = progress.end_evaluation() or [None] * len(tasks)
        self._reporter.log({"event": "untrained", "accuracy": progress.untrained})

    def score_after(self, task: Task) -> None:
        """Score the tasks seen and, for forward transfer, the next one."""
        progress, tasks = self.progress, self.made.tasks
        self.made.optimizer.look()  # at what task_ended() left
        seen, at = tasks[: task.index + 1], self._reporter.at(task)
        self._score(seen if self.made.task_ids else tasks[: task.index + 2], seen, at)
        row = progress.end_evaluation()
        row += [None] * (len(tasks) - len(row))
        progress.accuracy.append(row)
        line = {"event": "evaluation", "task": task.index, "step": progress.steps, "accuracy": row}
        for added in self._reporter.ask(Probe.evaluated, at, [*row]).values():
            line = {**added, **line}
        self._reporter.log(line)

    def _score(self, tasks: Sequence[Task], seen: Sequence[Task], at: Moment | None) -> None:
        """Score test parts from where the progress is; `at` is None before training."""
        progress, ask = self.progress, self._reporter.ask
        further = self._further(at) if at else []
        every = [*(inputs for _, inputs in further), *tasks]
        done = progress.further + len(progress.row)
        for each in self._evaluator.predict(every, seen, lambda task: task.test, done):
            if progress.further < len(further):
                ask(Probe.predicted, at, None, each, only=further[progress.further][0])
                progress.further += 1
                continue
            if not bool(each.probabilities.isfinite().all()):
                when = (
                    f"after task {at.task.index + 1} ({at.task.name})" if at else "before training"
                )
                raise RunError(f"{when} the model predicts numbers that are not finite. {ADVICE}")
            progress.row.append(each.accuracy())
            if at:
                ask(Probe.predicted, at, tasks[len(progress.row) - 1], each)
            if self._reporter.is_due():
                self._reporter.save()

    def _further(self, at: Moment) -> list[tuple[str, Task]]:
        """Return which probe asks for further inputs, and a task with these as its test part."""
        return [
            (who, replace(at.task, name=f"the further inputs of probe {who}", test=inputs))
            for who, answer in self._reporter.ask(Probe.further_inputs, at).items()
            for inputs in answer
        ]
