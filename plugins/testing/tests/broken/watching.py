"""Probes: what they keep of a run, decide by, and answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.guards.modes import in_mode
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.probe import Moment, Run
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from broken import found_by, right
from broken.probes import Fine

GOES_ON = "test_a_run_goes_on_as_without_it"
STOPS = "test_it_stops_no_run_by_test_data"
KEEPS = "test_it_keeps_nothing_of_every_step"
VIEWS = "test_it_keeps_no_view_of_the_weights"
ASKED = "test_its_results_may_be_asked_for_at_any_time"
JSON = "test_its_results_are_what_json_knows"
SHORT = "test_it_measures_a_short_run"
QUIET = "test_it_prints_nothing_and_writes_no_file"


@right(STOPS, KEEPS, ASKED, JSON, SHORT, QUIET)
class Usual(Fine):
    """Does what is asked."""


@found_by(GOES_ON, "changed the model's weights, buffers or mode; it may only look")
class Evaluates(Fine):
    """Leaves the model in evaluation mode after each epoch."""

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        self.run.model.eval()


@found_by(STOPS, r"it stops the run after \d+ steps, and with other test data after")
@found_by("test_what_it_measures_outlives_a_stop", "it stops the run of the tests .*good enough")
class StopsByTheTest(Fine):
    """Ends training as soon as the test part is learned."""

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        inputs, labels = at.task.test.batch(torch.arange(len(at.task.test)))
        are_right = self.run.model(inputs).argmax(-1) == labels
        if float(are_right.float().mean()) > 0.5:
            self.stop("good enough")


@right(STOPS)
class StopsByTheLoss(Fine):
    """Ends training after an epoch, whatever the test part is."""

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        if metrics["loss"] > 0:
            self.stop("it is learning")


@found_by(KEEPS, "in every step it holds .* bytes more: keep sums")
class KeepsLogits(Fine):
    """Keeps the logits of all steps."""

    def __init__(self) -> None:
        super().__init__()
        self.logits: list[Tensor] = []

    def stepped(self, at: Moment, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        self.logits.append(logits.clone())


@right(KEEPS)
class KeepsLosses(KeepsLogits):
    """Keeps the loss of each step, the logits of an epoch, and the weights after each."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []
        self.weights: list[Tensor] = []

    def stepped(self, at: Moment, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        super().stepped(at, batch, loss, logits)
        self.losses.append(loss)

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        self.logits.clear()
        self.weights += [each.detach().clone() for each in self.run.model.parameters()]


@right(VIEWS)
class CountsFlips(Fine):
    """Counts the weights that changed in an epoch."""

    def attach(self, run: Run) -> None:
        super().attach(run)
        self.weights = dict(run.model.named_parameters())
        self.note()

    def note(self) -> None:
        """Note the weights as they are."""
        self.previous = {name: each.detach().clone() for name, each in self.weights.items()}

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        flips = [(each != self.previous[name]).sum() for name, each in self.weights.items()]
        self.rows.append([float(sum(flips))])
        self.note()


@found_by(VIEWS, r"it keeps what changes with the model's weights: previous\['")
class CountsNoFlips(CountsFlips):
    """Compares the weights with themselves."""

    def note(self) -> None:
        self.previous = {name: each.detach() for name, each in self.weights.items()}


@found_by(ASKED, "asked twice in a row, its results differ at")
class Empties(Fine):
    """Forgets what it has told."""

    def measures(self) -> Mapping[str, Any]:
        rows, self.rows = self.rows, []
        return {"rows": rows}


@found_by(ASKED, "the run differs at .*measures.*let it only read")
class NotesWhenItIsAsked(Fine):
    """Says how many rows there were when it was first asked."""

    count: int | None = None

    def measures(self) -> Mapping[str, Any]:
        self.count = len(self.rows) if self.count is None else self.count
        return {"rows": self.count}


@found_by(ASKED, "fails after the line 'untrained': IndexError")
class CountsOnItsEnd(Fine):
    """Has results of complete runs alone."""

    def measures(self) -> Mapping[str, Any]:
        return {"last": self.rows[-1]}


@found_by(JSON, "no mapping of JSON types by name, at 'first'")
class GivesTensors(Fine):
    """Measures tensors."""

    def measures(self) -> Mapping[str, Any]:
        return {"first": self.first}


@found_by(JSON, "no mapping of JSON types by name, at 'share'")
class GivesNaN(Fine):
    """Divides by what it has not counted."""

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        return {"share": float("nan")}


@found_by(SHORT, "failed at .*NoneType")
class NeedsTheUnknown(Fine):
    """Looks at inputs of no task, which not every run has."""

    def run_ended(self, accuracy: Sequence[Sequence[float | None]], control: Any) -> None:
        unknown: Any = self.run.unknown
        unknown.batch(torch.arange(3))


@right(SHORT)
class RefusesWithoutTheUnknown(Fine):
    """Says before the run that it needs inputs of no task."""

    def attach(self, run: Run) -> None:
        super().attach(run)
        if run.unknown is None:
            raise UsageError("it needs a stream with inputs of no task")


@found_by(QUIET, "it prints 'epoch 0")
class Prints(Fine):
    """Shows how far the run is."""

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        print("epoch", at.epoch)  # noqa: T201


@found_by(QUIET, "it writes into the current folder: losses.csv")
class WritesATable(Fine):
    """Has a table of its own."""

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        Path("losses.csv").write_text(f"{metrics['loss']}\n")


PARTS = "test_a_figure_is_of_the_part_that_it_is_named_after"


@found_by(GOES_ON, r"other than without it are \['state'\]\['segments.0.2.mean'\]")
class MovesAverages(Fine):
    """Runs the model in training mode, and puts the mode back."""

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        was = self.run.model.training
        with torch.no_grad():
            self.run.model.train()(at.task.train.batch(torch.arange(5))[0])
        self.run.model.train(was)


@found_by(GOES_ON, r"other than without it are \['hooks'\]")
class LeavesHooks(Fine):
    """Counts passes by hooks that stay."""

    def attach(self, run: Run) -> None:
        super().attach(run)
        run.model.segments[0].register_forward_hook(lambda *_: None)


@right(GOES_ON)
class TakesItsHooksAway(Fine):
    """Counts passes by hooks that it takes away when a task ends."""

    def task_started(self, at: Moment) -> None:
        self.hook = self.run.model.segments[0].register_forward_hook(lambda *_: None)

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        self.hook.remove()
        return super().evaluated(at, accuracy)


@right(PARTS)
class MeasuresParts(Fine):
    """Measures each part under its name."""

    def shown(self, task: Task) -> dict[str, Examples]:
        """Return what is measured, by the name of the figure."""
        return {"test_share": task.test, "train_share": task.train}

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        found = {"tested": len(at.task.test)}
        with torch.no_grad(), in_mode(self.run.model, training=False):
            for name, part in self.shown(at.task).items():
                inputs, labels = part.batch(torch.arange(20))
                are_right = self.run.model(inputs).argmax(-1) == labels
                found[name] = float(are_right.float().mean())
        return found


@found_by(PARTS, r"with other test data, .*'train_share'\] is another: it is of these")
class CallsTestTrain(MeasuresParts):
    """Measures the test part under another name."""

    def shown(self, task: Task) -> dict[str, Examples]:
        return {"train_share": task.test}


@found_by(PARTS, r"with other test data, .*'test_share'\] is the same: it is of others")
class CallsTrainTest(MeasuresParts):
    """Measures the training part under another name."""

    def shown(self, task: Task) -> dict[str, Examples]:
        return {"test_share": task.train}
