"""Export the model of a run."""

import json
import os
from pathlib import Path
from typing import Any

from bnnlab.engine.building import expand
from bnnlab.engine.loading import reopen
from bnnlab.errors import UsageError
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.registry.host import PluginHost
from bnnlab.settings.text import read_config
from bnnlab.storage import checkpoint
from bnnlab.storage.folder import config_of
from bnnlab_export.exported import Exported
from bnnlab_export.exporting import write
from bnnlab_export.source import Source


def export_run(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str] | None,
    *,
    draws: int | None = None,
    weights_only: bool = False,
    to: str = "bnn",
    task: int | None = None,
    host: PluginHost | None = None,
    **objects: Any,
) -> Exported:
    """Write the model of a run as one file, as `bnnlab_export.export` does.

    Args:
        run: The run's folder.
        path: The file; None to write none.
        draws: As in `export`: by default as many as the run's evaluations average over.
        weights_only: As in `export`.
        to: As in `export`.
        task: As in `export`.
        host: The plugins to use; by default all installed ones.
        objects: The objects that the run was given, by their kinds.

    Raises:
        UsageError: If the folder is no run's, its data are not there, or the model cannot be
            exported.
        RunError: If predictions differ, or the file cannot be written.
    """
    made = reopen(os.fspath(run), host=host, **objects)
    model, optimizer = made.model, made.optimizer
    folder = expand(os.fspath(run))
    if draws and type(optimizer).draw is Optimizer.draw:
        raise UsageError(
            f"draws: the run's optimizer, {_optimizer(folder)}, has no posterior to draw {draws} "
            "weights from: leave --draws out, draws=None"
        )
    learned, tasks = _learned(folder), len(made.tasks)
    source = Source(
        model,
        tuple(model.input_shape or made.tasks[0].test.pixels.shape[1:]),
        made.tasks,
        task_ids=made.task_ids,
        class_names=made.class_names,
        optimizer=optimizer,
        draws=optimizer.test_draws if draws is None else draws,
        about=_about(folder),
        learned=(learned, tasks) if learned < tasks else None,
    )
    return write(source.of_task(task), path, weights_only=weights_only, to=to)


def _optimizer(folder: Path) -> str:
    """Return the name of a run's optimizer."""
    said = read_config(config_of(folder)).get("optimizer")
    return str(said.get("name", said)) if isinstance(said, dict) else str(said)


def _learned(folder: Path) -> int:
    """Return how many tasks a run's last checkpoint has learned and evaluated."""
    return len(checkpoint.read(folder / checkpoint.CHECKPOINT, old=True)["progress"]["accuracy"])


def _about(folder: Path) -> dict[str, Any]:
    """Return what people want to know of a run: its name, seed and protocol."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the run has not ended
        result = {}
    return {"name": folder.resolve().name} | {
        key: result[key] for key in ("seed", "protocol") if key in result
    }
