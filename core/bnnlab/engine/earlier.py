"""Checkpoints of 0.1.0, from before there were probes."""

from collections.abc import Collection, Mapping
from typing import Any

from bnnlab.settings.run import ANALYSIS


def translated(state: Mapping[str, Any], measured: Collection[str]) -> dict[str, Any]:
    """Return a checkpoint's state as this version writes it, with the probes that `measured`.

    A state that has probes is of this version.
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
    """Return a learner's progress, and apart from it what probes keep now."""
    names = ("flips", "start_signs", "unknown", "summaries", "uncertainty", "diagnosis", "fresh")
    progress = dict(learner["progress"])
    old = {name: progress.pop(name) for name in names}
    return {**progress, "further": int(old["unknown"] is not None), "ended": False}, old
