"""What tables that tune share: settings chosen on held-out training images, with another seed."""

import json
import tempfile
from pathlib import Path
from typing import Any

import bnnlab

CIFAR10 = {"name": "image-folder", "folder": "cifar10-images", "image_size": 32}
"""All images of CIFAR-10 as JPEG files of quality 75, one folder per class; a lossy copy."""

TUNING_SEED = 9
"""Of no run that is shown."""


def held_out_accuracy(file: Path, stream: dict[str, Any], **arguments: Any) -> float:
    """Return the accuracy on a tenth of the training images after the last epoch; kept in a file.

    Args:
        file: Where it is kept.
        stream: One of a single task, by name and options.
        arguments: Of `bnnlab.run`.
    """
    if not file.exists():
        held = {**stream, "validation": 0.1}
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
