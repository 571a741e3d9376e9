"""What a run's figures come from, and what must agree where a run is continued."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bnnlab.engine.learner import Learner
from bnnlab.errors import UsageError
from bnnlab.interfaces.stream import TaskStream, protocol_hash
from bnnlab.nn.normalization import needs_recalibration
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import RunConfig

log = logging.getLogger(__name__)

ELSEWHERE = ("data", "out", "name", "device", "checkpoint_minutes")
"""Settings that may differ where a run is continued."""


@dataclass(frozen=True)
class Origin:
    """What a run's figures come from; a resumed run keeps it.

    Attributes:
        run_id: Sixteen hexadecimal digits of this run alone.
        protocol: What is learned from, in which order, how it is split and scored.
        identity: What a checkpoint must agree on with the run that continues it.
        versions: All that parts of the run are made with, by distribution.
        files: Digests of what the run reads besides its stream, by option.
        device: The kind of device.
        data: What makes the model again: input shape, classes, whether the rule infers.
        components: Per kind: name, distribution and version.
    """

    run_id: str
    protocol: dict[str, Any]
    identity: dict[str, Any]
    versions: dict[str, list[str]]
    files: dict[str, str]
    device: str
    data: dict[str, Any]
    components: dict[str, dict[str, str]]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it: all that is not a function of the rest."""
        return {k: v for k, v in vars(self).items() if k not in ("protocol", "components")}


def describe(
    config: RunConfig, stream: TaskStream, learner: Learner, files: Mapping[str, str]
) -> dict[str, Any]:
    """Describe what is learned from (`files`, too), in which order, how it is split and scored."""
    draws = learner.optimizer.test_draws
    predictor = f"the mean of {draws} weight draws" if draws else "the deployed weights"
    return {
        **({"files": dict(files)} if files else {}),
        "stream": stream.protocol(),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "score": f"top-1 accuracy of {predictor} on each task's whole test part",
        "task_ids_at_test": stream.gives_task_ids,
        "revisits_training_images": needs_recalibration(learner.model),
    }


def identity(config: RunConfig, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint must agree on with the run that continues it."""
    kept = {key: value for key, value in config.as_dict().items() if key not in ELSEWHERE}
    return {**kept, "protocol": protocol_hash(protocol)}


def compare(folder: Path, saved: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """See that the identity in a checkpoint is the run's own, or the part of it in `mine`.

    Settings that it does not know are of a later version, which may be allowed.

    Raises:
        UsageError: If they differ.
    """
    changed = [key for key in mine if not _agree(saved.get(key, mine[key]), mine[key])]
    if changed:
        raise UsageError(
            f"{folder} does not go with its checkpoint: its run.toml, its data or a file that it "
            f"names changed since then ({', '.join(changed)}). Start a new run."
        )


def _agree(saved: Any, mine: Any) -> bool:
    if isinstance(saved, dict) and isinstance(mine, dict):
        return all(mine.get(option) == value for option, value in saved.items())
    return bool(saved == mine)


def versions(host: PluginHost, used: Sequence[Plugin], learner: Learner) -> dict[str, str]:
    """Return the versions of what computes: torch, bnnlab and the plugins in use.

    Plugins in use are those in `used`, and those of what a learner is made of, such as the
    optimizer that another one goes around.
    """
    modules = (*learner.model.modules(), *learner.rule.modules())
    parts = (*modules, *vars(learner.rule).values(), *vars(learner.optimizer).values())
    packages = {type(part).__module__.partition(".")[0] for part in parts}
    plugins = [*used, *(plugin for plugin in host.plugins if plugin.package in packages)]
    own = {"torch": str(torch.__version__), "bnnlab": version("bnnlab")}
    return {**own, **{plugin.distribution: plugin.version for plugin in plugins}}


def join_versions(
    folder: Path, saved: Mapping[str, list[str]], mine: Mapping[str, list[str]], allowed: bool
) -> dict[str, list[str]]:
    """Return every version that parts of a run are made with: those of its checkpoint, then mine.

    Raises:
        UsageError: If they differ and this is not allowed.
    """
    before = {name: saved.get(name, ["not used"]) for name in mine}
    changed = [name for name in mine if before[name][-1:] != mine[name]]
    if changed:
        what = ", ".join(f"{name} {before[name][-1]} is {mine[name][0]} now" for name in changed)
        if not allowed:
            raise UsageError(
                f"{folder} was begun with other versions: {what}. Install those again, or let "
                "--allow-changed-versions go on: the result says so."
            )
        log.warning("%s goes on with other versions: %s", folder, what)
    return {name: before[name] + mine[name] * (name in changed) for name in mine}
