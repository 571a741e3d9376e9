"""Studies of small runs, in this process."""

import csv
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import tomli
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from tuning_runs import planned, pretend, tuned, with_trials

from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab_optuna import outcome
from bnnlab_optuna.choices import make_pruner, make_sampler
from bnnlab_optuna.ownership import UNOWNED, Ownership
from bnnlab_optuna.plan import Plan
from bnnlab_optuna.tuner import ABOUT, VALUES, Tuner

COMPLETE, FAIL = TrialState.COMPLETE, TrialState.FAIL
ELSEWHERE = "postgresql+psycopg://nowhere/none"
ONE_TASK: dict[str, Any] = {"name": "digits", "validation": 0.2}


def write(plan: Plan, done: Tuner) -> list[str]:
    """Write what was found; return what could not be written."""
    study = done.ownership.study
    return outcome.write(plan, study, outcome.find(study))[1]


def test_a_study_is_made_and_gone_on_with(tmp_path: Path, monkeypatch: Any) -> None:
    plan = planned(tmp_path, {"trials": 2, "seeds": [3, 4]}, stream=ONE_TASK)
    with closing(tuned(plan, monkeypatch)) as done:
        first = done.ownership.study.get_trials()
        write(plan, done)
    assert [it.state for it in first] == [COMPLETE] * 2
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

    with closing(tuned(with_trials(plan, 3), monkeypatch)) as done:
        assert done.ownership.study.get_trials()[:2] == first
        assert len(done.ownership.study.get_trials()) == 3


def test_the_best_file_is_a_run_file_that_is_evaluated_on_test(
    tmp_path: Path, monkeypatch: Any
) -> None:
    from bnnlab import run

    space = {"optimizer": {"lr": [0.01, 0.1]}, "model": {"hidden": [[8], [8, 8]]}}
    plan = planned(tmp_path, {"trials": 2, "space": space})
    with monkeypatch.context() as patch:
        pretend(patch, 0.5, 0.6)
        with closing(tuned(plan, patch)) as done:
            best = done.ownership.study.best_trial
            write(plan, done)
    result = run(plan.folder / "best.toml", seed=9)
    assert result.evaluate_on == "test"
    said = tomli.loads((plan.folder / "best.toml").read_text())
    assert best.number == 1
    assert said["optimizer"]["lr"] == best.params["optimizer.lr"]
    assert str(said["model"]["hidden"]) == best.params["model.hidden"]
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
    with closing(tuned(planned(tmp_path, {"trials": 1}), monkeypatch)) as done:
        assert done.ownership.study.best_trial.number == 0
    assert tests
    assert read


def test_without_a_validation_part_nothing_begins(tmp_path: Path, monkeypatch: Any) -> None:
    plan = planned(tmp_path, {}, stream={"name": "permuted-digits", "tasks": 2})
    with pytest.raises(UsageError, match=r"stream.validation=0.1"):
        tuned(plan, monkeypatch)
    assert not plan.folder.exists()
    corrected = planned(tmp_path, {"trials": 1}, stream=ONE_TASK)
    with closing(tuned(corrected, monkeypatch)) as done:
        assert len(done.ownership.study.get_trials()) == 1


def test_a_measure_that_no_run_has_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(UsageError, match="Did you mean 'average_accuracy'"):
        planned(tmp_path, {"measure": "average_acuracy", "direction": "maximize"})
    late = planned(tmp_path, {"measure": "uncertainty.ecce", "direction": "minimize"})
    for _ in range(2):  # and so it is if the command is given again
        with pytest.raises(UsageError, match=r"did not measure uncertainty\.ecce"):
            tuned(late, monkeypatch)
        assert [it.name for it in late.folder.glob("trial-*")] == ["trial-0000"]
    (tmp_path / "none").mkdir()
    pretend(monkeypatch, None)
    with pytest.raises(UsageError, match="did not measure average_accuracy"):
        tuned(planned(tmp_path / "none", {}), monkeypatch)


def test_a_measure_that_evaluations_leave_out_is_refused_before_a_run(
    tmp_path: Path, monkeypatch: Any
) -> None:
    stream = {"name": "permuted-digits", "tasks": 2, "validation": 0.2}
    said = {"stream": stream, "evaluate": "final", "fresh": True}
    for measure in ("forgetting", "retention.0", "plasticity"):
        plan = planned(tmp_path, {"measure": measure, "direction": "minimize"}, **said)
        with pytest.raises(UsageError, match=rf"{measure} is not.*evaluate=all.*average_accuracy"):
            tuned(plan, monkeypatch)
        assert not plan.folder.exists()


def test_trials_that_fail_alike_stop_the_study(tmp_path: Path, monkeypatch: Any) -> None:
    told = []
    pretend(monkeypatch, *["it broke"] * 9)
    with pytest.raises(RunError, match=r"all 5 trials failed alike.*it broke"):
        tuned(planned(tmp_path, {"trials": 9}), monkeypatch, told.append)
    assert [it.state for it in told] == [FAIL] * 5
    assert told[0].user_attrs[ABOUT] == "trial 0, seed 0: it broke"


def test_a_failed_trial_does_not_stop_the_others(tmp_path: Path, monkeypatch: Any) -> None:
    """A measure that is no number fails its trial, too."""
    pretend(monkeypatch, 0.5, "it broke", float("nan"), None, [0.5], 0.6)
    with closing(tuned(planned(tmp_path, {"trials": 6}), monkeypatch)) as done:
        trials = done.ownership.study.get_trials()
    assert [it.state for it in trials] == [COMPLETE, *[FAIL] * 4, COMPLETE]
    assert "no finite number" in trials[2].user_attrs[ABOUT]
    assert "did not measure average_accuracy" in trials[3].user_attrs[ABOUT]
    assert "Did you mean 'average_accuracy.0'" in trials[4].user_attrs[ABOUT]


def test_a_storage_that_fails_in_the_middle_is_said_in_a_line(
    tmp_path: Path, monkeypatch: Any
) -> None:
    def damage(_: Any) -> None:
        (tmp_path / "study/study.db").write_bytes(b"no database" * 999)

    pretend(monkeypatch, 0.5, 0.6)
    with pytest.raises(RunError, match=r"study\.db cannot be used.*to continue: bnn tune"):
        tuned(planned(tmp_path, {}), monkeypatch, damage)


def test_one_task_reports_each_epoch_and_is_stopped(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        optuna.pruners.MedianPruner, "prune", lambda self, study, it: it.number == 1
    )
    plan = planned(tmp_path, {"trials": 2}, stream=ONE_TASK, epochs=3)
    with closing(tuned(plan, monkeypatch)) as done:
        whole, pruned = done.ownership.study.get_trials()
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
    with closing(tuned(planned(tmp_path, {"trials": 1}), monkeypatch)) as done:
        (only,) = done.ownership.study.get_trials()
    assert only.state is COMPLETE
    assert not only.intermediate_values
    assert "no run is pruned" in caplog.text


def test_seeds_are_reported_one_by_one(tmp_path: Path, monkeypatch: Any) -> None:
    """To Wilcoxon's pruner as they are; to others as the trial's value so far."""
    values = [0.5, 0.6, 0.7, 0.8, 0.9]
    so_far = [0.5, 0.55, 0.6, 0.65, 0.7]
    for pruner, reported in (("wilcoxon", values), ("median", so_far)):
        (tmp_path / pruner).mkdir()
        plan = planned(tmp_path / pruner, {"trials": 1, "seeds": 5, "pruner": pruner})
        pretend(monkeypatch, *values)
        with closing(tuned(plan, monkeypatch)) as done:
            (only,) = done.ownership.study.get_trials()
        assert [*only.intermediate_values.values()] == pytest.approx(reported)
        assert only.value == pytest.approx(0.7)
        assert only.user_attrs[VALUES] == values


def test_a_trial_is_pruned_after_a_seed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        optuna.pruners.MedianPruner, "prune", lambda self, study, it: it.last_step == 1
    )
    pretend(monkeypatch, 0.5, 0.6)
    with closing(tuned(planned(tmp_path, {"trials": 1, "seeds": 3}), monkeypatch)) as done:
        (only,) = done.ownership.study.get_trials()
    assert only.state is TrialState.PRUNED
    assert only.user_attrs[ABOUT] == "after 2 of 3 seeds"


def test_what_a_dead_process_left_is_gone_on_with(tmp_path: Path, monkeypatch: Any) -> None:
    plan, storage = planned(tmp_path, {"trials": 2, "storage": ELSEWHERE}), InMemoryStorage()
    dead = Ownership(storage, plan)
    dead.release(dead.take().number)
    dead.study.ask()  # it died before it said where the trial is
    early = Ownership(storage, plan)
    assert early.take().number == 0
    assert early.take() is None  # another machine may have asked for 1 just now
    assert UNOWNED > 10
    monkeypatch.setattr("bnnlab_optuna.ownership.UNOWNED", -1)
    late = Ownership(storage, plan)
    assert late.take().number == 1
    assert late.take() is None  # the other has 0


def test_trials_are_drawn_alike_after_an_interruption(tmp_path: Path) -> None:
    drawn = []
    for name, parts in (("whole", [4]), ("parts", [1, 2, 1])):
        (tmp_path / name).mkdir()
        plan, storage = planned(tmp_path / name, {}), InMemoryStorage()
        for count in parts:
            part = Ownership(storage, plan)
            for _ in range(count):
                trial = part.take()
                part.study.tell(trial, trial.params["optimizer.lr"])
        drawn.append([it.params["optimizer.lr"] for it in part.study.get_trials()])
    assert drawn[0] == drawn[1]
    assert len({*drawn[0]}) == 4


def test_another_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    Ownership(storage, planned(tmp_path, {})).take()
    with pytest.raises(UsageError, match="tunes something else"):
        Ownership(storage, planned(tmp_path, {}, epochs=2))
    with pytest.raises(UsageError, match="has trials, and the storage no study 'study'"):
        Ownership(InMemoryStorage(), planned(tmp_path, {}))
    (tmp_path / "study/study.toml").write_text("[sweep]")
    with pytest.raises(UsageError, match="holds another study"):
        Ownership(InMemoryStorage(), planned(tmp_path, {}))


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc", "gp"])
def test_every_sampler_draws(tmp_path: Path, sampler: str) -> None:
    space = {"optimizer": {"lr": [0.001, 0.01, 0.1]}, "epochs": {"low": 1, "high": 2}}
    plan = planned(tmp_path, {"trials": 6, "sampler": sampler, "space": space})
    own = Ownership(InMemoryStorage(), plan)
    for value in range(6):
        own.study.tell(own.take(), value)
    assert own.take() is None
    every = own.study.get_trials()
    assert {it.params["epochs"] for it in every} <= {1, 2}
    if sampler == "grid":
        assert len({tuple(it.params.values()) for it in every}) == 6


@pytest.mark.parametrize(
    "pruner", ["median", "hyperband", "successive-halving", "wilcoxon", "none"]
)
def test_every_pruner_can_be_asked(tmp_path: Path, pruner: Any) -> None:
    sampler = make_sampler("random", planned(tmp_path, {}).space, 0, 0)
    study = optuna.create_study(sampler=sampler, pruner=make_pruner(pruner))
    asked = []
    for value in range(8):
        trial = study.ask()
        for step in range(5):
            trial.report(value + step, step)
            asked.append(trial.should_prune())
        study.tell(trial, value)
    assert any(asked) == (pruner != "none")
