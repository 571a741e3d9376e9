"""What `bnn run --seeds` does."""

import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from typing import TYPE_CHECKING, Any

import typer

from bnnlab.cli.console import report_error, report_note
from bnnlab.errors import StoppedError, UsageError
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import Layer
from bnnlab_studies.commands.sweep import print_study
from bnnlab_studies.repeating import repeat as repeat_runs
from bnnlab_studies.study import Study

if TYPE_CHECKING:
    from bnnlab import Result
    from bnnlab.engine.experiment import Experiment


def repeat(
    places: Sequence[Mapping[str, Any] | Layer], seeds: str, quiet: bool, json: bool
) -> None:
    """Run settings with several seeds, and print the study.

    Args:
        places: All that set something, weakest first.
        seeds: How many seeds, or a list of them: `5` or `0,3,7`.
        quiet: Whether to show no progress.
        json: Whether to print one JSON document.
    """
    with redirect_stdout(sys.stderr), ExitStack() as stack:  # what a plugin prints is no result
        study = _repeat(places, _read(seeds), _Training(stack, quiet))
    print_study(study, {}, json)


def _read(text: str) -> int | list[int]:
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {text!r}: write a number, as 5, or a list, as 0,3,7") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _repeat(
    places: Sequence[Mapping[str, Any] | Layer], seeds: int | list[int], training: "_Training"
) -> Study:
    try:
        return repeat_runs(PluginHost(), places, seeds, training)
    except (KeyboardInterrupt, StoppedError) as error:
        if training.folder:
            report_note(f"to continue: bnn sweep {shlex.quote(str(training.folder))}")
        stop = error if isinstance(error, StoppedError) else StoppedError(signal.SIGINT)
        report_error(f"stopped by {stop.signal}")
        raise typer.Exit(stop.exit_code) from None


class _Training:
    """Carries out runs that follow one another, with one display.

    Attributes:
        folder: Of the study, once a run has begun.
    """

    def __init__(self, stack: ExitStack, quiet: bool) -> None:
        self.folder: Any = None
        self._stack, self._quiet = stack, quiet
        self._display: Any = None

    def __call__(self, experiment: "Experiment") -> "Result":
        if experiment.folder:
            self.folder = experiment.folder.path.parents[1]
        if self._quiet:
            return experiment.run()
        if self._display is None:
            from bnnlab.cli.display import Display

            self._display = Display(experiment)  # observes all runs of this host
            self._stack.enter_context(self._display.progress)
        self._display.progress.console.print(f"seed {experiment.config.seed}", highlight=False)
        return experiment.run(self._display.stepped)
