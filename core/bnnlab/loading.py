"""A trained model, out of a run's folder."""

from pathlib import Path

from bnnlab import building
from bnnlab.components import Kind
from bnnlab.config import read_config, resolve_components
from bnnlab.errors import UsageError
from bnnlab.host import PluginHost
from bnnlab.model import Model
from bnnlab.records import CONFIG, RunFolder


def load(run: str | Path, *, host: PluginHost | None = None) -> Model:
    """Return the model of a run as it was at its last checkpoint, on the CPU and to be evaluated.

    Statistics per task are those of the last task (`select_task`), and no logits are masked.

    Args:
        run: The run's folder; that of a run which is not complete will do.
        host: The plugins to make it with; all installed ones by default. Those of the model are
            needed, and of a rule that says how the model infers.

    Raises:
        UsageError: If it is no run's folder, has no checkpoint yet, or needs a plugin that is not
            installed.
    """
    host, folder = host or PluginHost(), RunFolder(building.expand(str(run)))
    if not (folder.path / CONFIG).exists():
        raise UsageError(f"{folder.path} is no run's folder: there is no {CONFIG} to read")
    settings = read_config(folder.path / CONFIG)
    state = folder.load_checkpoint()
    if state is None or "data" not in state:
        why = "no checkpoint yet" if state is None else "a checkpoint of an earlier version"
        raise UsageError(f"{folder.path} has {why}: no model can be loaded from it")
    data, seed = state["data"], settings.get("seed", 0)
    kinds = (Kind.MODEL, Kind.RULE) if data["rule_infers"] else (Kind.MODEL,)
    choices = resolve_components(host, [settings], kinds)
    model = building.make_model(
        host,
        building.without_files(choices[Kind.MODEL]),
        input_shape=tuple(data["input_shape"]),
        classes=data["classes"],
        seed=seed,
    )
    try:
        model.load_state_dict(state["model"])
        if Kind.RULE in choices:
            rule = building.make_rule(host, choices[Kind.RULE], model, seed=seed)
            rule.load_state_dict(state["rule"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"the checkpoint in {folder.path} does not fit its run.toml: {reason}"
        ) from error
    return model.eval()
