"""What a run's figures come from, and what must agree where a run is continued."""

import json
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bnnlab.engine import building
from bnnlab.engine.differences import in_words
from bnnlab.engine.fingerprints import fingerprint
from bnnlab.errors import UsageError
from bnnlab.interfaces.probe import Run
from bnnlab.interfaces.stream import Task, TaskStream, protocol_hash
from bnnlab.nn.normalization import needs_recalibration
from bnnlab.registry.components import Kind
from bnnlab.registry.given import OBJECT
from bnnlab.registry.host import PluginHost
from bnnlab.settings.merging import is_same
from bnnlab.settings.run import ANALYSIS, ELSEWHERE, Choice, RunConfig

log = logging.getLogger(__name__)

State = Mapping[str, Any]
"""What a checkpoint holds."""
Computers = list[dict[str, Any]]
"""What computed a run, part by part: its kind of `device` and number of CPU `threads`."""


@dataclass(frozen=True)
class Origin:
    """What a run's figures come from; a resumed run keeps it.

    Attributes:
        run_id: Sixteen hexadecimal digits of this run alone.
        protocol: What is learned from, in which order, how it is split and scored.
        identity: What must be equal in a checkpoint and in the run that continues it.
        versions: Per distribution, every version that computed a part of the run, in order.
        files: Digests of what the run reads besides its stream, by option.
        device: The kind of device.
        computed_on: What computed it, more than one if a resumed run went on with another.
        data: What is needed to make the model again: input shape, classes, number of token ids if
            inputs are such, whether the rule infers.
        components: As in `Result`.
    """

    run_id: str
    protocol: dict[str, Any]
    identity: dict[str, Any]
    versions: dict[str, list[str]]
    files: dict[str, str]
    device: str
    computed_on: Computers
    data: dict[str, Any]
    components: dict[str, dict[str, str]]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it; a run that is resumed finds its components anew."""
        state = {k: v for k, v in vars(self).items() if k != "components"}
        return {**state, "protocol": json.loads(json.dumps(self.protocol))}  # in plain types


def originate(
    host: PluginHost,
    config: RunConfig,
    stream: TaskStream,
    run: Run,
    probes: Mapping[str, Choice],
    state: State | None,
) -> Origin:
    """Return what a run's figures come from, as if it were new; `state` is a resumed run's."""
    read = dict(config.choices)
    if state and f"{ANALYSIS}/fresh" not in probes:  # fresh models read the model's files, too
        read[Kind.MODEL] = building.without_files(read[Kind.MODEL])
    files = {**(state or {}).get("files", {}), **building.digests(read)}
    protocol = _describe(config, run, stream, files)
    settings = {key: value for key, value in config.as_dict().items() if key not in ELSEWHERE}
    used = versions(host, (*config.choices.values(), *probes.values()), run)
    device = next(run.model.parameters()).device.type
    return Origin(
        run_id=secrets.token_hex(8),
        protocol=protocol,
        identity={
            **settings,
            "protocol": protocol_hash(protocol),
            "tasks": [_identify(task) for task in run.tasks],
        },
        versions={name: [each] for name, each in used.items()},
        files=files,
        device=device,
        computed_on=[{"device": device, "threads": config.threads}],
        data={
            "input_shape": list(stream.input_shape),
            "classes": stream.classes,
            "tokens": stream.tokens,
            "rule_infers": run.model.inference is not None,
        },
        components={
            str(kind): {
                "name": choice.component.name,
                "distribution": choice.plugin.distribution,
                "version": choice.plugin.version,
                **({"object": choice.options[OBJECT]} if is_object(choice) else {}),
            }
            for kind, choice in config.choices.items()
        },
    )


def _identify(task: Task) -> dict[str, str]:
    """Return a task's name, and a digest of each part's rows, and of their labels and order.

    Real numbers are left out: on another device they may be rounded otherwise.
    """
    digests = {}
    for name, part in task.parts.items():
        labels = None if part.labels.is_floating_point() else part.labels[part.rows]
        digests[name] = fingerprint((part.rows, labels, part.permutation, task.classes))
    return {"name": str(task.name), **digests}


def _describe(
    config: RunConfig, run: Run, stream: TaskStream, files: Mapping[str, str]
) -> dict[str, Any]:
    """Describe the data and `files` that are learned from, their order, their split, the score."""
    predictor, memory = run.optimizer.predicts_by(), run.rule.memory
    objective, evaluations = run.tasks[0].objective, run.policy.evaluations
    is_whole = evaluations.is_whole(len(run.tasks), run.task_ids)
    return {
        **({"files": files} if files else {}),
        "stream": stream.protocol(),
        **_length(run),
        "batch_size": run.batch_size,
        "score": f"{objective.score} of {predictor} on each task's whole {config.evaluate_on} part",
        **({} if is_whole else {"scored": str(evaluations)}),
        "task_ids_at_test": run.task_ids,
        "revisits_training_images": needs_recalibration(run.model),
        **({} if memory is None else {"memory": memory.describe()}),
    }


def _length(run: Run) -> dict[str, Any]:
    """Describe how long a run trains, and whether validation parts decide on it."""
    policy = run.policy
    is_one = len({*policy.epochs}) < 2  # each task has the same number, however it was said
    length: dict[str, Any] = {"epochs": run.epochs if is_one else [*policy.epochs]}
    if policy.steps:
        length = {"steps": policy.steps}
    if policy.patience is not None:
        length["patience"] = policy.patience
    return {
        **length,
        **({"keeps": "the best epoch on validation"} if policy.keep == "best" else {}),
    }


def versions(host: PluginHost, choices: Iterable[Choice], run: Run) -> dict[str, str]:
    """Return the versions of what computes: torch, bnnlab and the plugins in use.

    Plugins in use are those of the choices and of their parts, and those of what a run is made of,
    such as a layer of another plugin.
    """
    modules = (*run.model.modules(), *run.rule.modules())
    parts = (*modules, *vars(run.rule).values(), *vars(run.optimizer).values())
    packages = {type(part).__module__.partition(".")[0] for part in parts}
    inner = [plugin for plugin in host.plugins if plugin.package in packages]
    used = (each for choice in choices for _, each in choice.within(""))
    plugins = [*(each.plugin for each in used if not is_object(each)), *inner]
    own = {"torch": str(torch.__version__), "bnnlab": version("bnnlab")}
    return {**own, **{plugin.distribution: plugin.version for plugin in plugins}}


def is_object(choice: Choice) -> bool:
    """Return whether an object of Python is in the component's place."""
    return choice.plugin.distribution == OBJECT


def compare(folder: Path, saved: State, mine: State, differences: Iterable[str] = ()) -> None:
    """Check that a checkpoint's identity agrees with `mine`, the run's or a part of it.

    What the checkpoint does not have came with a later version, and is not compared. The message
    says the `differences` of the protocols, too, and where the tasks differ first.

    Raises:
        UsageError: If they differ.
    """
    changed = [key for key in mine if not _agree(saved.get(key, mine[key]), mine[key])]
    if changed:
        tasks = (_by_number(identity.get("tasks", ())) for identity in (saved, mine))
        where = in_words(*tasks)[:1] if "tasks" in changed else []
        what = "; ".join([", ".join(changed), *differences, *where])
        raise UsageError(
            f"{folder} does not go with its checkpoint: its run.toml, its data, the tasks that its "
            f"stream makes or a file that it names changed since then ({what}). Start a new run."
        )


def _by_number(tasks: Iterable[Any]) -> dict[str, Any]:
    return {f"task {number}": task for number, task in enumerate(tasks, start=1)}


def _agree(saved: Any, mine: Any) -> bool:
    if isinstance(saved, str) and isinstance(mine, dict):  # before components had parts
        return is_same(saved, mine["name"])
    if isinstance(saved, dict) and isinstance(mine, dict):
        return all(_agree(value, mine.get(option)) for option, value in saved.items())
    return bool(saved == mine)


def join_versions(
    folder: Path, saved: Mapping[str, list[str]], mine: Mapping[str, list[str]], allowed: bool
) -> dict[str, list[str]]:
    """Return every version that computed a part of a run: those of its checkpoint, then mine.

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


def join_computers(folder: Path, state: State, mine: Computers) -> Computers:
    """Return what computed parts of a run: its checkpoint's, then mine; warn where it changes.

    A checkpoint of 0.1.0 does not say the number of threads.
    """
    unsaid = [{"device": state["device"], "threads": None}]
    saved: Computers = state.get("computed_on", unsaid)
    (before, now), said = (saved[-1], mine[-1]), ""
    if before["device"] != now["device"]:
        said, effect = "on {device}", "in rounding and in what an optimizer draws"
    elif now["device"] == "cpu" and before["threads"] not in (None, now["threads"]):
        said, effect = "by {threads} CPU threads", "in rounding"
    if said:
        log.warning(
            "%s was saved %s and continues %s: from here on it differs from an uninterrupted run, "
            "%s",
            *(folder, said.format(**before), said.format(**now), effect),
        )
    return saved if before == now else saved + mine
