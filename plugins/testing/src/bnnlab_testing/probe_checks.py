"""What a probe owes to a run: it decides by no test data, and answers at any time."""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bnnlab.engine.learner import Learner
from bnnlab.errors import RunError, UsageError, explain
from bnnlab.interfaces.probe import Probe
from bnnlab.interfaces.stream import Task
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, differing, flat
from bnnlab_testing.probe_runs import ProbeRuns


class ProbeChecks(ProbeRuns):
    """The part of `ProbeContract` that is about the run that it measures."""

    def test_it_stops_no_run_by_test_data(self) -> None:
        """While a task is learned, it asks to stop at the same step whatever the test part holds.

        Decide by the loss, or by the `validation_accuracy` in the metrics of an epoch: nothing is
        chosen by test data, and so is no length of training.
        """
        usual = self._steps_before_a_stop(lambda _: None)
        for change in (_invert_test, _relabel_test):
            other = self._steps_before_a_stop(change)
            assert usual == other, (
                f"it stops the run after {usual} steps, and with other test data after {other}: "
                "decide by training or validation data"
            )

    def test_a_figure_is_of_the_part_that_it_is_named_after(self) -> None:
        """Figures called `train...` or `validation...` are the same whatever the test part holds.

        Those called `test...` are others with other test data, but for whole numbers, which count.
        Or somebody compares what is learned with what is tested, and both are one.
        """
        usual, *others = map(self._figures, (lambda _: None, _invert_test, *_RELABELLED))
        for place, value in usual.items():
            same = [other.get(place) == value for other in others]
            for name in re.findall(r"\['(\w+)'\]", place):
                if name.startswith(("train", "validation")):
                    assert all(same), f"with other test data, {place} is another: it is of these"
                elif name.startswith("test") and re.fullmatch(r"-?[\d.e-]*\.[\d.e-]*", value):
                    assert not all(same), (
                        f"with other test data, {place} is the same: it is of others"
                    )

    def _figures(self, change: Callable[[Task], None]) -> dict[str, Any]:
        """Return the results and lines of a run of one task whose test part is changed."""
        task = self.learned.make_task()
        change(task)
        found = self._live(make=lambda _: (self.make_learner(), [task]))
        return {at: it for at, it in found.items() if at.startswith(("['log']", "['measures']"))}

    def test_its_results_may_be_asked_for_at_any_time(self) -> None:
        """`measures()` can be called after every line of metrics, and changes nothing by it.

        A run that is stopped early is asked, too. Have `measures()` read what other moments have
        noted, and return None or an empty list for what is not measured yet.
        """
        probe, usual = self.make(), self._live()

        class Asking(list[dict[str, Any]]):
            def append(self, line: dict[str, Any]) -> None:
                super().append(line)
                found = [_measured(probe, line["event"]) for _ in range(2)]
                assert_same("asked twice in a row, its results differ at", *found)

        asked = self._live(make_probe=lambda: probe, lines=Asking())
        places = differing(usual, asked)
        assert not places, (
            f"where measures() was called meanwhile, the run differs at {', '.join(places[:5])}: "
            "let it only read"
        )

    def test_its_results_are_what_json_knows(self) -> None:
        """Results, lines and answers are finite numbers, text, lists and dicts: no tensor, no NaN.

        They are written to result.json and metrics.jsonl. Make numbers by `float(tensor)`, and
        return None where there is no number.
        """
        try:
            self._live()
        except RunError as error:
            if "JSON" in str(error):
                raise AssertionError(str(error)) from error
            raise

    def test_it_measures_a_short_run(self) -> None:
        """A run of one task and one epoch, without inputs of no task, is measured or refused.

        Refuse in `attach`, by a UsageError, what cannot be measured: an error at the end of a run
        costs hours.
        """

        def make(_: int) -> tuple[Learner, Sequence[Task]]:
            return self.make_learner(), [self.learned.make_task()]

        with suppress(UsageError):
            self._live(make=make, unknown=None, epochs=1)

    def test_it_prints_nothing_and_writes_no_file(self) -> None:
        """Standard output belongs to the command, and the current folder to who gave it.

        Let `self.log(...)` and `measures()` say what was measured: they are in the run's folder.
        Messages go to `logging`.
        """
        with TemporaryDirectory() as folder, chdir(folder), redirect_stdout(io.StringIO()) as said:
            self._live()
            files = [file.name for file in Path(folder).iterdir()]
        assert not files, f"it writes into the current folder: {', '.join(files)}"
        assert not said.getvalue(), f"it prints {said.getvalue()[:60]!r}"


def _measured(probe: Probe, after: str) -> dict[str, Any]:
    try:
        return flat(probe.measures())
    except Exception as error:  # a probe may raise any
        raise AssertionError(
            f"measures() fails after the line {after!r}: {explain(error)}"
        ) from error


def _invert_test(task: Task) -> None:
    inputs, rows = task.test.pixels, task.test.rows
    assert isinstance(inputs, torch.Tensor)
    inputs[rows] = -inputs[rows] if inputs.is_floating_point() else inputs[rows] ^ 255


def _relabel_test(task: Task) -> None:
    labels, rows = task.test.labels, task.test.rows
    other = labels[rows] + 1
    labels[rows] = other if labels.is_floating_point() else other % toy.CLASSES


def _relabel_twice(task: Task) -> None:
    for _ in range(2):
        _relabel_test(task)


_RELABELLED = _relabel_test, _relabel_twice  # of three labels: not all accuracies can be equal
