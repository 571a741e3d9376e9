"""`seeds=` and `bnn run --seeds`."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bnnlab
from bnnlab import PluginHost, UsageError
from bnnlab.cli import main
from bnnlab.storage.folder import RunFolder
from bnnlab_studies.study import Study

SMALL: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "sgd",
    "model": {"name": "mlp", "hidden": [4]},
    "stream": {"name": "permuted-digits", "tasks": 1},
    "epochs": 1,
    "batch_size": 400,
    "device": "cpu",
}
WORDS = ["run", "--set", "stream.tasks=1", "--set", "model.hidden=[4]", "-e", "1", "-b", "400"]


def run(**said: Any) -> Study:
    study: Any = bnnlab.run(SMALL, **said)
    return study


def test_each_run_of_a_study_is_the_run_with_that_seed() -> None:
    study, alone = run(seeds=[3, 1]), bnnlab.run(SMALL, seed=1)
    assert [record["seed"] for record in study] == [3, 1]
    assert study.results[1]["average_accuracy"] == alone["average_accuracy"]
    assert study[1]["average_accuracy"] == alone["average_accuracy"]
    for mine, its in zip(
        study.results[1].model.parameters(), alone.model.parameters(), strict=True
    ):
        assert mine.equal(its)
    assert study.folder is None
    assert [it.count for it in study.summary().values()] == [2]


def test_its_folder_is_a_study_that_a_sweep_goes_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = run(seeds=2, out=tmp_path, name="five")
    folder = tmp_path / "five"
    assert study.folder == folder
    assert [each.folder for each in study] == [folder / "cell" / s for s in SEEDS]
    assert len((folder / "runs.csv").read_text().splitlines()) == 3
    assert [*Study.read(folder).cells] == [*study.cells]
    assert main(["sweep", str(folder)]) == 0
    assert "2 of 2" in capsys.readouterr().out
    with pytest.raises(UsageError, match="continue it: bnn sweep"):
        run(seeds=2, out=tmp_path, name="five")


SEEDS = ("seed-0", "seed-1")


@pytest.mark.parametrize("name", ["../../esc", "a/../../b", "/absolute", ".", "..", "é" * 200])
def test_a_name_that_leads_elsewhere_or_is_too_long_is_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=r"^name: "):
        bnnlab.run(rule="bp", stream="permuted-digits", out=out, name=name, seeds=2)
    with pytest.raises(UsageError, match=r"^name: "):  # one run
        RunFolder.create(out, name, "described")
    assert not [*tmp_path.iterdir()]


def test_seed_and_seeds_are_not_both_said(capsys: pytest.CaptureFixture[str]) -> None:
    for said in ({"seed": 1}, {"set": {"seed": 1}}):
        with pytest.raises(UsageError, match="seed and seeds are both set"):
            run(seeds=2, **said)
    for words in (["--seed", "1"], ["--resume", "runs/x"], ["--seeds", "a"], ["--seeds", ""]):
        given = words if "--seeds" in words else ["--seeds", "2", *words]
        assert main(["run", *given]) == 2
    said = capsys.readouterr().err
    assert "seed and seeds are both set" in said
    assert "--resume takes all settings" in said
    assert "--seeds 'a': write a number" in said


def test_a_run_file_may_say_a_seed() -> None:
    study: Any = bnnlab.run({**SMALL, "seed": 7}, seeds=1)
    assert study[0]["seed"] == 0


def test_without_the_distribution_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BNNLAB_DISABLE", "studies")
    with pytest.raises(UsageError, match="this needs bnnlab-studies, which is disabled"):
        run(seeds=2)
    host = PluginHost()
    host.plugins.clear()
    with pytest.raises(UsageError, match=r"not installed\. To install it: `bnn install studies`"):
        host.library("bnnlab-studies", "bnnlab_studies.repeating:repeat")


def test_the_command_repeats_also_isolated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, "--seeds", "4,2", "--isolated", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert re.findall(r"^seed (\d)$", err, re.MULTILINE) == ["4", "2"]
    assert err.count("task 1/1 learned") == 2
    assert "dfa + meta + mlp + permuted-digits" in out


def test_interrupted_it_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append: Callable[..., None] = RunFolder.append_metrics

    def interrupt(self: RunFolder, line: Any) -> None:
        append(self, line)
        if line["event"] == "epoch" and self.path.name == "seed-1":
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", interrupt)
        words = ["--seeds", "3", "--out", str(tmp_path), "--name", "it", "--quiet"]
        assert main([*WORDS, *words]) == 143
    err = capsys.readouterr().err
    assert f"to continue: bnn sweep {tmp_path / 'it'}" in err
    assert "stopped by SIGTERM" in err
    assert main(["sweep", str(tmp_path / "it"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "3 runs, 1 done" in out
    assert "time left: about 0:00:" in out


def test_a_run_that_fails_says_how_the_study_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "it"
    words = [*WORDS, "--seeds", "2", "--out", str(tmp_path), "--quiet", "--name"]
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", full)
        assert main([*words, "it"]) == 1
    err = capsys.readouterr().err
    assert "--resume" not in err
    assert err.endswith(f"No space left on device; to continue: bnn sweep {folder}\n")
    monkeypatch.setattr(Study, "to_csv", full)
    assert main([*words, "other"]) == 1
    out, err = capsys.readouterr()
    assert "\naccuracy %" in out
    assert "error: runs.csv: cannot write to " in err


def test_a_signal_between_two_runs_is_told_as_one_within(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("bnnlab_studies.repeating.Record", end)
    folder = tmp_path / "it"
    words = ["--seeds", "2", "--out", str(tmp_path), "--name", "it", "--quiet"]
    assert main([*WORDS, *words]) == 143
    assert f"to continue: bnn sweep {folder}\nerror: stopped by SIGTERM" in capsys.readouterr().err
    assert [(folder / "cell" / seed).exists() for seed in SEEDS] == [True, False]
