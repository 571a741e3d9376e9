"""Whole runs on the embedded digits: repeatable, resumable, and honest when they fail."""

import json
import math
import re
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnlab import BatchNorm, Kind, PluginHost, Result, RunError, UsageError, hookimpl
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.preparing import prepare
from bnnlab.interfaces.stream import protocol_hash
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder

SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 200,
    "stream": {"name": "permuted-digits", "tasks": 2},
    "model": {"name": "mlp", "hidden": [16]},
}
PAIRS: dict[str, dict[str, Any]] = {
    "dfa and meta": {"rule": "dfa", "optimizer": "meta"},
    "dfa and sgd with per-task statistics": {
        "rule": {"name": "dfa", "recompute": True},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "model": {"norm": "batch", "statistics": "per-task"},
        "stream": {"task_ids": True},
    },
    "bp and meta with recalibrated statistics": {
        "rule": "bp",
        "optimizer": "meta",
        "model": {"norm": "batch", "statistics": "recalibrated"},
    },
    "bp and bimu": {"rule": "bp", "optimizer": {"name": "bimu", "test_draws": 2}},
    "bp and ewc on adam": {"rule": "bp", "optimizer": {"name": "ewc", "base": "adam"}},
}


@pytest.fixture
def host() -> PluginHost:
    return PluginHost()


def experiment(host: PluginHost, out: Path | None, *layers: dict[str, Any]) -> Experiment:
    where = {"out": None if out is None else str(out), "name": "run" if out else None}
    return prepare(host, resolve(host, [SMALL, *layers, where]))


def resume(host: PluginHost, folder: Path) -> Experiment:
    return prepare(host, resolve(host, [read_config(folder / "run.toml")]), RunFolder(folder))


def without_seconds(folder: Path) -> bytes:
    text = (folder / "metrics.jsonl").read_bytes()
    return re.sub(rb', "(seconds|time)": [\d.]+', b"", text)


def read_json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {path.name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def found(result: Result) -> dict[str, Any]:
    return {
        key: value for key, value in result.as_dict().items() if key not in ("seconds", "run_id")
    }


def interrupt_in(task: int, epoch: int, step: int = 3) -> Callable[[int, int, int, int], None]:
    def stepped(*now: int) -> None:
        if now[:3] == (task, epoch, step):
            raise KeyboardInterrupt

    return stepped


@pytest.mark.parametrize("name", PAIRS)
def test_an_interrupted_run_goes_on_bit_for_bit(
    name: str, host: PluginHost, tmp_path: Path
) -> None:
    """Stopped at once in the midst of an epoch, and continued from its beginning; twice."""
    whole = experiment(host, tmp_path / "whole", PAIRS[name]).run()
    torn = experiment(host, tmp_path / "torn", PAIRS[name])
    folder = tmp_path / "torn" / "run"
    for task, epoch in ((0, 1), (1, 0)):
        with pytest.raises(KeyboardInterrupt):
            torn.run(interrupt_in(task, epoch))
        assert read_json(folder / "result.json")["status"] == "interrupted"
        torn = resume(host, folder)
        assert (torn.learner.progress.task, torn.learner.progress.epoch) == (task, epoch)
    result = torn.run()
    assert found(result) == found(whole)
    assert without_seconds(folder) == without_seconds(tmp_path / "whole" / "run")
    wanted = whole.model.state_dict()
    for key, value in result.model.state_dict().items():
        assert torch.equal(value, wanted[key]), key


@pytest.mark.parametrize("lost", [None, "result.json"])
def test_a_complete_run_is_finished_again(
    lost: str | None, host: PluginHost, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it was stopped between its last checkpoint and its result."""
    experiment(host, tmp_path, {"epochs": 1, "fresh": True}).run()
    folder = tmp_path / "run"
    before = {path: path.read_bytes() for path in folder.glob("*.json*")}
    if lost:
        (folder / lost).unlink()
    resume(host, folder).run()
    assert {path: path.read_bytes() for path in folder.glob("*.json*")} == before
    assert "run is complete: only its result is written again" in caplog.text


@pytest.mark.parametrize("name", ["dfa and meta", "bp and bimu"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    name: str, host: PluginHost, tmp_path: Path
) -> None:
    texts = []
    for number, seed in enumerate((3, 3, 4)):
        experiment(host, tmp_path / str(number), PAIRS[name], {"epochs": 1, "seed": seed}).run()
        texts.append(without_seconds(tmp_path / str(number) / "run"))
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_run_neither_draws_from_nor_sets_the_global_generators(host: PluginHost) -> None:
    before = torch.get_rng_state()
    experiment(host, None, {"epochs": 1}).run()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_folder_holds_what_the_result_holds(host: PluginHost, tmp_path: Path) -> None:
    result = experiment(host, tmp_path, {"seed": 5}).run()
    folder = tmp_path / "run"
    assert result.folder == folder
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        ".lock",
        "checkpoint/previous.pt",
        "checkpoint/state.pt",
        "environment.json",
        "log.txt",
        "metrics.jsonl",
        "result.json",
        "run.toml",
    }
    written = read_json(folder / "result.json")
    assert written == result.as_dict()
    assert written["status"] == "complete"
    assert written["seed"] == 5
    assert written["tasks"] == ["permutation 1", "permutation 2"]
    assert written["protocol"] == protocol_hash(written["protocol_description"])
    assert set(written["components"]) == {"model", "rule", "optimizer", "stream"}
    for component in written["components"].values():
        assert set(component) == {"name", "distribution", "version"}
    read_json(folder / "environment.json")


def test_metrics_hold_a_line_for_every_epoch_and_evaluation(
    host: PluginHost, tmp_path: Path
) -> None:
    result = experiment(host, tmp_path).run()
    lines = metrics(tmp_path / "run")
    events = [(line["event"], line.get("task"), line.get("epoch")) for line in lines]
    assert events == [
        ("untrained", None, None),
        ("epoch", 0, 0),
        ("epoch", 0, 1),
        ("weights", 0, None),
        ("evaluation", 0, None),
        ("epoch", 1, 0),
        ("epoch", 1, 1),
        ("weights", 1, None),
        ("evaluation", 1, None),
    ]
    rows = [line["accuracy"] for line in lines if line["event"] == "evaluation"]
    assert rows == result.accuracy
    assert lines[0]["accuracy"] == result.untrained_accuracy
    steps = math.ceil(1437 / 200)
    assert [line["step"] for line in lines[1:]] == [steps * n for n in (1, 2, 2, 2, 3, 4, 4, 4)]
    losses = [line["loss"] for line in lines if line["event"] == "epoch"]
    assert losses[1] < losses[0]


def test_the_matrix_agrees_with_the_trained_model(host: PluginHost) -> None:
    norm = {"norm": "batch", "affine": True, "bias": True, "scale": "learned"}
    run = experiment(host, None, {"rule": "bp", "optimizer": "adam", "model": norm})
    result = run.run()
    model = result.model.eval()
    for task, accuracy in zip(run.made.tasks, result.accuracy[-1], strict=True):
        inputs, targets = task.test.batch(torch.arange(len(task.test)))
        assert accuracy == (model(inputs).argmax(-1) == targets).double().mean().item()
    for parameter in model.binary_parameters().values():
        assert parameter.abs().eq(1).all()


def test_flips_are_the_share_of_binary_weights_that_a_task_changed(host: PluginHost) -> None:
    run = experiment(host, None)
    history = [[p.detach().clone() for p in run.made.model.binary_parameters().values()]]

    def stepped(task: int, epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == (1, steps):
            now = run.made.model.binary_parameters().values()
            history.append([p.detach().clone() for p in now])

    result = run.run(stepped)
    for task, (a, b) in enumerate(pairwise(history)):
        changed = sum(int((x != y).sum()) for x, y in zip(a, b, strict=True))
        assert result.flips[task] == changed / sum(x.numel() for x in a)
        assert changed


def test_a_model_of_real_weights_has_no_flips(host: PluginHost) -> None:
    real = {"rule": "bp", "optimizer": "adam", "model": {"weights": "real"}, "epochs": 1}
    assert experiment(host, None, real).run().flips == [None, None]


def test_per_task_statistics_are_kept_for_every_task_and_say_so(host: PluginHost) -> None:
    run = experiment(host, None, PAIRS["dfa and sgd with per-task statistics"])
    result = run.run()
    assert result.untrained_accuracy == [None, None]
    assert result.accuracy[0][1] is None
    assert result.forward_transfer is None
    assert result.protocol_description["task_ids_at_test"] is True
    norms = [module for module in run.made.model.modules() if isinstance(module, BatchNorm)]
    assert norms
    for norm in norms:
        assert norm.mean.shape[0] == 2
        assert not torch.equal(norm.mean[0], norm.mean[1])


def test_held_out_accuracy_is_logged_after_every_epoch(host: PluginHost, tmp_path: Path) -> None:
    held = {"stream": {"validation": 0.2}, "rule": "bp", "optimizer": "adam"}
    run = experiment(host, tmp_path, held)
    run.run()
    epochs = [line for line in metrics(tmp_path / "run") if line["event"] == "epoch"]
    assert len(epochs) == 4
    last = run.made.tasks[1]
    assert last.validation is not None
    assert len(last.validation) == round(0.2 * 1437)
    inputs, targets = last.validation.batch(torch.arange(len(last.validation)))
    predicted = run.made.model.eval()(inputs).argmax(-1)
    expected = (predicted == targets).double().mean().item()
    assert epochs[-1]["validation_accuracy"] == expected


def test_without_held_out_data_no_such_accuracy_is_logged(host: PluginHost, tmp_path: Path) -> None:
    experiment(host, tmp_path, {"epochs": 1}).run()
    assert not any("validation_accuracy" in line for line in metrics(tmp_path / "run"))


def spoil(run: Experiment, at: tuple[int, int, int]) -> Callable[[int, int, int, int], None]:
    def stepped(*now: int) -> None:
        if now[:3] == at:
            with torch.no_grad():
                run.made.model.get_parameter("segments.1.0.bias").fill_(math.nan)

    return stepped


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(
    host: PluginHost, tmp_path: Path
) -> None:
    run = experiment(host, tmp_path, {"model": {"bias": True}})
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


def test_a_failed_run_goes_on_from_its_last_good_epoch(host: PluginHost, tmp_path: Path) -> None:
    whole = experiment(host, tmp_path / "whole").run()
    run = experiment(host, tmp_path / "failed")
    with pytest.raises(RunError):
        run.run(spoil(run, (1, 0, 4)))
    assert found(resume(host, tmp_path / "failed" / "run").run()) == found(whole)


def test_an_error_in_a_component_becomes_a_failed_run(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, tmp_path)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("in the rule")

    monkeypatch.setattr(run.made.rule, "differentiate", fail)
    place = r"the run failed at tests/test_training\.py:\d+: ZeroDivisionError: in the rule"
    with pytest.raises(RunError, match=place) as caught:
        run.run()
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert read_json(tmp_path / "run" / "result.json")["status"] == "failed"


def test_observers_hear_of_a_run_and_a_failing_one_is_switched_off(
    host: PluginHost, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    class Good:
        @hookimpl
        def bnnlab_run_started(self, config: Any) -> None:
            heard.append(f"started {config['epochs']}")

        @hookimpl
        def bnnlab_metrics_logged(self, metrics: Any) -> None:
            heard.append(metrics["event"])

        @hookimpl
        def bnnlab_task_ended(self, task: int) -> None:
            heard.append(f"task {task}")

        @hookimpl
        def bnnlab_run_ended(self, result: Any) -> None:
            heard.append(result["status"])

    class Bad:
        @hookimpl
        def bnnlab_metrics_logged(self, metrics: Any) -> None:
            raise OSError("no connection")

    host.observe(Good())
    host.observe(Bad())
    experiment(host, None, {"epochs": 1}).run()
    rest = [each for task in (0, 1) for each in ("epoch", "weights", "evaluation", f"task {task}")]
    assert heard == ["started 1", "untrained", *rest, "complete"]
    assert [record.message for record in caplog.records if "no connection" in record.message] == [
        message for message in caplog.messages if "switched off for this run" in message
    ]
    assert sum("switched off" in message for message in caplog.messages) == 1


def test_repetitions_that_differ_in_the_seed_share_a_protocol_and_others_do_not(
    host: PluginHost,
) -> None:
    def protocol(*layers: dict[str, Any]) -> str:
        return protocol_hash(experiment(host, None, *layers).origin.protocol)

    same = protocol()
    assert protocol({"seed": 9}) == same
    assert protocol(PAIRS["dfa and meta"], {"model": {"hidden": [8]}}) == same
    others = [
        {"stream": {"tasks": 3}},
        {"stream": {"validation": 0.1}},
        {"stream": {"task_ids": True}},
        {"epochs": 3},
        {"batch_size": 50},
        {"stream": "split-digits"},
        PAIRS["bp and meta with recalibrated statistics"],
    ]
    assert same not in [protocol(other) for other in others]
    assert len({protocol(other) for other in others}) == len(others)


def test_components_that_do_not_fit_leave_no_folder(host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not fit together"):
        experiment(host, tmp_path, {"model": {"norm": "batch", "statistics": "per-task"}})
    assert not list(tmp_path.iterdir())


POSTERIOR = {"rule": "bp", "optimizer": {"name": "bimu", "test_draws": 3}}


def test_with_a_posterior_uncertainty_is_measured_after_every_task(
    host: PluginHost, tmp_path: Path
) -> None:
    result = experiment(host, tmp_path, POSTERIOR).run()
    rows = [line for line in metrics(tmp_path / "run") if line["event"] == "evaluation"]
    assert [len(row["uncertainty"]["ood_auroc_tasks"]) for row in rows] == [1, 2]
    assert rows[-1]["uncertainty"] == result.uncertainty
    assert result.uncertainty["epistemic"] > 0
    assert 0 < result.uncertainty["ood_auroc"] <= 1
    assert "the mean of 3 weight draws" in result.protocol_description["score"]
    assert [each.keys() for each in result.diagnostics] == [{"saturated"}] * 2


def test_without_a_posterior_it_is_measured_where_asked_for(host: PluginHost) -> None:
    silent = experiment(host, None).run()
    asked = experiment(host, None, {"uncertainty": True}).run()
    assert silent.uncertainty == {}
    assert asked.uncertainty["epistemic"] == 0
    assert asked.uncertainty["nll"] > 0
    assert asked.accuracy == silent.accuracy
    assert asked.protocol == silent.protocol
    assert "the deployed weights" in asked.protocol_description["score"]


def test_a_told_task_has_no_unknown_inputs(host: PluginHost) -> None:
    layer = {"uncertainty": True, "stream": {"task_ids": True}}
    assert "ood_auroc" not in experiment(host, None, layer).run().uncertainty


def test_evaluating_more_changes_nothing_in_training(host: PluginHost) -> None:
    few = experiment(host, None, POSTERIOR, {"optimizer": {"test_draws": 1}}).run()
    many = experiment(host, None, POSTERIOR, {"optimizer": {"test_draws": 7}}).run()
    for one, other in zip(few.model.parameters(), many.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_fresh_models_learn_each_task_alone(host: PluginHost, tmp_path: Path) -> None:
    plain = experiment(host, None).run()
    taught: list[int] = []
    result = experiment(host, tmp_path, {"fresh": True}).run(lambda task, *_: taught.append(task))
    assert [task for task, _ in groupby(taught)] == [0, 1, 0, 1]
    assert result.accuracy == plain.accuracy
    assert plain.fresh_accuracy == []
    assert plain.plasticity is None
    assert len(result.fresh_accuracy) == 2
    assert result.fresh_accuracy[0] == result.accuracy[0][0]  # the first task is learned by one
    first, second = result.accuracy[1][1], result.fresh_accuracy[1]
    assert first is not None
    assert second is not None
    assert result.plasticity == pytest.approx((first - second) / 2)


def test_an_interrupted_comparison_with_fresh_models_goes_on(
    host: PluginHost, tmp_path: Path
) -> None:
    whole = experiment(host, tmp_path / "whole", {"fresh": True}).run()
    torn = experiment(host, tmp_path / "torn", {"fresh": True})
    steps = len(metrics(tmp_path / "whole" / "run"))
    assert steps == 9  # what the fresh models do is not logged
    seen: list[int] = []

    def stepped(*_: int) -> None:
        seen.append(1)
        if len(seen) == 5 * math.ceil(1437 / 200):  # in the second epoch of the first fresh one
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torn.run(stepped)
    again = resume(host, tmp_path / "torn" / "run")
    assert again.learner.progress.task == 2
    assert found(again.run()) == found(whole)


def test_what_an_optimizer_says_of_itself_is_asked_for_once_an_epoch(
    host: PluginHost, tmp_path: Path
) -> None:
    result = experiment(host, tmp_path, {"optimizer": {"name": "bop", "threshold": 1e-6}}).run()
    lines = [line for line in metrics(tmp_path / "run") if line["event"] == "epoch"]
    flips = [line["flips_per_weight"] for line in lines]
    assert all(share > 0 for share in flips)
    assert [each["flips_per_weight"] for each in result.diagnostics] == [flips[1], flips[3]]


def test_nothing_that_an_optimizer_says_of_itself_spoils_the_metrics(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, tmp_path)
    said = {"size": torch.tensor(2), "ratio": math.nan, "task": 99, "event": 1, "loss": -1.0}
    monkeypatch.setattr(run.made.optimizer, "diagnostics", lambda: said)
    result = run.run()
    line = next(line for line in metrics(tmp_path / "run") if line["event"] == "epoch")
    assert (line["size"], line["ratio"], line["task"]) == (2.0, None, 0)
    assert line["loss"] > 0
    assert read_json(tmp_path / "run" / "result.json")["diagnostics"] == result.diagnostics


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


def test_a_rules_diagnostics_are_logged_after_every_epoch_beside_the_optimizers(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, tmp_path)
    asked: list[int] = []

    def of_rule() -> dict[str, float]:
        asked.append(run.learner.progress.steps)
        return {"at": float(len(asked)), "lost": math.inf, "both": 1.0, "loss": -1.0}

    monkeypatch.setattr(run.made.rule, "diagnostics", of_rule)
    monkeypatch.setattr(run.made.optimizer, "diagnostics", lambda: {"both": 2.0})
    result = run.run()
    epochs = [line for line in metrics(tmp_path / "run") if line["event"] == "epoch"]
    assert [line["at"] for line in epochs] == [1, 2, 3, 4]
    assert asked == [line["step"] for line in epochs]
    assert all(line["lost"] is None and line["both"] == 2 for line in epochs)
    assert all(line["loss"] > 0 for line in epochs), "a name of the core's is the core's"
    assert [each["at"] for each in result.diagnostics] == [2, 4]


@pytest.mark.parametrize("answer", [3, {"x": "many"}, {"x": 10**400}, None])
def test_a_rules_diagnostics_that_are_no_numbers_name_the_rule(
    answer: Any, host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment(host, None)
    monkeypatch.setattr(run.made.rule, "diagnostics", lambda: answer)
    name = type(run.made.rule).__name__
    with pytest.raises(RunError, match=rf"{name}\.diagnostics\(\) must return numbers by name"):
        run.run()


def test_what_is_scored_is_the_models_inference(host: PluginHost) -> None:
    """One that always answers 3 is right for every 3, before training and after it."""
    run = experiment(host, None, {"epochs": 1})
    run.made.model.inference = lambda model, x: torch.eye(10)[torch.full((len(x),), 3)]
    result = run.run()
    for index, task in enumerate(run.made.tasks):
        share = (task.test.labels[task.test.rows] == 3).double().mean().item()
        assert result.untrained_accuracy[index] == pytest.approx(share)
        assert result.accuracy[-1][index] == pytest.approx(share)


def test_a_rule_that_sets_the_models_inference_sets_that_of_the_results_model(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = resolve(host, [SMALL]).choices[Kind.RULE]
    kind = host.load(rule.plugin, rule.component)
    attach = kind.attach

    def reverse(self: Any, model: Any, generator: torch.Generator) -> None:
        attach(self, model, generator)
        model.inference = lambda model, x: -model.segments[1](model.segments[0](x))

    monkeypatch.setattr(kind, "attach", reverse)
    model = experiment(host, None, {"epochs": 1}).run().model
    x = torch.ones(3, 1, 8, 8)
    assert torch.equal(model(x), -model.segments[1](model.segments[0](x)))


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
