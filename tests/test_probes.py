"""Probes of a third party measure a run, may stop it, and change nothing in it."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import bnnlab
from bnnlab import PluginHost, RunError, UsageError
from bnnlab.cli import main
from bnnlab.engine.preparing import prepare
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder
from bnnlab_testing.pytest_plugin import MakePlugin

PLUGIN = """
from bnnlab import Component, Kind, hookimpl


@hookimpl
def bnnlab_components():
    return [
        Component(
            kind=Kind.PROBE,
            name=name,
            target=f"acme_probing:{made}",
            summary="A probe.",
            source="an example",
        )
        for name, made in (
            ("patience", "Patience"),
            ("bad", "Bad"),
            ("counts", "Counts"),
            ("odd", "Odd"),
        )
    ]
"""
PROBES = '''
import math

import numpy
import torch

from bnnlab import Probe, UsageError


class Patience(Probe):
    """Stops a run whose loss no longer falls by some share.

    Args:
        share: By how much the loss must fall.
        epochs: After how many epochs it is looked at.
    """

    def __init__(self, *, share: float = 0.0, epochs: int = 1):
        self.share, self.epochs, self.losses = share, epochs, []

    def epoch_ended(self, at, metrics):
        self.losses.append(metrics["loss"])
        self.log("patience", task=at.task.index, losses=len(self.losses))
        if len(self.losses) > self.epochs and self.losses[-1] > self.losses[-2] * self.share:
            self.stop(f"the loss is {self.losses[-1] / self.losses[-2]:.2f} of the one before")

    def measures(self):
        return {"epochs_seen": len(self.losses)}

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = list(state["losses"])


class Counts(Probe):
    """Counts what it is told."""

    def __init__(self):
        self.told = {}

    def count(self, what):
        self.told[what] = self.told.get(what, 0) + 1

    def attach(self, run):
        self.run = run

    def task_started(self, at):
        self.count("begun")

    def stepped(self, at, batch, loss, logits):
        assert logits.shape == (len(batch.targets), 10) and loss.shape == ()
        self.count("steps")

    def further_inputs(self, at):
        return [self.run.tasks[0].train]

    def predicted(self, at, task, prediction):
        self.count("further" if task is None else f"task {task.index}")

    def evaluated(self, at, accuracy):
        assert accuracy[0] < 1.0
        return {"seen": at.task.index + 1}

    def run_ended(self, accuracy, control):
        assert len(accuracy) == len(self.run.tasks)
        self.count("ends")

    def measures(self):
        return self.told

    def state_dict(self):
        return {"told": self.told}

    def load_state_dict(self, state):
        self.told = dict(state["told"])


class Odd(Probe):
    """Sets a moment in its constructor, and has attributes of any name.

    Args:
        early: Whether it asks to stop before anything else.
    """

    def __init__(self, *, early: bool = False):
        self._lines, self._reason, self.pairs = [], "its own", {1: (2, 3)}
        self.stepped = lambda *_: self.stop("one step is enough")
        if early:
            self.stop("no step is wanted")

    def measures(self):
        return self.pairs


class Bad(Probe):
    """Does what no probe may.

    Args:
        what: What it does.
    """

    def __init__(self, *, what: str = "raises"):
        self.what = what

    def attach(self, run):
        self.model = run.model

    def stepped(self, at, batch, loss, logits):
        if (self.what, at.steps) == ("stops", 2):
            self.stop("two steps are enough")

        if self.what == "writes to the batch":
            batch.targets.zero_()

    def predicted(self, at, task, prediction):
        if self.what == "writes to the matrix's prediction":
            prediction.log_likelihoods.zero_()

    def further_inputs(self, at):
        if self.what == "logs twice":
            self.log("odd")
        return {"gives no inputs": None, "gives odd inputs": [0]}.get(self.what, ())

    def evaluated(self, at, accuracy):
        if self.what == "raises":
            raise KeyError("nothing")
        if self.what == "refuses":
            raise UsageError("use it otherwise")
        if self.what == "exits as a generator":
            raise GeneratorExit
        if self.what == "logs a huge number":
            self.log("odd", loss=10**400)
        if self.what == "keeps its row":
            accuracy[:] = [1.0] * len(accuracy)
        if self.what == "writes":
            with torch.no_grad():
                next(self.model.parameters()).neg_()
        if self.what == "trains":
            self.model.train(not self.model.training)
        if self.what == "logs the core's":
            self.log("epoch", loss=0)
        if self.what == "logs no JSON":
            self.log("odd", loss=math.nan)
        if self.what == "logs the core's time":
            self.log("odd", time=0)
        if self.what == "stops too late":
            self.stop("enough")
        if self.what == "stops without a reason":
            self.stop(None)
        if self.what == "logs without a name":
            self.log("")
        given = {"answers a tensor": torch.ones(2), "answers the core's": {"accuracy": 1}}
        return given.get(self.what, {})

    def run_ended(self, accuracy, control):
        assert not control.is_due()
        if self.what == "keeps its row":
            accuracy[0][0] = accuracy[-1][-1] = 1.0
        if self.what == "fails after it saved":
            self.log("late")
            control.save()
            raise KeyError("nothing")

    def measures(self):
        answers = {
            "measures nothing": None,
            "measures the core's": {"forgetting": 0},
            "measures a tensor": {"one": torch.ones(2)},
            "measures NaN": {"one": 1, "two": math.nan},
            "measures a huge number": {"one": 10**400},
        }
        return answers.get(self.what, {})

    def state_dict(self):
        if self.what == "cannot be saved":
            return {"kept": self.lost}
        kept = {"keeps a function": lambda: 0, "keeps a number of NumPy": numpy.float64(1)}
        return {"kept": kept.get(self.what)}

    def load_state_dict(self, state):
        pass
'''
TINY: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "adam",
    "stream": {"name": "permuted-digits", "tasks": 2},
    "model": {"name": "mlp", "hidden": [4]},
    "epochs": 2,
    "batch_size": 500,
    "device": "cpu",
}
STOPS = {"name": "acme-probes/patience", "share": 0.0}


@pytest.fixture
def probes(make_plugin: MakePlugin) -> None:
    make_plugin("acme-probes", PLUGIN, modules={"acme_probing": PROBES})


def left(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    result = json.loads((folder / "result.json").read_text())
    times = ("seconds", "time")
    kept = [{k: v for k, v in json.loads(line).items() if k not in times} for line in lines]
    return kept, {k: v for k, v in result.items() if k not in ("seconds", "run_id")}


@pytest.mark.usefixtures("probes")
def test_a_probe_is_told_everything_and_its_results_are_the_runs(tmp_path: Path) -> None:
    result = bnnlab.run(TINY, probe=["counts"], out=tmp_path, name="run")
    assert {name: result[name] for name in result.keys() - bnnlab.run(TINY).keys()} == {
        "begun": 2,
        "steps": 12,
        "further": 2,
        "task 0": 2,
        "task 1": 2,
        "ends": 1,
    }
    lines, saved = left(tmp_path / "run")
    assert saved["steps"] == 12
    evaluated = [line for line in lines if line["event"] == "evaluation"]
    assert [line["seen"] for line in evaluated] == [1, 2]
    assert evaluated[1]["accuracy"] == result.accuracy[1]
    config = read_config(tmp_path / "run" / "run.toml")
    assert config["probe"] == {"acme-probes/counts": {}}


@pytest.mark.usefixtures("probes")
def test_a_run_that_a_probe_stopped_goes_on_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    patient = {**STOPS, "share": 9.0}
    whole = bnnlab.run(TINY, probe=[patient], out=tmp_path, name="whole")
    assert (whole.status, whole.stop_reason, whole["epochs_seen"]) == ("complete", None, 4)
    host = PluginHost()
    config = resolve(host, [TINY, {"probe": [STOPS], "out": str(tmp_path), "name": "torn"}])
    stopped, ids = [prepare(host, config).run()], set()
    while stopped[-1].status != "complete" and len(stopped) < 9:
        ids.add(stopped[-1].run_id)
        assert stopped[-1].status == "stopped"
        assert re.match("acme-probes/patience: the loss is", stopped[-1].stop_reason or "")
        stopped.append(prepare(host, config, RunFolder(tmp_path / "torn")).run())
    assert [each["epochs_seen"] for each in stopped] == [2, 3, 4, 4]
    assert ids == {stopped[-1].run_id}
    assert left(tmp_path / "torn") == left(tmp_path / "whole")
    for one, other in zip(whole.model.parameters(), stopped[-1].model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("probes")
def test_a_run_without_a_folder_stops_after_the_step_in_which_a_probe_asks() -> None:
    host = PluginHost()
    asks = {"probe": [{"name": "bad", "what": "stops"}], "out": None}
    run = prepare(host, resolve(host, [TINY, asks]))
    result = run.run()
    assert (result.status, run.learner.progress.steps) == ("stopped", 2)
    assert result.stop_reason == "acme-probes/bad: two steps are enough"
    assert result.accuracy == []
    assert result["forgetting"] is result.forgetting is None


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize(
    ("early", "steps", "why"), [(True, 0, "no step is wanted"), (False, 1, "one step is enough")]
)
def test_a_probe_is_heard_however_it_is_written(early: bool, steps: int, why: str) -> None:
    host = PluginHost()
    asks = {"probe": [{"name": "odd", "early": early}], "out": None}
    run = prepare(host, resolve(host, [TINY, asks]))
    result = run.run()
    assert (result.status, run.learner.progress.steps) == ("stopped", steps)
    assert result.stop_reason == f"acme-probes/odd: {why}"
    assert result["1"] == [2, 3]


@pytest.mark.usefixtures("probes")
def test_the_command_line_chooses_a_probe_sets_it_and_says_that_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(
        'stream = "digits"\ndevice = "cpu"\n[model]\nname = "mlp"\nhidden = [4]\n'
    )
    words = ["run", "-c", "tiny.toml", "-b", "500", "--probe", "patience", "--name", "run", "-q"]
    assert main([*words, "--set", "probe.patience.epochs=2"]) == 0
    out = capsys.readouterr().out
    assert re.search("stopped by probe acme-probes/patience: the loss is", out)
    assert re.search(r"epochs_seen +3", out)
    assert main(["run", "--resume", "runs/run", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs_seen"] == 4
    assert main(["info", "probe", "patience"]) == 0
    assert "After how many epochs" in capsys.readouterr().out
    assert main(["run", "--probe", "patienc"]) == 2
    assert "did you mean 'patience'" in capsys.readouterr().err.lower()


@pytest.mark.usefixtures("probes")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raises", r"probe acme-probes/bad in evaluated failed at .*KeyError: 'nothing'"),
        ("writes", "acme-probes/bad in evaluated changed the model's weights, buffers or mode"),
        ("trains", "acme-probes/bad in evaluated changed the model's weights, buffers or mode"),
        ("logs the core's", "acme-probes/bad: a line 'epoch' is the core's own"),
        ("logs no JSON", "acme-probes/bad: its line 'odd' is no mapping of JSON types"),
        ("answers a tensor", r"bad in evaluated: its answer is no mapping of JSON"),
        ("measures the core's", "acme-probes/bad: the name 'forgetting' is the core's"),
        ("measures a tensor", r"bad in measures: its answer is no mapping .*at 'one': "),
        (
            "measures NaN",
            r"bad in measures: its answer is no mapping .*at 'two': .*float",
        ),
        ("answers the core's", "acme-probes/bad: the name 'accuracy' is the core's"),
        ("logs the core's time", "acme-probes/bad: the name 'time' is the core's"),
        ("stops without a reason", r"bad in evaluated failed at .*: stop\(reason\): say why"),
        ("logs without a name", r"bad in evaluated failed at .* the event must be a word"),
        ("logs twice", r"bad logs in further_inputs\(\), which a resumed run calls again"),
        ("measures nothing", r"bad in measures: its answer is no mapping of JSON"),
        ("gives no inputs", "probe acme-probes/bad in further_inputs failed at .*TypeError"),
        ("gives odd inputs", "bad in further_inputs: its answer must be Examples, and holds 0"),
        ("keeps a function", "written: the state of probe acme-probes/bad holds .*lambda"),
        ("keeps a number of NumPy", "the state of probe acme-probes/bad holds numpy"),
        (
            "measures a huge number",
            "bad in measures: its answer is .*at 'one': .*of 401 digits is too",
        ),
        ("logs a huge number", "bad: its line 'odd' is .*of 401 digits is too"),
        (
            "writes to the matrix's prediction",
            "bad in predicted changed a tensor that it was given",
        ),
        ("writes to the batch", "bad in stepped changed a tensor that it was given"),
        ("refuses", "probe acme-probes/bad in evaluated: use it otherwise"),
        ("exits as a generator", "probe acme-probes/bad in evaluated failed at .*GeneratorExit"),
        ("cannot be saved", "probe acme-probes/bad in state_dict failed at .*AttributeError"),
    ],
)
def test_a_probe_that_does_what_none_may_fails_the_run_by_name(
    what: str, message: str, tmp_path: Path
) -> None:
    settings = {**TINY, "epochs": 1, "stream": {"name": "permuted-digits", "tasks": 1}}
    with pytest.raises(RunError, match=message):
        bnnlab.run(settings, probe=[{"name": "bad", "what": what}], out=tmp_path, name="run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert len([line for line in log.splitlines() if re.search(message, line)]) == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"


@pytest.mark.usefixtures("probes")
def test_lists_that_a_probe_changes_are_its_own() -> None:
    plain = bnnlab.run(TINY, epochs=1)
    odd = {"name": "bad", "what": "keeps its row"}
    assert bnnlab.run(TINY, epochs=1, probe=[odd, "counts"])["accuracy"] == plain["accuracy"]


@pytest.mark.usefixtures("probes")
def test_a_probe_that_asks_to_stop_once_all_is_learned_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    one = {"name": "permuted-digits", "tasks": 1}
    late = {"name": "bad", "what": "stops too late"}
    assert bnnlab.run(TINY, epochs=1, stream=one, probe=[late]).status == "complete"
    assert "nothing was left to stop: probe acme-probes/bad: enough" in caplog.text


@pytest.mark.usefixtures("probes")
def test_what_a_probe_logs_before_it_saves_is_saved(tmp_path: Path) -> None:
    late = {"name": "bad", "what": "fails after it saved"}
    with pytest.raises(RunError, match="bad in run_ended failed"):
        bnnlab.run(TINY, epochs=1, probe=[late], out=tmp_path, name="run")
    assert left(tmp_path / "run")[0][-1]["event"] == "late"


def test_without_analysis_its_settings_are_refused_and_the_rest_says_not_measured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("BNNLAB_DISABLE", "bnnlab-analysis")
    for setting in ("uncertainty", "fresh", "diagnose"):
        with pytest.raises(UsageError, match="comes with bnnlab-analysis, which is disabled"):
            bnnlab.run(TINY, **{setting: True})
    posterior = {"name": "bimu", "test_draws": 2}
    settings = {**TINY, "optimizer": posterior, "epochs": 1}
    result = bnnlab.run(settings, stream={"name": "permuted-digits", "tasks": 1})
    assert (result.flips, result.uncertainty, result.plasticity) == ([], {}, None)
    assert "weights: not measured. " in caplog.text
    assert "uncertainty: not measured. " in caplog.text


def test_where_analysis_is_not_installed_the_command_that_installs_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = PluginHost()
    host.plugins = [each for each in host.plugins if each.distribution != "bnnlab-analysis"]
    with pytest.raises(UsageError, match="To install it: `bnn install analysis`"):
        bnnlab.run(TINY, fresh=True, host=host)
