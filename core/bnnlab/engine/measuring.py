"""Which probes measure a run: those it names, and those that its settings stand for."""

import logging
from collections.abc import Collection

from bnnlab.errors import NOTE, UsageError
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose
from bnnlab.settings.run import ANALYSIS, MEASURING, Choice, RunConfig

log = logging.getLogger(__name__)


def choose_probes(
    host: PluginHost,
    config: RunConfig,
    optimizer: Optimizer,
    *,
    resumed: bool,
    saved: Collection[str] | None,
) -> dict[str, Choice]:
    """Return the probes of a run by the names that their states have in its checkpoints.

    Weights are measured where bnnlab-analysis is installed, and so is the uncertainty of a
    posterior; the log says where they are not. A resumed run has the probes that it was begun with.

    Args:
        host: Where probes come from.
        config: Names probes, or has settings that stand for some.
        optimizer: Whose predictions may be those of a posterior.
        resumed: Whether the run goes on from a checkpoint.
        saved: The probes in the checkpoint; None if there is none, or one of 0.1.0.

    Raises:
        UsageError: If a probe that is asked for, or that a resumed run has, is not there.
    """
    chosen: dict[str, Choice] = {}
    for name in _implied(config, optimizer) if saved is None else saved:
        if name in config.probes:
            continue
        try:
            chosen[name] = choose(host, Kind.PROBE, name, {})
        except UsageError as error:
            if resumed or name in _asked(config):
                raise
            log.log(NOTE, "%s: not measured. %s", name.partition("/")[2], error)
    return {**chosen, **config.probes}


def _implied(config: RunConfig, optimizer: Optimizer) -> list[str]:
    posterior = [f"{ANALYSIS}/uncertainty"] if optimizer.test_draws else []
    return list(dict.fromkeys([f"{ANALYSIS}/weights", *posterior, *_asked(config)]))


def _asked(config: RunConfig) -> list[str]:
    """Return the probes that the settings stand for."""
    asked = [probe for setting, probe in MEASURING.items() if getattr(config, setting)]
    return [f"{ANALYSIS}/{probe}" for probe in asked]
