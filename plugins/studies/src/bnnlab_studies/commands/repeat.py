"""What `bnn run --seeds` does."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnlab.cli.console import stoppable
from bnnlab.engine.interruption import raising
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import Layer
from bnnlab_studies.commands.options import read_seeds
from bnnlab_studies.commands.summaries import print_study
from bnnlab_studies.plan import command_of
from bnnlab_studies.repeating import repeat as repeat_runs
from bnnlab_studies.study import TABLE
from bnnlab_studies.sweep import TableError

if TYPE_CHECKING:
    from bnnlab import Result
    from bnnlab.engine.experiment import Experiment
    from bnnlab.interfaces.probe import Stepped


def repeat(
    places: Sequence[Mapping[str, Any] | Layer],
    seeds: str,
    quiet: bool,
    json: bool,
    vectorize: bool = False,
) -> None:
    """Run settings with several seeds, and print the study.

    Args:
        places: All that set something, weakest first.
        seeds: How many seeds, or a list of them: `5` or `0,3,7`.
        quiet: Whether to show no progress.
        json: Whether to print one JSON document.
        vectorize: Whether the steps of all runs are made together.
    """
    every, again, display = read_seeds(seeds), "", None

    def begun(folder: Path) -> None:
        nonlocal again
        again = command_of(folder)

    def shown(experiment: "Experiment", name: str) -> "Stepped":
        nonlocal display
        if quiet:
            return lambda *_: None
        if display is None:
            from bnnlab.cli.display import Display

            display = Display(experiment)  # observes all runs of this host
            stack.enter_context(display.progress)
        display.progress.console.print(name, highlight=False)
        return display.stepped

    def train(experiment: "Experiment") -> "Result":
        return experiment.run(shown(experiment, f"seed {experiment.config.seed}"))

    def together(experiments: "Iterable[Experiment]") -> "list[Result]":
        from bnnlab.engine.lockstep import run_together

        every_run = [*experiments]
        seeds = ", ".join(str(each.config.seed) for each in every_run)
        return run_together(every_run, shown(every_run[0], f"seeds {seeds}, in this order below"))

    faults = dict[str, str]()
    try:  # what a plugin prints is no result
        with redirect_stdout(sys.stderr), stoppable(lambda: again), raising(), ExitStack() as stack:
            how = together if vectorize else None
            study = repeat_runs(PluginHost(), places, every, train, begun, how)
    except TableError as error:
        study, faults[TABLE] = error.study, str(error)
    print_study(study, faults, json, again)
