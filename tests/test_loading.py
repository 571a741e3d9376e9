"""A run's folder gives back the model that was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

import bnnlab
from bnnlab import Result, UsageError
from bnnlab.engine.loading import reopen
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


def of_an_earlier_version(tmp_path: Path) -> tuple[Path, Result]:
    result = run(tmp_path, rule="bp")
    folder = tmp_path / "made"
    state = read(folder / CHECKPOINT)
    for key in ("versions", "metrics"):
        del state[key]
    torch.save(state, folder / CHECKPOINT)
    return folder, result


def test_a_folder_of_an_earlier_version_is_loaded_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, result = of_an_earlier_version(tmp_path)
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(bnnlab.load(folder)(x), result.model(x))
    assert caplog.text.count("is of an earlier version of bnnlab") == 1
    with pytest.raises(UsageError, match="it can be loaded, but the run cannot be continued"):
        load(folder)


def test_all_that_a_run_was_made_of_is_there_again_and_its_folder_as_it_was(
    tmp_path: Path,
) -> None:
    result = run(tmp_path, rule="dfa", probe="confusion")
    folder = tmp_path / "made"
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    made = reopen(folder)
    assert {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()} == before
    state = read(folder / CHECKPOINT)
    for name in ("model", "rule", "optimizer"):
        for one, other in zip(
            leaves(getattr(made, name).state_dict()), leaves(state[name]), strict=True
        ):
            assert torch.equal(one, other)
    assert [task.name for task in made.tasks] == result.tasks
    assert made.task_ids == result.protocol_description["task_ids_at_test"]
    for option, other in (("tasks = 2", "tasks = 5"), ("validation = 0.8", "validation = 0.7")):
        file = folder / "run.toml"
        text = file.read_text()
        file.write_text(text.replace(option, other))
        with pytest.raises(UsageError, match=r"does not go with its checkpoint: .*\(protocol"):
            reopen(folder)
        file.write_text(text)


def leaves(state: Any) -> list[torch.Tensor]:
    """Return all tensors of a state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [it for value in state.values() for it in leaves(value)]
    if isinstance(state, list | tuple):
        return [it for value in state for it in leaves(value)]
    return []


def test_a_run_of_an_earlier_version_is_made_again_too(tmp_path: Path) -> None:
    folder, result = of_an_earlier_version(tmp_path)
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(reopen(folder).model.eval()(x), result.model(x))
