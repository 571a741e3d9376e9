"""A run's folder gives back the model that was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

import bnnlab
from bnnlab import Result, UsageError
from bnnlab.storage.checkpoint import CHECKPOINT, load, read, save


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
    folder = tmp_path / "made"
    file = folder / CHECKPOINT
    state = read(file)
    name = next(name for name in state["model"] if name.endswith("weight"))
    other = {**state["model"], name: state["model"][name] * 1.5}
    for changed, message in (
        ({"model": {}}, r"does not fit its run\.toml: model"),
        ({"model": [1, 2]}, "model in it is a list"),
        ({"model": other}, f"{name} is binary and cannot be loaded"),
        ({"identity": {"seed": 1, "model": 2}}, r"does not go with its .* \(seed, model\)"),
    ):
        save(folder, {**state, **changed})
        with pytest.raises(UsageError, match=message):
            bnnlab.load(folder)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"state\.pt is damaged"):
        bnnlab.load(folder)
    file.unlink()
    with pytest.raises(
        UsageError, match=r"state\.pt is missing\. To go on with the run: bnn run --resume "
    ):
        bnnlab.load(folder)


def test_a_folder_of_an_earlier_version_is_loaded_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = run(tmp_path, rule="bp")
    folder = tmp_path / "made"
    state = read(folder / CHECKPOINT)
    for key in ("versions", "metrics"):
        del state[key]
    torch.save(state, folder / CHECKPOINT)
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(bnnlab.load(folder)(x), result.model(x))
    assert caplog.text.count("is of an earlier version of bnnlab") == 1
    with pytest.raises(UsageError, match="it can be loaded, but the run cannot be continued"):
        load(folder)
