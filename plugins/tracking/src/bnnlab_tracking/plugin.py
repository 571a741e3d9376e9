"""The observer that starts the trackers of a run and tells them of it. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnlab.registry.components import Kind
from bnnlab.registry.hookspecs import hookimpl
from bnnlab_tracking.watched import Watched

_runs: dict[str, Watched] = {}
"""The tracked runs of this process by their ids."""


@hookimpl
def bnnlab_run_started(
    config: Mapping[str, Any],
    folder: Path | None,
    resumed: bool,
    protocol: Mapping[str, Any],
    run_id: str,
) -> None:
    """Start a process for each tracker that the run names."""
    trackers = config.get(Kind.TRACKER, {})
    if folder and trackers:
        _runs[run_id] = Watched(folder, trackers, run_id, protocol, resumed=resumed)


@hookimpl
def bnnlab_metrics_logged(run_id: str) -> None:
    """Count the line."""
    if run := _runs.get(run_id):
        run.count()


@hookimpl
def bnnlab_saved(file: Path, run_id: str) -> None:
    """Say how many lines are in a checkpoint."""
    if run := _runs.get(run_id):
        run.saved(file)


@hookimpl
def bnnlab_run_ended(result: Mapping[str, Any], run_id: str) -> None:
    """Wait for the trackers, for a while."""
    if run := _runs.pop(run_id, None):
        run.end(result["status"])
