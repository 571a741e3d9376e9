"""What the cells cost: time, and what is stored to go on learning."""

from collections.abc import Iterator
from typing import Any

from bnnlab.errors import BnnlabError, first_line
from bnnlab.storage.checkpoint import CHECKPOINT, read
from bnnlab_report.blocks import Cell, Note, Section, Table, count, number, plain
from bnnlab_report.material import Material
from bnnlab_studies.record import Record

NOTES = (
    "Time is that of training and evaluation; it can be compared only between runs on equal "
    "machines with equal threads.",
    "State of optimizer and rule: what the last checkpoint of the cell's first run stores of "
    "them, such as latent weights, moments and feedback matrices. It is divided by the numbers "
    "that the model's own state has.",
)
MEMORY = ("peak_memory", "memory")
"""Measures of plugins that are shown here, where they were measured."""


def section(material: Material) -> Section:
    """Return the section on cost."""
    memory = [name for name in material.study.measures if name.rpartition(".")[2] in MEMORY]
    rows: list[list[Cell]] = []
    for cell, runs in material.counted.items():
        if not runs:
            continue
        seconds = material.summary(cell, "seconds")
        rows.append(
            [
                cell,
                count(seconds.count),
                number("seconds", seconds.mean, material.score),
                number("seconds", seconds.std, material.score, missing="one seed"),
                ", ".join(sorted({each for run in runs for each in _computers(run)})) or "unknown",
                *(number(it, material.summary(cell, it).mean, material.score) for it in memory),
                *_stored(material, runs),
            ]
        )
    if not rows:
        return Section("cost", "Cost", [Note("No run is complete.")])
    heads = ("cell", "seeds", "seconds", "std", "computed on", *memory)
    stored = ("values of the model", "optimizer, bytes", "rule, bytes", "bytes per value")
    notes = [*NOTES, *["Peak memory is not recorded by these runs."] * (not memory)]
    table = Table("cost", "Cost of each cell", (*heads, *stored), rows)
    return Section("cost", "Cost", [table, *map(Note, notes)])


def _computers(run: Record) -> Iterator[str]:
    for each in run.get("computed_on") or ():
        threads = each.get("threads")
        yield f"{each.get('device')}" + (
            f", {threads} thread{'s' * (threads != 1)}" if threads else ""
        )


def _stored(material: Material, runs: list[Record]) -> list[Cell]:
    """Return numbers in the model, bytes of optimizer and rule, and bytes per number."""
    run = next((run for run in runs if run.folder and (run.folder / CHECKPOINT).exists()), None)
    if run is None or run.folder is None:
        return [plain(None, missing="no checkpoint")] * 4
    try:
        state = read(run.folder / CHECKPOINT, old=True)
    except BnnlabError as error:
        material.faults[run.name] = first_line(error)
        return [plain(None, missing="damaged")] * 4
    values = sum(tensor.numel() for tensor in _tensors(state["model"]))
    optimizer, rule = (
        sum(tensor.nbytes for tensor in _tensors(state[part])) for part in ("optimizer", "rule")
    )
    per_value = (optimizer + rule) / values if values else None
    return [count(values), count(optimizer), count(rule), plain(per_value)]


def _tensors(state: Any) -> list[Any]:
    """Return the tensors in a state; those that share their memory once."""
    if isinstance(state, dict | list | tuple):
        parts = state.values() if isinstance(state, dict) else state
        found = [tensor for part in parts for tensor in _tensors(part)]
        return [*{tensor.data_ptr(): tensor for tensor in found}.values()]
    return [state] if hasattr(state, "data_ptr") else []
