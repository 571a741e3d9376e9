"""The tracker: a run of bnnlab is a run of W&B with the same id. wandb is imported by `start`."""

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from bnnlab.errors import program
from bnnlab.storage.folder import METRICS
from bnnlab_tracking.showing import draw_all, heat_map, matrix_table
from bnnlab_tracking.tracker import PLACE, Line, Status, Tracked, Tracker
from bnnlab_wandb.records import AXES, record

QUIET: Mapping[str, Any] = {
    "console": "off",
    "disable_git": True,
    "disable_job_creation": True,
    "program": "bnn",
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Settings of wandb: what the user did not ask for does not leave the machine."""
ALIASES = {"dryrun": "offline", "run": "online"}
"""Old names of modes that wandb takes."""


class WandB(Tracker):
    """Weights & Biases.

    Args:
        project: Project of W&B. none: as WANDB_PROJECT says; if it does not, bnnlab.
        entity: User or team. none: as W&B's settings or WANDB_ENTITY say.
        mode: online, offline (written to the run's folder, for `wandb sync`) or disabled. none: as
            WANDB_MODE says; if it does not, online.
        group: Group of runs. none: the study that the run lies in.
        job_type: Type of the run, for filters.
        run_name: Name that W&B shows. none: that of the run's folder.
        tags: Of the run. []: as WANDB_TAGS says.
        notes: A longer text on the run.
        pictures: Show the pictures of bnnlab-plots at the end, if it is installed.
        artifact: Upload the run's folder at the end, as an artifact.
        **options: Of every tracker.
    """

    def __init__(
        self,
        *,
        project: str | None = None,
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        group: str | None = None,
        job_type: str | None = None,
        run_name: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        pictures: bool = True,
        artifact: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._about: dict[str, Any] = {
            "project": project or os.environ.get("WANDB_PROJECT") or "bnnlab",
            "entity": entity,
            "group": group,
            "job_type": job_type,
            "name": run_name,
            "tags": [*tags] or None,  # as WANDB_TAGS says
            "notes": notes,
        }
        told = os.environ.get("WANDB_MODE") or "online"
        self._mode = mode or ALIASES.get(told, told)
        self._pictures, self._artifact = pictures, artifact

    def start(self, run: Tracked) -> int:
        """Begin a run of W&B, or go on with it; online, W&B knows best how many lines it has.

        Offline, a run that goes on is written from its first line again, so that one folder has
        all of it. But `wandb sync` appends: if it has uploaded a part, the rest is written.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._run = run
        self._before = sorted((run.place / "wandb").glob(f"offline-run-*-{run.run_id}"))
        self._is_part = any([*each.glob("*.synced")] for each in self._before)
        about = {
            **self._about,
            "group": self._about["group"] or run.group or None,
            "name": self._about["name"] or run.name,
        }
        self._shown: Any = wandb.init(
            id=run.run_id,
            resume="allow",
            mode=self._mode,
            dir=run.place,
            config=config_of(run),
            settings=wandb.Settings(**QUIET),
            **about,
        )
        for pattern, axis in AXES.items():
            self._shown.define_metric(pattern, step_metric=axis)
        if self._mode == "online":
            self._next = int(self._shown.starting_step)
        else:
            self._next = (run.delivered or 0) if self._is_part else 0
        return self._next

    def log(self, index: int, line: Line) -> None:
        """Send a line as the record of the step with its number."""
        import wandb

        self._shown.log(record(line, wandb.Histogram), step=index, commit=True)
        self._next = index + 1

    def finish(self, status: Status, result: Mapping[str, Any] | None) -> None:
        """Send the result, pictures and the folder; wait until all has arrived."""
        import wandb

        with TemporaryDirectory() as folder:
            if result is not None:
                about = {key: it for key, it in result.items() if key != "protocol_description"}
                self._shown.summary.update(about)
            if result is not None and status == "complete":
                self._show(result, Path(folder))
                if self._artifact:
                    self._shown.log_artifact(self._packed())
            ended = status in ("complete", "stopped")
            self._shown.finish(exit_code=0 if ended else 1)
        wandb.teardown()
        for old in () if self._is_part else self._before:  # this one has their lines, too
            shutil.rmtree(old, ignore_errors=True)

    def _show(self, result: Mapping[str, Any], folder: Path) -> None:
        """Send matrix and pictures after the last line, unless an earlier process did."""
        import wandb

        lines = (self._run.folder / METRICS).read_bytes().count(b"\n")
        if self._next != lines:
            return
        heads, rows = matrix_table(result["accuracy"], result["tasks"])
        map_file = folder / "matrix.png"
        map_file.write_bytes(heat_map(result["accuracy"]))
        files = draw_all(self._run.folder, folder) if self._pictures else []
        shown = {
            "matrix/table": wandb.Table(columns=heads, data=rows),
            "matrix/heat map": wandb.Image(str(map_file)),
            **{f"pictures/{file.stem}": wandb.Image(str(file)) for file in files},
        }
        self._shown.log(shown, step=lines, commit=True)

    def _packed(self) -> Any:
        import wandb

        artifact = wandb.Artifact(f"run-{self._run.run_id}", type="run")
        for file in sorted(self._run.folder.rglob("[!.]*")):
            name = file.relative_to(self._run.folder)
            if file.is_file() and name.parts[0] != PLACE:
                artifact.add_file(str(file), str(name))
        return artifact

    def offline(self, run: Tracked) -> "WandB | None":
        """Return one that writes for `wandb sync`, unless some was sent, to which that appends."""
        if self._mode != "online" or run.delivered is not None:
            return None
        other = copy(self)
        other._mode = "offline"
        return other

    def later(self) -> str:
        """Return the command that uploads an offline run."""
        if self._mode != "offline":
            return ""
        parts = [each for each in self._before if self._is_part and not [*each.glob("*.synced")]]
        folders = (shlex.quote(str(each)) for each in (*parts, self._shown.settings.sync_dir))
        return f"{program('wandb')} sync {' '.join(folders)}"


def config_of(run: Tracked) -> dict[str, Any]:
    """Return what W&B calls the config: settings, protocol, versions."""
    environment = run.environment
    environment.pop("command", None)
    return {
        **run.portable,
        "protocol": run.protocol_hash,
        "protocol_description": run.protocol,
        "environment": environment,
    }
