"""Lives: what the real loop makes of components, with and without interruptions."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bnnlab.engine.learner import Learner
from bnnlab.engine.training import Trainer
from bnnlab.interfaces.stream import Task
from bnnlab_testing.optimizer_checks import differing, flat

Make = Callable[[int], tuple[Learner, Sequence[Task]]]
"""Makes a learner and its tasks, given how many interruptions there were before."""

Stops = Sequence[tuple[int, int, int]]
"""Task, epoch and step to go on with, where a run is interrupted."""

EPOCHS = 2
STOPS: Stops = ((0, 1, 1), (0, EPOCHS, 0), (1, 0, 0), (1, 0, 1))
"""Within an epoch, before and after a task's end, and within an epoch of the next task."""


class _Interruption(Exception):  # noqa: N818 - no error
    """The run is interrupted where it was just saved."""


def live(make: Make, stops: Stops = (), **trainer: Any) -> dict[str, Any]:
    """Learn and evaluate all tasks; return what is left, logged and predicted, by place.

    At each of the `stops` the run saves, and goes on with components that are made anew and load
    what was saved, as `bnn run --resume` does.

    Args:
        make: Makes what learns, and the tasks, anew.
        stops: Those that the run comes to, in this order; one past its end is left out.
        trainer: Other arguments of the trainer than usual.
    """
    learner, tasks = make(0)
    lines: list[dict[str, Any]] = []
    for restarts, stop in enumerate([*stops, None], start=1):
        try:
            _train(learner, tasks, stop, lines, trainer)
            break
        except _Interruption:
            saved = io.BytesIO()
            torch.save(learner.state_dict(), saved)
            saved.seek(0)
            learner, tasks = make(restarts)
            learner.load_state_dict(torch.load(saved, weights_only=True), Path())
    with torch.no_grad():
        model = learner.model.eval()
        logits = [model(inputs) for task in tasks for inputs, _ in task.test.batches(100)]
    state = learner.state_dict()
    del state["progress"]["seconds"]
    return flat({**state, "log": [{**line, "seconds": 0} for line in lines], "logits": logits})


def _train(
    learner: Learner,
    tasks: Sequence[Task],
    stop: tuple[int, int, int] | None,
    lines: list[dict[str, Any]],
    changes: dict[str, Any],
) -> None:
    progress = learner.progress

    def saved() -> None:
        if (progress.task, progress.epoch, progress.step) == stop:
            raise _Interruption

    usual = {
        "task_ids": False,
        "measure_uncertainty": False,
        "diagnose": False,
        "unknown": None,
        "epochs": EPOCHS,
        "batch_size": 20,
        "seed": 0,
    }
    Trainer(
        **vars(learner),
        tasks=tasks,
        logged=lines.append,
        due=lambda: stop is not None,
        saved=saved,
        stepped=lambda *_: None,
        **{**usual, **changes},
    ).run()


def assert_goes_on(make: Make, stops: Stops = STOPS, **trainer: Any) -> None:
    """Check that a run that is interrupted goes on as one that is not, bit for bit."""
    whole = live(make, **trainer)
    places = differing(whole, live(make, stops, **trainer))
    assert not places, (
        f"interrupted and continued by components made anew, a run goes another way at "
        f"{', '.join(places[:5])}: state_dict() holds less than learning depends on "
        "(if test_an_interrupted_run_goes_on_bit_for_bit fails too, the device is not the reason)"
    )
