"""`vectorize=True` and `bnn run --seeds N --vectorize`: all seeds make their steps together."""

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import bnnlab
from bnnlab import PluginHost, Probe, RunError, UsageError
from bnnlab.cli import main
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.lockstep import run_together
from bnnlab.engine.preparing import prepare
from bnnlab.errors import StoppedError
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder, config_of

SMALL: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "adam",
    "model": {"name": "mlp", "hidden": [8], "activation": "tanh"},
    "stream": {"name": "permuted-digits", "tasks": 2},
    "steps": 3,
    "batch_size": 100,
    "device": "cpu",
    "threads": 1,
}
VALIDATED = {"name": "permuted-digits", "tasks": 2, "validation": 0.1}
SEEDS = ("seed-0", "seed-1", "seed-2")


def run(**said: Any) -> Any:
    return bnnlab.run({**SMALL, **said.pop("config", {})}, **said)


def prepared(folder: Path, **said: Any) -> list[Experiment]:
    """Return three runs, as new ones."""
    each = [{**SMALL, **said, "seed": seed, "out": str(folder)} for seed in range(3)]
    host = PluginHost()
    return [prepare(host, resolve(host, [{**its, "name": f"seed-{its['seed']}"}])) for its in each]


def again(folder: Path) -> list[Experiment]:
    """Return these runs, as they go on."""
    host, places = PluginHost(), [folder / name for name in SEEDS]
    return [
        prepare(host, resolve(host, [read_config(config_of(it))]), RunFolder(it)) for it in places
    ]


def assert_near(one: Any, other: Any) -> None:
    """Compare losses and models of two results: six steps of a smooth network."""
    for mine, its in zip(one.model.parameters(), other.model.parameters(), strict=True):
        apart = (mine - its).abs() > 1e-4
        assert float(apart.double().mean()) < 0.01
    pairs = zip(one["accuracy"], other["accuracy"], strict=True)
    assert all(mine == pytest.approx(its, abs=0.02) for mine, its in pairs)


@pytest.mark.parametrize("rule", ["bp", "dfa"])
@pytest.mark.parametrize("optimizer", ["adam", "meta", "bimu"])
def test_each_run_is_the_run_with_that_seed(rule: str, optimizer: str, tmp_path: Path) -> None:
    config = {"rule": rule, "optimizer": optimizer, "schedule": "cosine", "schedule_by": "step"}
    study = run(config=config, seeds=3, vectorize=True, out=tmp_path, name="together")
    for seed, result in enumerate(study.results):
        alone = run(config=config, seed=seed)
        assert (result.seed, result.protocol) == (seed, alone.protocol)
        assert_near(result, alone)
        assert result.folder == tmp_path / "together" / "cell" / SEEDS[seed]
        loaded = bnnlab.load(result.folder)
        assert all(map(torch.equal, loaded.parameters(), result.model.parameters()))
        sizes = [p.untyped_storage().nbytes() // p.element_size() for p in loaded.parameters()]
        assert sizes == [p.numel() for p in result.model.parameters()]
    text = (tmp_path / "together" / "cell" / "seed-1" / "log.txt").read_text()
    assert "together with the seeds 0, 1, 2" in text


def test_all_stop_at_a_signal_and_go_on_alone_or_together(tmp_path: Path) -> None:
    def stopping(task: int, _epoch: int, step: int, _steps: int) -> None:
        if (task, step) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError):
        run_together(prepared(tmp_path), stopping)
    assert signal.getsignal(signal.SIGTERM) is before
    experiments = again(tmp_path)
    assert {(it.learner.progress.task, it.learner.progress.step) for it in experiments} == {(1, 2)}
    together = run_together(experiments)
    for seed, result in enumerate(together):
        assert result.status == "complete"
        assert_near(result, run(seed=seed))


def test_runs_that_were_begun_together_go_on_alone(tmp_path: Path) -> None:
    def stopping(task: int, _epoch: int, step: int, _steps: int) -> None:
        if (task, step) == (0, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        run_together(prepared(tmp_path), stopping)
    assert_near(bnnlab.run(resume=tmp_path / "seed-1"), run(seed=1))
    with pytest.raises(UsageError, match="not at the same step"):
        run_together(again(tmp_path))


class Speaking(Probe):
    """Says the seed in the log; the run of seed 1 fails."""

    def attach(self, run: Any) -> None:
        self.seed = run.seed

    def epoch_ended(self, at: Any, metrics: Any) -> None:
        logging.getLogger("bnnlab").warning("this is %d", self.seed)
        if self.seed == 1:
            raise ValueError("no")


def test_one_that_fails_leaves_the_others_and_each_has_its_log(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="speaking"):
        run(seeds=3, vectorize=True, probe=Speaking(), out=tmp_path, name="x")
    cell = tmp_path / "x" / "cell"
    assert [json.loads((cell / name / "result.json").read_text())["status"] for name in SEEDS] == [
        "complete",
        "failed",
        "complete",
    ]
    for seed, name in enumerate(SEEDS):
        text = (cell / name / "log.txt").read_text()
        assert [f"this is {other}" in text for other in range(3)] == [
            other == seed for other in range(3)
        ]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"rule": "drtp"}, "drtp learns for one run alone"),
        ({"rule": {"name": "dfa", "error": "sign"}}, "dfa learns for one run alone"),
        ({"optimizer": "bop"}, "bop learns for one run alone"),
        ({"model": {"name": "mlp", "dropout": 0.5}}, "mlp has a Dropout"),
        ({"model": {"name": "mlp", "scale": "latent"}}, "scale 'latent'"),
        ({"accumulate": 2}, "accumulate is set"),
        ({"patience": 1, "stream": VALIDATED}, "patience may end"),
    ],
)
def test_what_cannot_is_refused_before_there_is_a_folder(
    tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        run(config=config, seeds=2, vectorize=True, out=tmp_path)
    assert not [*tmp_path.iterdir()]
    with pytest.raises(UsageError, match="give seeds, too"):
        run(vectorize=True)


def test_the_command_prints_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    words = "run --steps 2 --seeds 0,2 --vectorize --set stream.tasks=1 --set model.hidden=[4]"
    assert main([*words.split(), "--set", "out=none"]) == 0
    assert "seeds 0  2" in capsys.readouterr().out
    assert main(["run", "--vectorize"]) == 2
    assert "--seeds" in capsys.readouterr().err
