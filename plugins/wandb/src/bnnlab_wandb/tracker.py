"""The tracker: a run of bnnlab is a run of W&B with the same id. wandb is imported by `start`."""

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from bnnlab.errors import program, refuse
from bnnlab.storage.folder import METRICS
from bnnlab_tracking.showing import draw_all, heat_map, matrix_table
from bnnlab_tracking.tracker import (
    ENDED,
    PLACE,
    Line,
    Status,
    Tracked,
    Tracker,
    count_lines,
    without_paths,
)
from bnnlab_wandb.limits import ALIASES, faults
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


class WandB(Tracker):
    """Weights & Biases.

    Args:
        project: Project of W&B. none: as WANDB_PROJECT says; if it does not, bnnlab.
        entity: User or team. none: as W&B's settings or WANDB_ENTITY say.
        mode: Mode of wandb. offline: it writes to the run's folder, for `wandb sync`. none: as
            WANDB_MODE says; if it does not, online.
        group: Group of runs. none: the study that the run lies in.
        job_type: Type of the run, for filters. none: it has none.
        run_name: Name that W&B shows. none: that of the run's folder.
        tags: Tags of the run, each of 1 to 64 characters. []: as WANDB_TAGS says.
        notes: A longer text on the run. none: it has none.
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
        told = os.environ.get("WANDB_MODE", "online")
        self._mode = mode or ALIASES.get(told, told)
        self._pictures, self._artifact = pictures, artifact
        self._shown: Any = None

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Refuse what wandb refuses, which it would say once the run has begun."""
        refuse([*faults(options, os.environ)], {})

    def destination(self) -> Any:
        """Return server, entity and project; none of them in the mode `disabled`."""
        if self._mode == "disabled":
            return [self._mode]
        told = [os.environ.get(f"WANDB_{name}") for name in ("BASE_URL", "ENTITY")]
        return [told[0], self._about["entity"] or told[1], self._about["project"]]

    def start(self, run: Tracked) -> int:
        """Begin a run of W&B, or go on with it; online, W&B knows best how many lines it has.

        Offline, a run that goes on is written from its first line again, so that one folder has
        all of it. But `wandb sync` appends: if a part was sent, the rest is written; nothing, if
        the run has ended.
        """
        self._run = run
        self._before = sorted((run.place / "wandb").glob(f"offline-run-*-{run.run_id}"))
        is_offline, delivered = self._mode == "offline", run.delivered
        if is_offline and delivered is None:
            self._before = []  # they are for another destination
        is_sent = not self._before or any(map(_is_synced, self._before))
        self._is_part = is_offline and delivered is not None and is_sent
        if self._is_part and delivered is not None and run.is_ended:
            return delivered
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        about = {
            **self._about,
            "group": self._about["group"] or run.group or None,
            "name": self._about["name"] or run.name,
        }
        self._shown = wandb.init(
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
        begun = delivered if self._is_part else 0
        self._next = int(self._shown.starting_step if self._mode == "online" else begun or 0)
        return self._next

    def log(self, index: int, line: Line) -> None:
        """Send a line as the record of the step with its number."""
        import wandb

        self._shown.log(record(line, wandb.Histogram), step=index, commit=True)
        self._next = index + 1

    def finish(self, status: Status, result: Mapping[str, Any] | None) -> None:
        """Send the result, pictures and the folder; wait until all has arrived."""
        if self._shown is None:
            return
        import wandb

        if result is not None:
            about = {key: it for key, it in result.items() if key != "protocol_description"}
            self._shown.summary.update(about)
            if status == "complete":
                self._show(result)
                if self._artifact:
                    self._shown.log_artifact(_packed(self._run))
        self._shown.finish(exit_code=0 if status in ENDED else 1)
        wandb.teardown()
        for old in () if self._is_part else self._before:  # this one has their lines, too
            shutil.rmtree(old, ignore_errors=True)

    def _show(self, result: Mapping[str, Any]) -> None:
        """Send matrix and pictures after the last line, unless an earlier process did."""
        lines = count_lines(self._run.folder / METRICS)
        if self._next == lines:
            with TemporaryDirectory() as folder:
                shown = _images(self._run, result, Path(folder), pictures=self._pictures)
                self._shown.log(shown, step=lines, commit=True)

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
        folders = [each for each in self._before if self._is_part and not _is_synced(each)]
        if self._shown is not None:
            folders.append(self._shown.settings.sync_dir)
        return f"{program('wandb')} sync {shlex.join(map(str, folders))}" if folders else ""


def _images(
    run: Tracked, result: Mapping[str, Any], folder: Path, *, pictures: bool
) -> dict[str, Any]:
    """Return the matrix as a table and a heat map, and the pictures; their files go to a folder."""
    import wandb

    heads, rows = matrix_table(result["accuracy"], result["tasks"])
    map_file = folder / "matrix.png"
    map_file.write_bytes(heat_map(result["accuracy"]))
    files = draw_all(run.folder, folder) if pictures else []
    return {
        "matrix/table": wandb.Table(columns=heads, data=rows),
        "matrix/heat map": wandb.Image(str(map_file)),
        **{f"pictures/{file.stem}": wandb.Image(str(file)) for file in files},
    }


def _packed(run: Tracked) -> Any:
    """Return the run's folder as an artifact."""
    import wandb

    artifact = wandb.Artifact(f"run-{run.run_id}", type="run")
    for file in sorted(run.folder.rglob("[!.]*")):
        name = file.relative_to(run.folder)
        if file.is_file() and name.parts[0] != PLACE:
            artifact.add_file(str(file), str(name))
    return artifact


def _is_synced(folder: Path) -> bool:
    return any(folder.glob("*.synced"))


def config_of(run: Tracked) -> dict[str, Any]:
    """Return what W&B calls the config: settings, protocol, versions."""
    environment = run.environment
    environment.pop("command", None)
    described = {"protocol_description": run.protocol, "environment": environment}
    return {**run.portable, "protocol": run.protocol_hash, **without_paths(described)}
