"""What fails outside of a trial's settings is no failure of the trial: the study goes on later."""

import errno
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from tuning_runs import SMALL, Here, host, planned, pretend, tuned, with_trials

from bnnlab.cli import main
from bnnlab.errors import DownloadError, RunError, UsageError
from bnnlab.settings.layers import resolve
from bnnlab.settings.terms import later
from bnnlab_optuna import outcome, ownership, tuner
from bnnlab_optuna.plan import Plan, read_plan
from bnnlab_optuna.tuner import Tuner
from bnnlab_studies import sweep
from bnnlab_studies.asking import Asked
from bnnlab_studies.job import Job, Outcome, perform
from bnnlab_studies.plan import Cell

FULL = OSError(errno.ENOSPC, "No space left on device")


def states(done: Tuner) -> list[TrialState]:
    return [trial.state for trial in done.ownership.study.get_trials()]


def again(plan: Plan, monkeypatch: Any, *values: float) -> list[TrialState]:
    """Give the same command again; return how its trials ended."""
    with monkeypatch.context() as patch:
        pretend(patch, *values)
        with closing(tuned(plan, patch)) as done:
            return states(done)


def test_a_failed_download_is_known_as_one_before_a_study_begins(
    tmp_path: Path, monkeypatch: Any
) -> None:
    def make(*_: Any, **__: Any) -> None:
        raise DownloadError("the download failed")

    monkeypatch.setattr("bnnlab.engine.building.make_stream", make)
    with pytest.raises(DownloadError, match="the download failed") as tuning:
        tuned(planned(tmp_path, {}), monkeypatch)
    assert tuning.value.exit_code == 1
    config = resolve(host(), [{**SMALL, "evaluate_on": "validation"}])
    cell = Cell("cell", config.as_dict(), later=(*later(config),))
    with pytest.raises(DownloadError, match="cell: the download failed"):
        sweep._examine([cell], Asked("here", Here()))


def test_what_only_a_run_can_check_is_checked_before_the_first_trial(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Of all kinds of trials, not of the first one alone."""
    space = {"schedule": ["constant", "one-cycle"], "optimizer": {"lr": [0.1, 0.2]}}
    plan = planned(tmp_path, {"space": space}, epochs=3)
    assert [each["schedule"] for each in plan.unlike()] == ["constant", "one-cycle"]
    with pytest.raises(UsageError, match="one-cycle has no time to rise in 3 epochs"):
        tuned(plan, monkeypatch)
    assert not (tmp_path / "study").exists()


def test_only_what_is_wrong_with_its_settings_is_a_runs_own_failure(
    tmp_path: Path, monkeypatch: Any
) -> None:
    plan, number = planned(tmp_path, {}), iter(range(9))

    def ended(**settings: Any) -> Outcome:
        config = plan.resolve({**settings}).as_dict()
        return perform(Job(config, tmp_path / f"study/trial-{next(number)}/seed-0", "it"))

    assert ended().is_outside, "the study's folder has gone"
    plan.folder.mkdir()
    assert ended().status == "complete"
    refused = ended(stream={"validation": 0.0})
    assert (refused.status, refused.is_outside) == ("failed", False)

    def save(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr("bnnlab.storage.checkpoint.save", save)
    full = ended()
    assert full.is_outside
    assert "No space left" in full.error
    monkeypatch.setattr("bnnlab.engine.training.Trainer.steps", lambda *_: 1 / 0)
    monkeypatch.setattr("bnnlab.storage.checkpoint.save", lambda *_: None)
    broken = ended()
    assert (broken.status, broken.is_outside) == ("failed", False)


def test_a_trial_that_failed_for_a_full_disk_is_gone_on_with(
    tmp_path: Path, monkeypatch: Any
) -> None:
    plan = planned(tmp_path, {"trials": 2})
    full = Outcome("failed", "No space left on device", is_outside=True)
    with monkeypatch.context() as patch:
        patch.setattr("bnnlab_optuna.trial.perform", lambda _: full)
        with pytest.raises(
            RunError, match=r"trial 0 is unfinished: No space .*; to continue: bnn tune"
        ):
            tuned(plan, patch)
    assert again(plan, monkeypatch, 0.5, 0.6) == [TrialState.COMPLETE] * 2


def test_a_trial_without_a_folder_is_begun_by_the_same_command(
    tmp_path: Path, monkeypatch: Any
) -> None:
    plan = planned(tmp_path, {"trials": 2})

    def lock_of(folder: Path, name: str = ".lock") -> Any:
        if name == ".lock":
            raise FULL
        return original(folder, name)

    original = ownership.lock_of
    with monkeypatch.context() as patch:
        patch.setattr(ownership, "lock_of", lock_of)
        with pytest.raises(RunError, match=r"cannot write to .*: No space left on device; to"):
            tuned(plan, patch)
    assert again(plan, monkeypatch, 0.5, 0.6) == [TrialState.COMPLETE] * 2


def test_a_folder_that_was_renamed_is_gone_on_with(tmp_path: Path, monkeypatch: Any) -> None:
    plan = planned(tmp_path, {"trials": 1})
    again(plan, monkeypatch, 0.5)
    plan.folder.rename(tmp_path / "renamed")
    renamed = with_trials(read_plan(host(), tmp_path / "renamed", {}), 2)
    assert again(renamed, monkeypatch, 0.6) == [TrialState.COMPLETE] * 2


def test_what_cannot_begin_leaves_no_folder(tmp_path: Path, monkeypatch: Any) -> None:
    nowhere = planned(tmp_path, {"storage": f"sqlite:///{tmp_path}/none/study.db"})
    with pytest.raises(UsageError, match="cannot be used"):
        tuned(nowhere, monkeypatch)
    assert not nowhere.folder.exists()

    def full(_: Plan) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(Plan, "write", full)
        with pytest.raises(
            UsageError, match=r"cannot write to .*study: No space left on device\.$"
        ):
            tuned(planned(tmp_path, {}), patch)
    assert not nowhere.folder.exists()

    nowhere.folder.mkdir()
    (nowhere.folder / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"holds no study, but 'notes\.txt'"):
        planned(tmp_path, {})
    assert [*nowhere.folder.iterdir()] == [nowhere.folder / "notes.txt"]


def test_failed_trials_and_unwritten_files_are_named(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, {"trials": 3})
    monkeypatch.setattr(tuner, "make_engine", lambda *_: Here())
    monkeypatch.setattr(outcome, "find_spec", lambda _: None)  # no pictures
    pretend(monkeypatch, "it broke", 0.5, 0.6)
    words = ["tune", str(tmp_path / "study.toml"), "--out", str(tmp_path), "--name", "study", "-q"]
    assert main(words) == 0, "the sampler learns from failed trials, too"
    said = capsys.readouterr()
    assert "1 of 3 trials failed: 0 (trials.csv says why). The last of them: trial 0" in said.err
    assert "best: trial 2" in said.out

    (plan.folder / "best.toml").unlink()
    (plan.folder / "best.toml").mkdir()
    assert main(words) == 1
    said = capsys.readouterr()
    assert "best.toml (Is a directory); to continue: bnn tune" in said.err.replace("\n", " ")
    assert "best: trial 2" in said.out
    assert "trials.csv" in said.out


def test_what_did_not_vary_has_no_importance(tmp_path: Path, monkeypatch: Any) -> None:
    space = {"optimizer": {"lr": {"low": 0.01, "high": 0.1}}, "batch_size": [100]}
    for name, values, shares in (("one", [0.5, 0.6], {"optimizer.lr": 1}), ("no", [0.5, 0.5], {})):
        (tmp_path / name).mkdir()
        with monkeypatch.context() as patch:
            pretend(patch, *values)
            plan = planned(tmp_path / name, {"trials": 2, "space": space})
            with closing(tuned(plan, patch)) as done:
                assert outcome.find(done.ownership.study).importances == shares
