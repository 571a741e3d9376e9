"""Whole runs on the embedded digits: repeatable, resumable, and what they write."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from remembering import Counts, Replay
from small_runs import SMALL, experiment, found, metrics, read_json, resume, without_times

import bnnlab
from bnnlab import BatchNorm, Kind, LearningRule, PluginHost, Result, Task, TaskContext, hookimpl
from bnnlab.engine.learner import Learner
from bnnlab.interfaces.stream import protocol_hash
from bnnlab.settings.layers import resolve
from bnnlab_testing import toy
from bnnlab_testing.lives import assert_goes_on

TOLD: dict[str, Any] = {
    "rule": {"name": "dfa", "recompute": True},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "model": {"norm": "batch", "statistics": "per-task"},
    "stream": {"task_ids": True},
}
RECALIBRATED: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "meta",
    "model": {"norm": "batch", "statistics": "recalibrated"},
}
ON_ADAM: dict[str, Any] = {"rule": "bp", "optimizer": {"name": "ewc", "base": "adam"}}
ONE: dict[str, Any] = {"epochs": 1, "stream": {"tasks": 1}}


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.fixture(scope="module")
def plain(host: PluginHost, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The result of a run in a folder, with seed 5 and all else as usual; not to be changed."""
    return experiment(host, tmp_path_factory.mktemp("plain"), {"seed": 5}).run()


def interrupt_in(task: int, epoch: int, step: int = 3) -> Callable[[int, int, int, int], None]:
    def stepped(*now: int) -> None:
        if now[:3] == (task, epoch, step):
            raise KeyboardInterrupt

    return stepped


@pytest.mark.parametrize("learner", [TOLD, RECALIBRATED, ON_ADAM])
def test_an_interrupted_run_goes_on_bit_for_bit(
    learner: dict[str, Any], host: PluginHost, tmp_path: Path
) -> None:
    """Stopped at once in the midst of an epoch, and continued from its beginning; twice."""
    whole = experiment(host, tmp_path / "whole", learner).run()
    torn = experiment(host, tmp_path / "torn", learner)
    folder = tmp_path / "torn" / "run"
    for task, epoch in ((0, 1), (1, 0)):
        with pytest.raises(KeyboardInterrupt):
            torn.run(interrupt_in(task, epoch))
        assert read_json(folder / "result.json")["status"] == "interrupted"
        torn = resume(host, folder)
        assert (torn.learner.progress.task, torn.learner.progress.epoch) == (task, epoch)
    result = torn.run()
    assert found(result) == found(whole)
    assert without_times(folder) == without_times(tmp_path / "whole" / "run")
    wanted = whole.model.state_dict()
    for key, value in result.model.state_dict().items():
        assert torch.equal(value, wanted[key]), key


def test_a_complete_run_is_finished_again(
    host: PluginHost, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it was stopped between its last checkpoint and its result."""
    experiment(host, tmp_path, ONE, {"fresh": True}).run()
    folder = tmp_path / "run"
    before = {path: path.read_bytes() for path in folder.glob("*.json*")}
    for lost in (False, True):
        if lost:
            (folder / "result.json").unlink()
        caplog.clear()
        resume(host, folder).run()
        assert {path: path.read_bytes() for path in folder.glob("*.json*")} == before
        assert "run is complete: only its result is written again" in caplog.text


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    host: PluginHost, tmp_path: Path
) -> None:
    texts = []
    for number, seed in enumerate((3, 3, 4)):
        drawn = {"rule": "bp", "optimizer": {"name": "bimu", "test_draws": 2}, "seed": seed}
        experiment(host, tmp_path / str(number), ONE, drawn).run()
        texts.append(without_times(tmp_path / str(number) / "run"))
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_run_neither_draws_from_nor_sets_the_global_generators(host: PluginHost) -> None:
    before = torch.get_rng_state()
    experiment(host, None, ONE).run()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_folder_holds_what_the_result_holds(plain: Result) -> None:
    folder = plain.folder
    assert folder is not None
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
    assert written == plain.as_dict()
    assert written["status"] == "complete"
    assert written["seed"] == 5
    assert written["tasks"] == ["permutation 1", "permutation 2"]
    assert written["protocol"] == protocol_hash(written["protocol_description"])
    assert set(written["components"]) == {"model", "rule", "optimizer", "stream"}
    for component in written["components"].values():
        assert set(component) == {"name", "distribution", "version"}
    read_json(folder / "environment.json")


def test_metrics_hold_a_line_for_every_epoch_and_evaluation(plain: Result) -> None:
    assert plain.folder is not None
    lines = metrics(plain.folder)
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
    assert rows == plain.accuracy
    assert lines[0]["accuracy"] == plain.untrained_accuracy
    steps = math.ceil(1437 / 200)
    assert [line["step"] for line in lines[1:]] == [steps * n for n in (1, 2, 2, 2, 3, 4, 4, 4)]
    losses = [line["loss"] for line in lines if line["event"] == "epoch"]
    assert losses[1] < losses[0]
    assert not any("validation_accuracy" in line for line in lines), "nothing was held out"


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
    real = {"rule": "bp", "optimizer": "adam", "model": {"weights": "real"}}
    assert experiment(host, None, ONE, real).run().flips == [None]


def test_per_task_statistics_are_kept_for_every_task_and_say_so(host: PluginHost) -> None:
    run = experiment(host, None, TOLD)
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


def test_observers_hear_of_a_run_and_a_failing_one_is_switched_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host, heard = PluginHost(), list[str]()

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
    assert protocol({"rule": "dfa", "optimizer": "meta", "model": {"hidden": [8]}}) == same
    others = [
        {"stream": {"tasks": 3}},
        {"stream": {"validation": 0.1}},
        {"stream": {"task_ids": True}},
        {"epochs": 3},
        {"batch_size": 50},
        {"stream": "split-digits"},
        RECALIBRATED,
    ]
    assert same not in [protocol(other) for other in others]
    assert len({protocol(other) for other in others}) == len(others)


def test_the_rule_hears_of_a_task_before_the_optimizer_and_of_its_end_after_it(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, heard = experiment(host, None, {"epochs": 1}), list[tuple[str, str, int]]()
    for name in ("rule", "optimizer"):
        for told in ("task_started", "task_ended"):

            def hear(context: TaskContext, who: str = name, what: str = told) -> None:
                assert (context.rule, context.batch_size) == (run.made.rule, 200)
                heard.append((who, what, context.task.index))

            monkeypatch.setattr(getattr(run.made, name), told, hear)
    run.run()
    assert heard == [
        (who, what, task)
        for task in range(2)
        for who, what in (
            ("rule", "task_started"),
            ("optimizer", "task_started"),
            ("optimizer", "task_ended"),
            ("rule", "task_ended"),
        )
    ]


@pytest.mark.parametrize("rule", [Counts, partial(Replay, policy="balanced")])
def test_what_a_rule_hears_and_remembers_is_the_same_wherever_a_run_is_interrupted(
    rule: Callable[[], LearningRule],
) -> None:
    """After each step, before and after the end of a task, and in its evaluation."""

    def make(seed: int) -> tuple[Learner, list[Task]]:
        model, learner = toy.make_model(), rule()
        learner.attach(model, torch.Generator().manual_seed(seed))
        tasks = [toy.make_task(index) for index in range(3)]
        return Learner(model, learner, toy.make_optimizer(model)), tasks

    epoch = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 0)]
    assert_goes_on(make, [(task, *where) for task in range(3) for where in epoch])


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
    run = experiment(host, tmp_path, ONE)
    said = {"size": torch.tensor(2), "ratio": math.nan, "task": 99, "event": 1, "loss": -1.0}
    monkeypatch.setattr(run.made.optimizer, "diagnostics", lambda: said)
    result = run.run()
    line = next(line for line in metrics(tmp_path / "run") if line["event"] == "epoch")
    assert (line["size"], line["ratio"], line["task"]) == (2.0, None, 0)
    assert line["loss"] > 0
    assert read_json(tmp_path / "run" / "result.json")["diagnostics"] == result.diagnostics


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
    model = experiment(host, None, ONE).run().model
    x = torch.ones(3, 1, 8, 8)
    assert torch.equal(model(x), -model.segments[1](model.segments[0](x)))


def test_a_part_in_order_is_learned_in_its_order_in_every_epoch() -> None:
    """Otherwise each epoch has an order of its own."""
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    learned: dict[bool, list[torch.Tensor]] = {True: [], False: []}

    for in_order, seen in learned.items():
        stream = bnnlab.stream_from((inputs, torch.arange(30) % 3), test=0.2)
        (task,) = stream
        part = replace(task.train, rows=task.train.rows.flip(0), in_order=in_order)
        stream._tasks = [replace(task, train=part)]

        class Watch(bnnlab.Probe):
            def stepped(self, at: Any, batch: Any, loss: Any, logits: Any) -> None:
                seen.append(batch.inputs)  # noqa: B023 - called within this turn of the loop

            def measures(self) -> dict[str, float]:
                return {}

        model = {"name": "mlp", "hidden": [4]}
        settings: dict[str, Any] = {"rule": "bp", "optimizer": "adam", "model": model}
        bnnlab.run(**settings, stream=stream, epochs=2, batch_size=7, probe=[Watch])
    expected = part.batch(torch.arange(24))[0]
    assert torch.equal(torch.cat(learned[True]), torch.cat([expected, expected]))
    first, second = torch.cat(learned[False]).split(24)
    assert not torch.equal(first, expected)
    assert not torch.equal(first, second)
