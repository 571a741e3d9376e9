"""One program for all weight draws and tasks: its steps are the same, its tensors may differ."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnlab.errors import UsageError
from bnnlab_export.packing import Array
from bnnlab_export.program import Program


def merged(programs: Sequence[Program]) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """Return the steps, and the tensors by their names.

    A tensor that all programs share is there once; of another one, program v has `NAME@v`.

    Raises:
        UsageError: If the programs have different steps.
    """
    first, *others = programs
    for other in others:
        if json.dumps(other.steps) != json.dumps(first.steps):
            raise UsageError(
                "the model does other operations for other tasks or weight draws, and a program "
                "has one list of operations: export it for one task."
            )
    tensors: dict[str, Array] = {}
    for name in first.tensors:
        its = [program.tensors[name] for program in programs]
        if all(np.array_equal(each, its[0]) for each in its):
            tensors[name] = its[0]
        else:
            tensors |= {f"{name}@{number}": each for number, each in enumerate(its)}
    return first.steps, tensors
