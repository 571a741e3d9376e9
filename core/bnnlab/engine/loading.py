"""Load the trained model of a run, or all that the run was made of. Nothing is written."""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from bnnlab.engine import building
from bnnlab.engine.learner import restore
from bnnlab.engine.objects import name_objects
from bnnlab.engine.preparing import make_run
from bnnlab.engine.protocol import compare, originate
from bnnlab.engine.resuming import with_same_objects
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.probe import Run
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.given import resuming
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import expect
from bnnlab.settings.fit import require
from bnnlab.settings.layers import resolve, resolve_components
from bnnlab.settings.text import read_config
from bnnlab.storage import checkpoint
from bnnlab.storage.folder import config_of


def load(
    run: str | Path, *, model: Any = None, rule: Any = None, host: PluginHost | None = None
) -> Model:
    """Return the model of a run's last checkpoint, on the CPU and in evaluation mode.

    Statistics per task are those of the last task (`select_task`), and no logits are masked.

    Args:
        run: The run's folder. The run need not be complete.
        model: The object that the run was given as its model, if it was; it stays as it is.
        rule: The same of its rule, if this sets `model.inference`.
        host: The plugins to use; by default all installed ones. Needed are the plugin of the model,
            and that of a rule that sets `model.inference`.

    Raises:
        UsageError: If the folder is not a run's, if its last checkpoint is missing, damaged or of
            another run, if a plugin that it needs is not installed, or if an object is another.
    """
    expect("run", run, str, PathLike)
    host, path = host or PluginHost(), building.expand(str(run))
    settings = read_config(config_of(path))
    state = _last_state(path, settings)
    data, seed = state["data"], settings.get("seed", 0)
    kinds = (Kind.MODEL, Kind.RULE) if data["rule_infers"] else (Kind.MODEL,)
    given = {Kind.MODEL: model, Kind.RULE: rule}
    _, objects = name_objects(host, {kind: given[kind] for kind in kinds})
    its = {str(kind): settings[kind] for kind in kinds if kind in settings}
    host = with_same_objects(host, objects, path, its)
    choices = resolve_components(host, [settings], kinds)
    compare(path, state["identity"], {key: settings.get(key) for key in ("seed", *kinds)})
    sizes = {key: data.get(key) for key in ("input_shape", "classes", "tokens")}
    choice = building.without_files(choices[Kind.MODEL])
    made = building.make_model(host, choice, **sizes, seed=seed)
    parts: dict[str, Any] = {"model": made}
    if Kind.RULE in choices:
        parts["rule"] = building.make_rule(host, choices[Kind.RULE], made, seed=seed)
    restore(path, state, **parts)
    return made.eval()


def reopen(run: str | Path, *, host: PluginHost | None = None, **objects: Any) -> Run:
    """Return what a run was made of, as its last checkpoint left it, on the CPU.

    An evaluation by its optimizer makes the same weight draws as the run's last one. Probes and
    trackers are left out, and versions may be others than the run's.

    Args:
        run: The run's folder. The run need not be complete.
        host: The plugins to use; by default all installed ones.
        objects: The objects that the run was given, by their kinds; they stay as they are.

    Raises:
        UsageError: As from `load`, and if the stream's data are not there or are others.
    """
    expect("run", run, str, PathLike)
    host, path = host or PluginHost(), building.expand(str(run))
    settings = {
        kind: value
        for kind, value in read_config(config_of(path)).items()
        if kind not in (Kind.PROBE, Kind.TRACKER)
    }
    state = _last_state(path, settings)
    _, given = name_objects(host, objects)
    host = with_same_objects(host, given, path, settings)
    config = replace(resolve(host, [settings]), compile=False)
    require(host, config)
    device, choice = torch.device("cpu"), config.choices[Kind.STREAM]
    data = building.data_folder(config.data)
    stream = building.make_stream(host, choice, data=data, device=device, seed=config.seed)
    made = make_run(host, config, stream, device, resumed=True)
    mine = originate(host, config, stream, made, {}, state).identity
    kept = ("seed", "protocol", "tasks", *PARTS)
    compare(path, state["identity"], {key: mine[key] for key in kept})
    restore(path, state, model=made.model, rule=made.rule, optimizer=made.optimizer)
    return made


def _last_state(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a run's last checkpoint, and say how the run goes on if there is none."""
    try:
        return checkpoint.read(path / checkpoint.CHECKPOINT, old=True)
    except checkpoint.DamagedError as error:
        again = resuming(path, settings)
        raise UsageError(f"{error} To go on with the run: {again}") from error
