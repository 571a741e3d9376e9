"""What is promised on real MNIST, in a short form."""

import json
import os
from pathlib import Path

import pytest

from bnnlab.cli import main

DATA = os.environ.get("BNNLAB_DATA", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(DATA) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file(),
        reason="real MNIST is needed: set BNNLAB_DATA to a folder with MNIST/raw",
    ),
]


def test_direct_feedback_alignment_with_metaplasticity_learns_permuted_mnist(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = (
        "run --rule dfa --optimizer meta --stream permuted-mnist --set stream.tasks=2 "
        f"--set model.hidden=[128] --epochs 1 --quiet --json --out {tmp_path}"
    )
    assert main(command.split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == "complete"
    assert result["accuracy"][-1][-1] > 0.8
    assert result["accuracy"][0][0] > 0.8
