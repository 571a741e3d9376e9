"""A run that fails says where and why, writes what it has, and goes on from its last good epoch."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import SMALL, experiment, found, metrics, read_json, resume

from bnnlab import Batch, Kind, Model, PluginHost, RunError, UsageError
from bnnlab.engine.experiment import Experiment
from bnnlab.settings.layers import resolve


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


def spoil(run: Experiment, at: tuple[int, int, int]) -> Callable[[int, int, int, int], None]:
    def stepped(*now: int) -> None:
        if now[:3] == at:
            with torch.no_grad():
                run.made.model.get_parameter("segments.1.0.bias").fill_(math.nan)

    return stepped


def test_a_loss_that_is_no_number_stops_the_run_which_goes_on_from_its_last_good_epoch(
    host: PluginHost, tmp_path: Path
) -> None:
    biased = {"model": {"bias": True}}
    whole = experiment(host, None, biased).run()
    run = experiment(host, tmp_path, biased)
    with pytest.raises(RunError) as caught:
        run.run(spoil(run, (1, 0, 4)))
    message = str(caught.value)
    accuracy = run.learner.progress.accuracy[0][0]
    assert accuracy is not None
    assert "task 2 (permutation 2), epoch 1, step 5: MetaplasticAdam: the loss is not" in message
    assert f"the one after task 1, with {100 * accuracy:.1f} % on it" in message
    assert message.count("\n") <= 1
    folder = tmp_path / "run"
    result = read_json(folder / "result.json")
    assert result["status"] == "failed"
    assert len(result["accuracy"]) == 1
    for line in metrics(folder):
        assert all(value == value for value in line.values())  # not NaN
    assert "the loss is not finite" in (folder / "log.txt").read_text(encoding="utf-8")
    assert found(resume(host, folder).run()) == found(whole)


def test_a_run_that_fails_in_its_first_task_says_that_nothing_was_evaluated(
    host: PluginHost, tmp_path: Path
) -> None:
    huge = {
        "rule": "bp",
        "optimizer": {"name": "sgd", "lr": 1e38},
        "model": {"weights": "real", "activation": "relu", "norm": "none"},
    }
    with pytest.raises(RunError, match=r"task 1 .*epoch 1, step \d.*No task was evaluated before"):
        experiment(host, tmp_path, huge).run()
    result = read_json(tmp_path / "run" / "result.json")
    assert result["status"] == "failed"
    assert result["accuracy"] == []
    assert result["average_accuracy"] is None


def test_an_infinite_loss_may_come_from_a_target_of_another_task(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"rule": "bp", "optimizer": "adam", "epochs": 1}
    masked = {"name": "split-digits", "tasks": 5, "incremental": "task"}
    run = experiment(host, None, {**settings, "stream": masked})
    differentiate = run.made.rule.differentiate

    def relabelled(model: Model, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        others = batch.mask.long().argmin().expand_as(batch.targets)  # type: ignore[union-attr]
        return differentiate(model, batch._replace(targets=others))

    monkeypatch.setattr(run.made.rule, "differentiate", relabelled)
    with pytest.raises(RunError, match=r"loss is not finite\. .* none of the task's classes"):
        run.run()


def test_an_error_in_a_component_becomes_a_failed_run(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, tmp_path)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("in the rule")

    monkeypatch.setattr(run.made.rule, "differentiate", fail)
    place = r"the run failed at tests/test_failing\.py:\d+: ZeroDivisionError: in the rule"
    with pytest.raises(RunError, match=place) as caught:
        run.run()
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert read_json(tmp_path / "run" / "result.json")["status"] == "failed"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda closure: closure() and None, "returned NoneType, not the closure's loss"),
        (lambda _: torch.zeros(()), "did not call the closure"),
    ],
)
def test_a_step_that_does_not_do_its_duty_is_named(
    step: Any, message: str, host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, None)
    monkeypatch.setattr(run.made.optimizer, "step", step)
    with pytest.raises(RunError, match=rf"{type(run.made.optimizer).__name__}\.step\(\) {message}"):
        run.run()


def test_a_model_that_diverged_in_its_last_step_is_no_result(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, None, {"model": {"weights": "real"}, "optimizer": "sgd"})
    *_, last = run.made.model.parameters()  # behind all signs, of which none is NaN
    whole = 2 * run.made.tasks[0].train.count_batches(200)
    step, steps = run.made.optimizer.step, []

    def spoiled(closure: Any) -> torch.Tensor:
        steps.append(step(closure))
        if len(steps) == whole:
            last.data.fill_(3e38)  # finite, but no sum of them is
        return steps[-1]

    monkeypatch.setattr(run.made.optimizer, "step", spoiled)
    with pytest.raises(RunError, match=r"after task 1 .* numbers that are not finite"):
        run.run()


@pytest.mark.parametrize("answer", [3, {"x": "many"}, {"x": 10**400}, None])
def test_a_rules_diagnostics_that_are_no_numbers_name_the_rule(
    answer: Any, host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, None)
    monkeypatch.setattr(run.made.rule, "diagnostics", lambda: answer)
    name = type(run.made.rule).__name__
    with pytest.raises(RunError, match=rf"{name}\.diagnostics\(\) must return numbers by name"):
        run.run()


def test_components_that_do_not_fit_leave_no_folder(host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not fit together"):
        experiment(host, tmp_path, {"model": {"norm": "batch", "statistics": "per-task"}})
    assert not list(tmp_path.iterdir())


def test_a_rule_that_cannot_cast_is_refused_before_anything_is_written(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = resolve(host, [SMALL]).choices[Kind.RULE]

    def refuse(self: Any, device: torch.device) -> None:
        raise UsageError(f"not in {self.precision} on {device.type}")

    monkeypatch.setattr(host.load(rule.plugin, rule.component), "autocast", refuse)
    with pytest.raises(UsageError, match=r"not in torch\.bfloat16 on cpu"):
        experiment(host, tmp_path, {"precision": "bfloat16", "device": "cpu"}).run()
    assert not list(tmp_path.iterdir())
