"""The confusion matrix is scikit-learn's, is small, and agrees with the accuracies."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, recall_score
from small_runs import experiment, found, metrics

from bnnlab import PluginHost
from bnnlab.interfaces.prediction import Prediction
from bnnlab.interfaces.probe import Moment
from bnnlab_analysis import confusion
from bnnlab_analysis.confusion import Confusion, class_accuracy, count


def prediction(targets: Any, predicted: Any, classes: int) -> Prediction:
    p = torch.nn.functional.one_hot(torch.as_tensor(predicted), classes).float()
    nothing = torch.zeros(len(p))
    return Prediction(p, nothing, nothing, torch.as_tensor(targets))


def dense(cells: Any, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), int)
    for true, predicted, examples in cells:
        counts[true, predicted] = examples
    return counts


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_it_is_the_matrix_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    targets = rng.integers(0, classes - 1, 300)  # the last one does not occur
    predicted = np.where(rng.random(300) < 0.5, targets, rng.integers(0, classes, 300))
    cells = count(prediction(targets, predicted, classes))
    labels = np.arange(classes)
    expected = confusion_matrix(targets, predicted, labels=labels)
    np.testing.assert_array_equal(dense(cells.tolist(), classes), expected)
    assert len(cells) == np.count_nonzero(expected)
    assert cells.tolist() == sorted(cells.tolist())
    shares = class_accuracy(cells, classes)
    recall = recall_score(targets, predicted, labels=labels, average=None, zero_division=np.nan)
    np.testing.assert_allclose(np.array(shares, float), recall, rtol=1e-12)
    assert shares[-1] is None


def ask(probe: Confusion, task: int, *predictions: Prediction) -> Any:
    at = Moment(SimpleNamespace(index=task), 1, 1)  # type: ignore[arg-type]
    for index, each in enumerate(predictions):
        probe.predicted(at, SimpleNamespace(index=index), each)  # type: ignore[arg-type]
    return probe.evaluated(at, [])


def test_lines_of_many_classes_and_tasks_are_small_but_the_last_one_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confusion, "CELLS", 30)
    probe = Confusion()
    probe.attach(SimpleNamespace(tasks=[None] * 3, class_names=()))  # type: ignore[arg-type]
    small = prediction(range(10), range(10), 1000)
    large = prediction(range(11), range(11), 1000)
    assert len(ask(probe, 0, small)["confusion"]) == 10
    line = ask(probe, 1, small, large)
    assert line["confusion"] is None
    assert line["class_accuracy"] == [1.0] * 11 + [None] * 989
    assert len(probe.measures()["confusion"]) == 11, "a run that stops here has its matrix"
    assert ask(probe, 2, small, large, large)["confusion"] == probe.measures()["confusion"]
    assert len(json.dumps(probe.measures())) < 10_000


def test_a_class_incremental_run_has_the_rows_of_the_classes_seen(
    host: PluginHost, tmp_path: Path
) -> None:
    split = {"stream": {"name": "split-digits", "tasks": 5}, "probe": "confusion"}
    result = experiment(host, tmp_path, split).run()
    lines = [line for line in metrics(tmp_path / "run") if line["event"] == "evaluation"]
    for line in lines:
        seen = 2 * (line["task"] + 1)
        counts = dense(line["confusion"], 10)
        assert counts.sum(1)[:seen].all()
        assert not counts.sum(1)[seen:].any()
        parts = zip(line["accuracy"], np.split(counts, 5), strict=True)
        for task, (accuracy, rows) in enumerate(parts):
            if task <= line["task"]:
                right = np.trace(rows, offset=2 * task)
                assert accuracy == pytest.approx(right / rows.sum(), rel=1e-12)
        shares = line["class_accuracy"]
        assert [each is None for each in shares] == [n >= seen for n in range(10)]
    assert lines[-1]["confusion"] == result["confusion"]
    assert lines[-1]["class_accuracy"] == result["class_accuracy"]


@pytest.mark.parametrize("evaluate_on", ["test", "validation"])
def test_a_told_task_is_confused_within_its_classes_only(
    host: PluginHost, evaluate_on: str
) -> None:
    settings = {
        "stream": {"name": "split-digits", "tasks": 5, "incremental": "task", "validation": 0.2},
        "evaluate_on": evaluate_on,
    }
    without = experiment(host, None, settings).run()
    run = experiment(host, None, settings, {"probe": "confusion"})
    sizes = [len(task.test) for task in run.made.tasks]
    measured = found(run.run())
    cells = measured.pop("confusion")
    assert all(true // 2 == predicted // 2 for true, predicted, _ in cells)
    assert sum(examples for *_, examples in cells) == sum(sizes)
    del measured["class_accuracy"], measured["class_names"]
    assert measured == found(without), "it changes the run"


def test_the_mean_of_the_draws_counts_and_it_is_measured_before_any_task(host: PluginHost) -> None:
    posterior = {"rule": "bp", "optimizer": {"name": "bimu", "test_draws": 3}}
    result = experiment(host, None, posterior, {"probe": "confusion"}).run()
    counts = dense(result["confusion"], 10)
    accuracy = np.trace(counts) / counts.sum()
    assert accuracy == pytest.approx(result.average_accuracy, rel=1e-12)
    assert not any(Confusion().measures().values())


def test_classes_have_the_names_that_the_stream_says(host: PluginHost) -> None:
    assert experiment(host, None, {}, {"probe": "confusion"}).run()["class_names"] == []
    probe, names = Confusion(), ("<b>cat", "dog")
    probe.attach(SimpleNamespace(tasks=[None], class_names=names))  # type: ignore[arg-type]
    assert probe.measures()["class_names"] == [*names]
