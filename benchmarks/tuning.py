"""What tables that tune share: settings chosen on held-out training images, with another seed."""

import json
import tempfile
from pathlib import Path
from typing import Any

import bnnlab

TUNING_SEED = 9
"""Of no run that is shown."""


def held_out_accuracy(file: Path, stream: str, **arguments: Any) -> float:
    """Return the accuracy on a tenth of the training images after the last epoch; kept in a file.

    Args:
        file: Where it is kept.
        stream: A stream of one task.
        arguments: Of `bnnlab.run`.
    """
    if not file.exists():
        held = {"name": stream, "validation": 0.1}
        with tempfile.TemporaryDirectory() as out:
            result = bnnlab.run(stream=held, seed=TUNING_SEED, out=out, **arguments)
            assert result.folder is not None
            lines = (result.folder / "metrics.jsonl").read_text().splitlines()
        found = [json.loads(line).get("validation_accuracy") for line in lines]
        last = [accuracy for accuracy in found if accuracy is not None][-1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"validation_accuracy": last}) + "\n")
    accuracy: float = json.loads(file.read_text())["validation_accuracy"]
    return accuracy
