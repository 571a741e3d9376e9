"""Which probes measure a run: those it names, and those that its settings stand for."""

import logging
from collections.abc import Collection

from bnnlab.engine.probes import can_hear
from bnnlab.errors import NOTE, UsageError
from bnnlab.interfaces.probe import Run
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose
from bnnlab.settings.run import ANALYSIS, MEASURING, Choice, RunConfig

log = logging.getLogger(__name__)


def choose_probes(
    host: PluginHost, config: RunConfig, run: Run, saved: Collection[str] | None
) -> dict[str, Choice]:
    """Return the probes of a run by the names that their states have in its checkpoints.

    The log says which of those that nobody asked for are not measured, and why.

    A run that goes on has the probes of its checkpoint, `saved`; this is None for a new run.

    Raises:
        UsageError: If a probe that is asked for, or that a resumed run has, is not there, or
            cannot measure what the run predicts.
    """
    names = implied(config, run) if saved is None else dict.fromkeys(saved, True)
    chosen: dict[str, Choice] = {}
    for name, is_asked in names.items():
        if name in config.probes:
            continue
        try:
            choice = choose(host, Kind.PROBE, name, {})
            _check_hears(host, choice, run)
            chosen[name] = choice
        except UsageError as error:
            if is_asked:
                raise
            log.log(NOTE, "%s: not measured. %s", name.partition("/")[2], error)
    for choice in config.probes.values():
        _check_hears(host, choice, run)
    probes = {**chosen, **config.probes}
    if config.evaluate_on == "validation" and f"{ANALYSIS}/uncertainty" in probes:
        log.log(NOTE, "out-of-distribution detection: not measured. Its inputs are test images.")
    return probes


def _check_hears(host: PluginHost, choice: Choice, run: Run) -> None:
    """Check that a probe can measure what the run predicts."""
    objective = run.tasks[0].objective
    if not can_hear(host.load(choice.plugin, choice.component), objective):
        raise UsageError(
            f"{choice} of {choice.plugin.distribution} cannot measure a run whose targets are "
            f"{objective.name}"
        )


def implied(config: RunConfig, run: Run) -> dict[str, bool]:
    """Return the probes of bnnlab-analysis that a run has without naming them.

    They are weights, the uncertainty of a posterior, and those that settings stand for; only these
    are asked for, which is each one's value.
    """
    usual = ["weights", "uncertainty"] if run.optimizer.test_draws else ["weights"]
    asked = [probe for setting, probe in MEASURING.items() if getattr(config, setting)]
    return {f"{ANALYSIS}/{probe}": probe in asked for probe in dict.fromkeys([*usual, *asked])}
