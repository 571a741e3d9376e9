"""What is promised of equilibrium propagation on real MNIST, in its short form."""

import os
from pathlib import Path

import pytest

import bnnlab

DATA = os.environ.get("BNNLAB_DATA", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(DATA) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file(),
        reason="real MNIST is needed: set BNNLAB_DATA to a folder with MNIST/raw",
    ),
]


def test_one_epoch_of_the_published_network_errs_on_less_than_6_5_per_cent() -> None:
    result = bnnlab.run(
        recipe="eqprop/fc-1h",
        epochs=1,
        device="cpu",
        set={"rule.order": "even-odd", "rule.tolerance": 0.001},
    )
    (accuracy,) = result.accuracy[0]
    assert accuracy is not None
    assert accuracy > 1 - 0.065
    # A transcription of the published code had 0.108 flips a weight in the first layer, 0.295 in
    # the second.
    assert result.diagnostics[-1]["flips_per_weight.1"] == pytest.approx(0.108, rel=0.05)
    assert result.diagnostics[-1]["flips_per_weight.2"] == pytest.approx(0.295, rel=0.05)


def test_binary_weights_remember_permutations_without_backpropagation() -> None:
    result = bnnlab.run(
        recipe="eqprop/permuted-mnist",
        device="cpu",
        set={"stream.tasks": 2, "model.hidden": [256]},
    )
    assert all(accuracy is not None and accuracy > 0.85 for accuracy in result.accuracy[-1])
