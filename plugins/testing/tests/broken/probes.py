"""Probes: what they change, forget and draw."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.probe import Moment, Probe, Run
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from broken import found_by, right


@right(
    "test_what_it_measures_outlives_a_stop",
    "test_a_run_goes_on_as_without_it",
    "test_two_in_one_process_do_not_meet",
)
class Fine(Probe):
    """Keeps the loss of the first step, and the row of each task."""

    def __init__(self) -> None:
        self.first: list[Tensor] = []
        self.rows: list[list[float | None]] = []

    def attach(self, run: Run) -> None:
        self.run = run

    def stepped(self, at: Moment, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        if not self.first:
            self.first.append(loss.clone())

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        self.rows.append([*accuracy])
        return {"rows": len(self.rows)}

    def measures(self) -> Mapping[str, Any]:
        return {"first": [float(loss) for loss in self.first], "rows": self.rows}

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.first, self.rows = list(state["first"]), list(state["rows"])


@found_by("test_no_method_is_nearly_one_of_its_interface", r"Misspelt.epoch_end\(.*epoch_ended")
class Misspelt(Probe):
    """Has a moment that never comes."""

    def epoch_end(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        """Say it."""
        self.log("epochs", loss=metrics["loss"])


@found_by("test_two_in_one_process_do_not_meet", "keep in `self` what changes, not in the class")
@found_by("test_the_same_seed_gives_the_same", "differ, and SharesItsList.losses has changed: keep")
class SharesItsList(Probe):
    """Keeps losses in a list of the class."""

    losses: list[float] = []

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        self.losses.append(float(len(self.losses)))
        return {"losses": len(self.losses)}


@found_by("test_what_it_measures_outlives_a_stop", "state_dict.. holds less than the probe")
class Forgets(Fine):
    """Saves one of two things."""

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "rows": []}


@found_by("test_what_it_measures_is_declared", "declare unit or range of named.b, as of other")
class HalfDeclared(Fine):
    """Declares one of two parts of what it measures."""

    fields = {"measures": {"named": ("its own", "per task"), "named.a": ("0 to 1", "one part")}}

    def measures(self) -> Mapping[str, Any]:
        return {"named": [{"a": 0.5, "b": 0.5}]}


@found_by("test_what_it_measures_is_declared", "has other names")
class Undeclared(Fine):
    """Explains one of its two results."""

    fields = {"measures": {"rows": ("0 to 1", "per task, its row of the accuracy matrix")}}


@found_by("test_a_run_goes_on_as_without_it", "changed the model's weights")
class Writes(Fine):
    """Clips the weights."""

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        with torch.no_grad():
            next(self.run.model.parameters()).clamp_(-1, 1)
        return {}


@found_by("test_a_run_goes_on_as_without_it", "changed a tensor that it was given")
class Smooths(Fine):
    """Writes to what the next probe is told, too."""

    def predicted(self, at: Moment, task: Task | None, prediction: Any) -> None:
        prediction.probabilities.add_(0.1)


@found_by("test_a_run_goes_on_as_without_it", "goes another way with it")
class Brightens(Fine):
    """Writes to the task's images, in place."""

    def task_started(self, at: Moment) -> None:
        at.task.train.pixels.fill_(7)


@found_by("test_a_run_goes_on_as_without_it", "goes another way with it")
class Reduces(Fine):
    """Lowers the learning rate."""

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        for group in self.run.optimizer.param_groups:
            group["lr"] /= 2
        return {}


@found_by("test_the_same_seed_gives_the_same", "with the same seed differ")
@found_by("test_the_global_state_is_left_alone", "generator")
class DrawsAnywhere(Fine):
    """Measures what it draws from torch's global generator."""

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        self.rows.append(torch.rand(3).tolist())
        return {}


@found_by("test_a_step_waits_for_the_device_as_often_as_declared", "waits for the device 1 times")
class Waits(Fine):
    """Reads the loss of each step."""

    def stepped(self, at: Moment, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        self.rows.append([loss.item()])


@found_by("test_it_works_on_every_device")
class Mixes(Fine):
    """Compares logits with a tensor of the CPU."""

    def stepped(self, at: Moment, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        self.above = logits > torch.zeros(logits.shape)
