"""What `bnn run --seeds` does."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnlab.cli.console import stoppable
from bnnlab.engine.interruption import raising
from bnnlab.errors import UsageError
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import Layer
from bnnlab_studies.commands.summaries import print_study
from bnnlab_studies.plan import command_of
from bnnlab_studies.repeating import repeat as repeat_runs
from bnnlab_studies.study import TABLE
from bnnlab_studies.sweep import TableError

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
    every, again, display = _read(seeds), "", None

    def begun(folder: Path) -> None:
        nonlocal again
        again = command_of(folder)

    def train(experiment: "Experiment") -> "Result":
        nonlocal display
        if quiet:
            return experiment.run()
        if display is None:
            from bnnlab.cli.display import Display

            display = Display(experiment)  # observes all runs of this host
            stack.enter_context(display.progress)
        display.progress.console.print(f"seed {experiment.config.seed}", highlight=False)
        return experiment.run(display.stepped)

    faults = dict[str, str]()
    try:  # what a plugin prints is no result
        with redirect_stdout(sys.stderr), stoppable(lambda: again), raising(), ExitStack() as stack:
            study = repeat_runs(PluginHost(), places, every, train, begun)
    except TableError as error:
        study, faults[TABLE] = error.study, str(error)
    print_study(study, faults, json, again)


def _read(text: str) -> int | list[int]:
    try:
        numbers = [int(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {text!r}: write a number, as 5, or a list, as 0,3,7") from None
    return numbers if len(numbers) > 1 else numbers[0]
