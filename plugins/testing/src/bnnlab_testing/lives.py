"""Lives: what the real loop makes of components, with and without interruptions."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bnnlab.engine.learner import Learner
from bnnlab.engine.probes import Probes
from bnnlab.engine.progress import Progress
from bnnlab.engine.training import Trainer
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Control, Probe, Run
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import Task
from bnnlab_testing import toy
from bnnlab_testing.asserting import differing, flat

Make = Callable[[int], tuple[Learner, Sequence[Task]]]
"""Makes a learner and its tasks, given how many interruptions there were before."""

Stops = Sequence[tuple[int, int, int]]
"""Task, epoch and step to go on with, where a run is interrupted."""

EPOCHS = 2
STOPS: Stops = ((0, 1, 1), (0, EPOCHS, 0), (1, 0, 0), (1, 0, 1))
"""Within an epoch, before and after a task's end, and within an epoch of the next task."""


class _Interruption(KeyboardInterrupt):
    """The run is interrupted where it was just saved."""


def run_of(learner: Learner, tasks: Sequence[Task], **changes: Any) -> Run:
    """Return a run in which a learner learns tasks; it has fields that differ from the usual."""

    def make_again() -> tuple[Model, LearningRule, Optimizer]:
        model = toy.make_model().to(next(learner.model.parameters()).device)
        return model, toy.ToyRule(), toy.make_optimizer(model)

    usual: dict[str, Any] = {
        "task_ids": False,
        "unknown": None,
        "epochs": EPOCHS,
        "batch_size": 20,
        "seed": 0,
        "make_again": make_again,
    }
    parts = {"model": learner.model, "rule": learner.rule, "optimizer": learner.optimizer}
    return Run(**{**parts, "tasks": tasks, **usual, **changes})


def live(
    make: Make,
    stops: Stops = (),
    make_probe: Callable[[], Probe] = Probe,
    lines: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Learn and evaluate all tasks; return the final state, log, measures and predictions by place.

    At each of the `stops` the run saves, and goes on with components that are made anew and load
    what was saved, as `bnn run --resume` does.

    Args:
        make: Makes what learns, and the tasks, anew.
        stops: Those that the run comes to, in this order; one past its end is left out.
        make_probe: Makes what measures the run, anew.
        lines: Is given what is logged.
        changes: Other fields of the `Run` than usual.
    """
    lines, saved = [] if lines is None else lines, None
    for restarts, stop in enumerate([*stops, None]):
        learner, tasks = make(restarts)
        run, probe = run_of(learner, tasks, **changes), make_probe()
        probes = Probes({"it": probe}, run)
        if saved:
            saved.seek(0)
            state = torch.load(saved, weights_only=True)
            learner.load_state_dict(state, Path())
            probe.load_state_dict(state["probe"])
        try:
            _train(run, learner.progress, stop, lines, probes)
            break
        except _Interruption:
            saved = io.BytesIO()
            torch.save({**learner.state_dict(), "probe": probe.state_dict()}, saved)
    with torch.no_grad():
        model = learner.model.eval()
        logits = [model(inputs) for task in tasks for inputs, _ in task.test.batches(100)]
    state = learner.state_dict()
    del state["progress"]["seconds"]
    log = [{**line, "seconds": 0} for line in lines]
    return flat({**state, "log": log, "logits": logits, "measures": probes.measures()})


def _train(
    run: Run,
    progress: Progress,
    stop: tuple[int, int, int] | None,
    lines: list[dict[str, Any]],
    probes: Probes,
) -> None:
    def save() -> None:
        if (progress.task, progress.epoch, progress.step) == stop:
            raise _Interruption

    control = Control(log=lines.append, is_due=lambda: stop is not None, save=save)
    Trainer(run, progress, control, probes).run()


def assert_goes_on(make: Make, stops: Stops = STOPS, hint: str = "", **changes: Any) -> None:
    """Check that a run that is interrupted goes on as one that is not, bit for bit.

    Where it does not, a `hint` is given beside the usual causes.
    """
    whole = live(make, **changes)
    places = differing(whole, live(make, stops, **changes))
    assert not places, (
        f"interrupted and continued by components made anew, a run goes another way at "
        f"{', '.join(places[:5])}: state_dict() holds less than learning depends on, or adopt() of "
        f"an optimizer, which is called after a load, changes what nobody wrote{hint}"
    )
