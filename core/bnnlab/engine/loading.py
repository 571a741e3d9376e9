"""Load the trained model of a run."""

from os import PathLike
from pathlib import Path
from typing import Any

from bnnlab.engine import building
from bnnlab.engine.learner import restore
from bnnlab.engine.objects import name_objects
from bnnlab.engine.protocol import compare
from bnnlab.engine.resuming import with_same_objects
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.registry.components import Kind
from bnnlab.registry.given import resuming
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import expect
from bnnlab.settings.layers import resolve_components
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
    try:
        state = checkpoint.read(path / checkpoint.CHECKPOINT, old=True)
    except checkpoint.DamagedError as error:
        again = resuming(path, settings)
        raise UsageError(f"{error} To go on with the run: {again}") from error
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
