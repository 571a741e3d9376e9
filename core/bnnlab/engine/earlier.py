"""Checkpoints of 0.1.0, from before there were probes."""

from collections.abc import Collection, Mapping
from typing import Any

from bnnlab.settings.run import ANALYSIS


def translated(state: Mapping[str, Any], measured: Collection[str]) -> dict[str, Any]:
    """Translate a checkpoint's state of 0.1.0 into what this version writes.

    A state that has probes is returned as it is: this version wrote it.

    Args:
        state: The checkpoint's state.
        measured: Names of the probes that measure what 0.1.0 measured in this run.
    """
    if "probes" in state:
        return dict(state)
    alone = state["alone"] and {**state["alone"], "progress": _parted(state["alone"])[0]}
    progress, old = _parted(state)
    probes = {
        "weights": {"flips": old["flips"], "start": old["start_signs"]},
        "uncertainty": {name: old[name] for name in ("unknown", "summaries", "uncertainty")},
        "diagnosis": {"diagnosis": old["diagnosis"]},
        "fresh": {"fresh": old["fresh"], "learner": alone, "plasticity": None},
    }
    versions = {**state["versions"], ANALYSIS: state["versions"]["bnnlab"]}
    named = {name: probes[name.removeprefix(f"{ANALYSIS}/")] for name in measured}
    return {**state, "progress": progress, "probes": named, "versions": versions}


def _parted(learner: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a learner's progress, and separately what is now the state of probes."""
    names = ("flips", "start_signs", "unknown", "summaries", "uncertainty", "diagnosis", "fresh")
    progress = dict(learner["progress"])
    old = {name: progress.pop(name) for name in names}
    return {**progress, "further": int(old["unknown"] is not None), "ended": False}, old
