"""A run's folder gives back the model that was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

import bnnlab
from bnnlab import Result, UsageError


def run(out: Path, **arguments: Any) -> Result:
    return bnnlab.run(
        **{"optimizer": "adam", "model": "mlp", **arguments},
        stream={"name": "split-digits", "tasks": 2, "validation": 0.8},
        epochs=1,
        device="cpu",
        out=out,
        name="made",
    )


@pytest.mark.parametrize("rule", ["dfa", "eqprop"])  # the second settles to infer
def test_it_is_the_model_that_the_run_ended_with(rule: str, tmp_path: Path) -> None:
    model = {"name": "eqprop-mlp", "hidden": [16]} if rule == "eqprop" else "mlp"
    result = run(tmp_path, rule=rule, model=model)
    loaded = bnnlab.load(tmp_path / "made")
    assert not any(part.training for model in (loaded, result.model) for part in model.modules())
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(loaded(x), result.model(x))
    assert (loaded.inference is None) == (rule == "dfa")


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.toml"):
        bnnlab.load(tmp_path)
    run(tmp_path, rule="bp")
    file = tmp_path / "made" / "checkpoint" / "state.pt"
    state = torch.load(file, weights_only=True)
    torch.save({key: value for key, value in state.items() if key != "data"}, file)
    with pytest.raises(UsageError, match="a checkpoint of an earlier version"):
        bnnlab.load(tmp_path / "made")
    torch.save({**state, "model": {}}, file)
    with pytest.raises(UsageError, match=r"does not fit its run\.toml"):
        bnnlab.load(tmp_path / "made")
    file.unlink()
    with pytest.raises(UsageError, match="no checkpoint yet"):
        bnnlab.load(tmp_path / "made")
