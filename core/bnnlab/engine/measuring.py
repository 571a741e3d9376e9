"""Which probes measure a run: those it names, and those that its settings stand for."""

import logging
from collections.abc import Collection

from bnnlab.engine.building import make_probe
from bnnlab.engine.probes import overrides
from bnnlab.errors import NOTE, UsageError
from bnnlab.interfaces.probe import Probe, Run
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose
from bnnlab.settings.run import ANALYSIS, MEASURING, Choice, RunConfig

log = logging.getLogger(__name__)


def make_probes(
    host: PluginHost, config: RunConfig, run: Run, saved: Collection[str] | None
) -> tuple[dict[str, Choice], dict[str, Probe]]:
    """Return the probes of a run, chosen and made, by the names of their states in checkpoints.

    The log says which of those that nobody asked for are not measured, and why.

    A run that goes on has the probes of its checkpoint, `saved`; this is None for a new run.

    Raises:
        UsageError: If a probe that is asked for, or that a resumed run has, is not there, or
            cannot measure what the run predicts.
    """
    names = implied(config, run) if saved is None else dict.fromkeys(saved, True)
    others = {name: is_asked for name, is_asked in names.items() if name not in config.probes}
    chosen, made = dict[str, Choice](), dict[str, Probe]()
    for name, is_asked in {**others, **dict.fromkeys(config.probes, True)}.items():
        try:
            choice = config.probes.get(name) or choose(host, Kind.PROBE, name, {})
            made[name] = _make(host, choice, run)
            chosen[name] = choice
        except UsageError as error:
            if is_asked:
                raise
            log.log(NOTE, "%s: not measured. %s", name.partition("/")[2], error)
    if config.evaluate_on == "validation" and f"{ANALYSIS}/uncertainty" in chosen:
        log.log(NOTE, "out-of-distribution detection: not measured. Its inputs are test images.")
    return chosen, made


def _make(host: PluginHost, choice: Choice, run: Run) -> Probe:
    """Make a probe that can measure what a run predicts."""
    probe, objective = make_probe(host, choice), run.tasks[0].objective
    if overrides(probe, Probe.predicted) and not issubclass(objective.prediction, probe.takes):
        raise UsageError(
            f"{choice} of {choice.plugin.distribution} cannot measure a run whose targets are "
            f"{objective.name}"
        )
    return probe


def implied(config: RunConfig, run: Run) -> dict[str, bool]:
    """Return the probes of bnnlab-analysis that a run has without naming them.

    They are weights, the uncertainty of a posterior, and those that settings stand for; only these
    are asked for, which is each one's value.
    """
    usual = ["weights", "uncertainty"] if run.optimizer.test_draws else ["weights"]
    asked = [probe for setting, probe in MEASURING.items() if getattr(config, setting)]
    return {f"{ANALYSIS}/{probe}": probe in asked for probe in dict.fromkeys([*usual, *asked])}
