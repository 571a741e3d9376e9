"""A run that is evaluated on validation scores the validation parts, and reads no test part."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import SMALL, experiment, metrics, resume

import bnnlab
from bnnlab import Kind, PluginHost, UsageError
from bnnlab.cli import main
from bnnlab.engine.held_out import held_out
from bnnlab.errors import NOTE
from bnnlab_testing import toy
from bnnlab_testing.pytest_plugin import MakePlugin

HELD: dict[str, Any] = {"evaluate_on": "validation", "stream": {"validation": 0.2}}
PLUGIN = """
from bnnlab import Component, Kind, hookimpl


@hookimpl
def bnnlab_components():
    return [
        Component(
            kind=Kind.STREAM,
            name="secret",
            target="acme_tasks:Secret",
            summary="Tasks whose test part must not be read.",
            source="an example",
        )
    ]
"""
STREAM = '''
from dataclasses import replace

from bnnlab import TaskStream
from bnnlab_testing import toy


class Secret(TaskStream):
    """Two tasks whose test parts, and inputs of no task, raise.

    Args:
        held: Whether the second task has a validation part.
    """

    input_shape, classes = toy.INPUT_SHAPE, toy.CLASSES

    def __init__(self, *, data, device, seed, held: bool = True):
        self.held = held

    def __len__(self):
        return 2

    def __getitem__(self, index):
        task = toy.make_task(range(2)[index])
        held = task.test if self.held or index == 0 else None
        return replace(task, test=toy.Unread(), validation=held)

    def out_of_distribution(self):
        return toy.Unread()

    def protocol(self):
        return {"data": "two toys"}
'''


@pytest.fixture
def secret(make_plugin: MakePlugin) -> dict[str, Any]:
    """Return settings of a run on the stream of a third party, whose test parts raise."""
    make_plugin("acme-secret", PLUGIN, modules={"acme_tasks": STREAM})
    return {
        "rule": "bp",
        "optimizer": {"name": "bimu", "test_draws": 2},
        "model": {"name": "mlp", "hidden": [8], "norm": "batch", "statistics": "recalibrated"},
        "stream": "secret",
        "device": "cpu",
        "epochs": 1,
        "uncertainty": True,
        "diagnose": True,
        "fresh": True,
    }


def test_no_test_part_is_read(secret: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(NOTE):
        result = bnnlab.run(secret, evaluate_on="validation")
    assert (result.status, result.evaluate_on) == ("complete", "validation")
    assert len(result.fresh_accuracy) == len(result.accuracy) == 2
    assert result.uncertainty.keys() >= {"nll", "ece"}
    assert "ood_auroc" not in result.uncertainty
    assert "out-of-distribution detection: not measured" in caplog.text
    with pytest.raises(UsageError, match="test part of 'toy' must be Examples, and is"):
        bnnlab.run(secret)


def test_every_task_needs_a_validation_part(secret: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"task 2 \(toy\) of stream:secret has no validation part"):
        bnnlab.run(secret, evaluate_on="validation", set={"stream.held": False})
    for share in (0.0, 0.001):  # with so few, some task has none
        split = {"name": "split-digits", "validation": share}
        with pytest.raises(UsageError, match=r"stream:split-digits .* --set stream.validation=0.1"):
            bnnlab.run(SMALL, stream=split, evaluate_on="validation")


def test_it_trains_as_before_and_scores_what_was_held_out(tmp_path: Path) -> None:
    usual = experiment(PluginHost(), tmp_path / "test", {"stream": HELD["stream"]}).run()
    held = experiment(PluginHost(), tmp_path / "validation", HELD).run()
    for name, weight in usual.model.state_dict().items():
        assert torch.equal(weight, held.model.state_dict()[name])
    scored = [line for line in metrics(tmp_path / "test" / "run") if line["event"] == "epoch"]
    last = [line["validation_accuracy"] for line in scored if line["epoch"] == SMALL["epochs"] - 1]
    assert [held.accuracy[index][index] for index in range(2)] == last
    assert usual.accuracy != held.accuracy


def test_the_protocol_says_which_part_is_scored() -> None:
    usual = experiment(PluginHost(), None, {"stream": HELD["stream"]})
    held = experiment(PluginHost(), None, HELD)
    said = [each.origin.protocol for each in (usual, held)]
    for part, protocol in zip(("test", "validation"), said, strict=True):
        end = f"top-1 accuracy of the deployed weights on each task's whole {part} part"
        assert protocol["score"] == end
    assert {**said[0], "score": 0} == {**said[1], "score": 0}


def test_a_run_cannot_go_on_with_another_part(tmp_path: Path) -> None:
    run = tmp_path / "run"
    experiment(PluginHost(), tmp_path, {"stream": HELD["stream"]}).run()
    file = run / "run.toml"
    file.write_text(file.read_text().replace('evaluate_on = "test"', 'evaluate_on = "validation"'))
    with pytest.raises(UsageError, match=r"changed since then .*evaluate_on"):
        resume(PluginHost(), run)


@pytest.mark.slow
def test_the_terminal_says_which_part_is_scored(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--epochs", "1", "--out", "none", "--quiet"]
    held = ["--evaluate-on", "validation", "--set", "stream.validation=0.2"]
    assert main(["run", *words, *held, "--stream", "digits"]) == 0
    assert "on the validation part of the task" in capsys.readouterr().out
    assert main(["run", *words, *held, "--stream", "permuted-digits"]) == 0
    assert capsys.readouterr().out.startswith("validation accuracy in %; flips")


def test_a_validation_part_with_examples_of_the_test_part_is_refused() -> None:
    """Only rows are compared: no image of the test part is read."""
    choice = experiment(PluginHost(), None, HELD).config.choices[Kind.STREAM]
    task = toy.make_task(0)
    rows = task.test.rows
    apart = replace(task.test, rows=rows[1:]), replace(task.test, rows=rows[:1])
    held = held_out(choice, replace(task, test=apart[0], validation=apart[1]))
    assert held.test is held.validation is apart[1]
    for validation in (task.test, *apart):
        with pytest.raises(UsageError, match=r"task 1 \(.*\) of .* has examples of its test part"):
            held_out(choice, replace(task, validation=validation))
