"""What the contracts of the test kit are told of what this plugin offers."""

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bnnlab_testing import TrackerContract


class TestTensorBoard(TrackerContract):
    name = "bnnlab-tensorboard/tensorboard"

    def read(self, folder: Path) -> list[Any]:
        return lines_of(reader(folder / "tensorboard"))


def reader(place: Path) -> EventAccumulator:
    """Read the event files in a folder."""
    everything = dict.fromkeys(("scalars", "histograms", "images", "tensors"), 0)
    return EventAccumulator(str(place), size_guidance=everything).Reload()


def lines_of(board: EventAccumulator) -> list[Any]:
    """Return the lines of a run in event files, of which none is lost or doubled."""
    texts = board.Tensors("lines")
    assert [each.step for each in texts] == [*range(len(texts))], "a line is lost or doubled"
    return [json.loads(each.tensor_proto.string_val[0]) for each in texts]
