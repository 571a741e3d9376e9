"""Studies of small runs, in this process."""

import csv
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import tomli
from optuna.trial import TrialState
from tuning_runs import Here, planned, tuned, with_trials

from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab_optuna import outcome, trial
from bnnlab_optuna.choices import make_pruner, make_sampler
from bnnlab_optuna.ownership import UNOWNED
from bnnlab_optuna.tuner import ABOUT, VALUES, Tuner
from bnnlab_studies.job import Outcome
from bnnlab_studies.record import Record

ONE_TASK: dict[str, Any] = {"stream": {"name": "digits", "validation": 0.2}, "epochs": 3}
THREE = {"trials": 3, "space": {"optimizer": {"lr": {"low": 1e-3, "high": 0.1}}}}


def test_a_study_is_made_and_gone_on_with(tmp_path: Path, monkeypatch: Any) -> None:
    plan = planned(tmp_path, {**THREE, "seeds": [3, 4]}, stream=ONE_TASK["stream"])
    with closing(tuned(plan, monkeypatch)) as done:
        first = done.study.get_trials()
        found = outcome.find(done.study)
        outcome.write(plan, found)
    assert [it.state for it in first] == [TrialState.COMPLETE] * 3
    for each in first:
        runs = [plan.folder / f"trial-{each.number:04}/seed-{seed}" for seed in (3, 4)]
        results = [json.loads((run / "result.json").read_text()) for run in runs]
        values = [result["average_accuracy"] for result in results]
        assert each.user_attrs[VALUES] == values
        assert each.value == pytest.approx(sum(values) / 2)
        settings = tomli.loads((runs[0] / "run.toml").read_text())
        assert settings["optimizer"]["lr"] == each.params["optimizer.lr"]
        assert settings["evaluate_on"] == "validation"
    rows = [*csv.DictReader((plan.folder / "trials.csv").read_text().splitlines())]
    assert [float(row["average_accuracy"]) for row in rows] == [it.value for it in first]

    with closing(tuned(with_trials(plan, 4), monkeypatch)) as done:
        assert done.study.get_trials()[:3] == first
        assert len(done.study.get_trials()) == 4


def test_the_best_file_is_a_run_file_that_is_evaluated_on_test(
    tmp_path: Path, monkeypatch: Any
) -> None:
    from bnnlab import run

    plan = planned(tmp_path, THREE)
    with closing(tuned(plan, monkeypatch)) as done:
        best = done.study.best_trial
        outcome.write(plan, outcome.find(done.study))
    result = run(plan.folder / "best.toml", seed=9)
    assert result.evaluate_on == "test"
    said = tomli.loads((plan.folder / "best.toml").read_text())
    assert said["optimizer"]["lr"] == best.params["optimizer.lr"]
    assert said["stream"]["validation"] == 0.2  # so that the training data are the same
    assert "probe" not in said


def test_the_test_part_is_never_read(tmp_path: Path, monkeypatch: Any) -> None:
    read, original = [], Examples.batch

    def batch(self: Examples, *arguments: Any) -> Any:
        if self.rows.numel() and self in tests:
            raise AssertionError("the test part is read")
        read.append(self)
        return original(self, *arguments)

    tests: list[Examples] = []
    from bnnlab.engine import building

    made = building.make_stream

    def make_stream(*arguments: Any, **keywords: Any) -> Any:
        stream = made(*arguments, **keywords)
        tests.extend(task.test for task in stream)
        return stream

    monkeypatch.setattr(building, "make_stream", make_stream)
    monkeypatch.setattr(Examples, "batch", batch)
    with closing(tuned(planned(tmp_path, {**THREE, "trials": 1}), monkeypatch)) as done:
        assert done.study.best_trial.number == 0
    assert tests
    assert read


def test_without_a_validation_part_nothing_begins(tmp_path: Path, monkeypatch: Any) -> None:
    plan = planned(tmp_path, THREE, stream={"name": "permuted-digits", "tasks": 2})
    with pytest.raises(UsageError, match=r"stream.validation=0.1"):
        tuned(plan, monkeypatch)
    assert not [*plan.folder.glob("trial-*")]
    corrected = planned(tmp_path, {**THREE, "trials": 1}, stream=ONE_TASK["stream"])
    with closing(tuned(corrected, monkeypatch)) as done:
        assert len(done.study.get_trials()) == 1


def test_a_measure_that_no_run_has_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(UsageError, match="Did you mean 'average_accuracy'"):
        planned(tmp_path, {**THREE, "measure": "average_acuracy", "direction": "maximize"})
    late = planned(tmp_path, {**THREE, "measure": "uncertainty.ecce", "direction": "minimize"})
    for _ in range(2):  # and so it is if the command is given again
        with pytest.raises(UsageError, match=r"do not have uncertainty\.ecce"):
            tuned(late, monkeypatch)
        assert [it.name for it in late.folder.glob("trial-*")] == ["trial-0000"]


def test_trials_that_fail_alike_stop_the_study(tmp_path: Path, monkeypatch: Any) -> None:
    told = []
    monkeypatch.setattr(trial, "perform", lambda job: Outcome("failed", f"{job}: it broke"))
    with pytest.raises(RunError, match=r"all 5 trials failed alike.*it broke"):
        tuned(planned(tmp_path, {**THREE, "trials": 9}), monkeypatch, told.append)
    assert [it.state for it in told] == [TrialState.FAIL] * 5
    assert told[0].user_attrs[ABOUT] == "trial 0, seed 0: it broke"


def test_a_failed_trial_does_not_stop_the_others(tmp_path: Path, monkeypatch: Any) -> None:
    perform = trial.perform

    def one_fails(job: Any) -> Outcome:
        return Outcome("failed", "no") if job.name.startswith("trial 1,") else perform(job)

    monkeypatch.setattr(trial, "perform", one_fails)
    with closing(tuned(planned(tmp_path, THREE), monkeypatch)) as done:
        states = [it.state for it in done.study.get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.parametrize("value", [float("nan"), None, [0.5]])
def test_a_measure_that_is_no_number_fails_its_trial(
    tmp_path: Path, monkeypatch: Any, value: Any
) -> None:
    run = Record("run", None, "complete", {}, {"average_accuracy": value})
    monkeypatch.setattr(trial, "perform", lambda _: Outcome("complete"))
    monkeypatch.setattr(Record, "read", lambda _: run)
    with closing(tuned(planned(tmp_path, {**THREE, "trials": 1}), monkeypatch)) as done:
        (only,) = done.study.get_trials()
    assert only.state is TrialState.FAIL
    assert "no finite number" in only.user_attrs[ABOUT]


def test_a_storage_that_fails_in_the_middle_is_said_in_a_line(
    tmp_path: Path, monkeypatch: Any
) -> None:
    def damage(_: Any) -> None:
        (tmp_path / "study/study.db").write_bytes(b"no database" * 999)

    monkeypatch.setattr("bnnlab_optuna.tuner.perform_trial", lambda _: trial.Outcome("failed"))
    with pytest.raises(RunError, match=r"study\.db cannot be used.*the same command continues"):
        tuned(planned(tmp_path, THREE), monkeypatch, damage)


def test_one_task_reports_each_epoch_and_is_stopped(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        optuna.pruners.MedianPruner, "prune", lambda self, study, it: it.number == 1
    )
    plan = planned(tmp_path, {**THREE, "trials": 2}, **ONE_TASK)
    with closing(tuned(plan, monkeypatch)) as done:
        whole, pruned = done.study.get_trials()
    assert [*whole.intermediate_values] == [0, 1, 2]
    assert whole.intermediate_values[2] == whole.value
    assert pruned.state is TrialState.PRUNED
    assert pruned.value == pruned.intermediate_values[0]
    stopped = json.loads((plan.folder / "trial-0001/seed-0/result.json").read_text())
    assert stopped["status"] == "stopped"
    assert "after epoch 1" in stopped["stop_reason"]


def test_several_tasks_are_not_pruned_within_a_run(
    tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What is learned early says nothing of what is retained at the end."""
    caplog.set_level("INFO", logger="bnnlab")
    monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", lambda *_: True)
    with closing(tuned(planned(tmp_path, {**THREE, "trials": 1}), monkeypatch)) as done:
        (only,) = done.study.get_trials()
    assert only.state is TrialState.COMPLETE
    assert not only.intermediate_values
    assert "no run is pruned" in caplog.text


def test_seeds_are_reported_one_by_one(tmp_path: Path, monkeypatch: Any) -> None:
    seeds = {**THREE, "trials": 1, "seeds": 5}
    short: dict[str, Any] = {"stream": ONE_TASK["stream"]}
    five = planned(tmp_path, {**seeds, "pruner": "wilcoxon"}, **short)
    with closing(tuned(five, monkeypatch)) as done:
        (only,) = done.study.get_trials()
    assert [*only.intermediate_values.values()] == only.user_attrs[VALUES]
    two = planned(tmp_path / "study", {**seeds, "seeds": 2}, **short)
    with closing(tuned(two, monkeypatch)) as done:
        (only,) = done.study.get_trials()
    assert only.intermediate_values[1] == only.value
    assert "probe" not in tomli.loads((two.folder / "trial-0000/seed-0/run.toml").read_text())


def test_what_a_dead_process_left_is_gone_on_with(tmp_path: Path, monkeypatch: Any) -> None:
    plan = planned(tmp_path, {**THREE, "trials": 2})
    monkeypatch.setattr("bnnlab_optuna.tuner.make_engine", lambda *_: Here())
    with closing(Tuner(plan, lambda _: None)) as dead:
        dead.ownership.take().lock.release()
        dead.study.ask()  # it died before it said where the trial is
    with closing(Tuner(plan, lambda _: None)) as early:
        mine = early.ownership.take()
        assert (mine.number, mine.resumed) == (0, True)
        assert early.ownership.take() is None  # another machine may have asked for 1 just now
        mine.lock.release()
    monkeypatch.setattr("bnnlab_optuna.ownership.UNOWNED", -1)
    with closing(tuned(plan, monkeypatch)) as done:
        assert [it.state for it in done.study.get_trials()] == [TrialState.COMPLETE] * 2
    assert UNOWNED > 10


def test_trials_are_drawn_alike_after_an_interruption(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(trial, "perform", lambda job: Outcome("failed", str(job.folder.parent)))
    monkeypatch.setattr("bnnlab_optuna.tuner.ALIKE", 99)
    drawn = []
    for name, parts in (("whole", [4]), ("parts", [1, 3, 4])):
        (tmp_path / name).mkdir()
        plan = planned(tmp_path / name, THREE)
        for trials in parts:
            with closing(tuned(with_trials(plan, trials), monkeypatch)) as done:
                params = [it.params for it in done.study.get_trials()]
        drawn.append(params)
    assert drawn[0] == drawn[1]
    assert len({it["optimizer.lr"] for it in drawn[0]}) == 4


def test_another_study_in_the_folder_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    with closing(tuned(planned(tmp_path, {**THREE, "trials": 1}), monkeypatch)):
        pass
    with pytest.raises(UsageError, match="tunes something else"):
        tuned(planned(tmp_path, THREE, epochs=2), monkeypatch)
    (tmp_path / "study/study.db").unlink()
    with pytest.raises(UsageError, match="another study's trials"):
        tuned(planned(tmp_path, THREE), monkeypatch)
    (tmp_path / "study/study.toml").write_text("[sweep]")
    with pytest.raises(UsageError, match="holds another study"):
        tuned(planned(tmp_path, THREE), monkeypatch)


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc", "gp"])
def test_every_sampler_draws(tmp_path: Path, monkeypatch: Any, sampler: str) -> None:
    space = {"optimizer": {"lr": [0.001, 0.01, 0.1]}, "epochs": {"low": 1, "high": 2}}
    plan = planned(tmp_path, {"trials": 6, "sampler": sampler, "space": space})
    values = iter(range(99))
    monkeypatch.setattr(
        "bnnlab_optuna.tuner.perform_trial", lambda _: trial.Outcome("complete", value=next(values))
    )
    with closing(tuned(plan, monkeypatch)) as done:
        every = done.study.get_trials()
    assert len(every) == 6
    assert {it.params["epochs"] for it in every} <= {1, 2}
    if sampler == "grid":
        assert len({tuple(it.params.values()) for it in every}) == 6


@pytest.mark.parametrize("pruner", ["median", "hyperband", "successive-halving", "none"])
def test_every_pruner_can_be_asked(tmp_path: Path, monkeypatch: Any, pruner: str) -> None:
    """After each of two seeds; the runs are not carried out."""
    run = Record("run", None, "complete", {}, {"average_accuracy": 0.5})
    monkeypatch.setattr(trial, "perform", lambda _: Outcome("complete"))
    monkeypatch.setattr(Record, "read", lambda _: run)
    plan = planned(tmp_path, {**THREE, "trials": 2, "pruner": pruner, "seeds": 2})
    with closing(tuned(plan, monkeypatch)) as done:
        assert done.study.best_trial
        assert [*done.study.get_trials()[0].intermediate_values.values()] == [0.5, 0.5]
    assert type(make_pruner("wilcoxon")).__name__ == "WilcoxonPruner"
    assert make_sampler("tpe", plan.space, 0, 1)
