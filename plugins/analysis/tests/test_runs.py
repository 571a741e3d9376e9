"""What the probes measure in whole runs, and that they change nothing in them."""

import math
from itertools import groupby
from pathlib import Path

import pytest
import torch
from small_runs import experiment, found, metrics, resume

from bnnlab import PluginHost, Result


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.fixture(scope="module")
def plain(host: PluginHost) -> Result:
    """A run that measures no more than usual; not to be changed."""
    return experiment(host, None).run()


@pytest.fixture(scope="module")
def compared(
    host: PluginHost, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, list[int]]:
    """The same with fresh models, and the task of every step."""
    taught: list[int] = []
    run = experiment(host, tmp_path_factory.mktemp("compared"), {"fresh": True})
    return run.run(lambda task, *_: taught.append(task)), taught


def test_with_a_posterior_uncertainty_is_measured_after_every_task(
    host: PluginHost, tmp_path: Path
) -> None:
    posterior = {"rule": "bp", "optimizer": {"name": "bimu", "test_draws": 3}}
    result = experiment(host, tmp_path, posterior).run()
    rows = [line for line in metrics(tmp_path / "run") if line["event"] == "evaluation"]
    assert [len(row["uncertainty"]["ood_auroc_tasks"]) for row in rows] == [1, 2]
    assert rows[-1]["uncertainty"] == result.uncertainty
    assert result.uncertainty["epistemic"] > 0
    assert 0 < result.uncertainty["ood_auroc"] <= 1
    assert "the mean of 3 weight draws" in result.protocol_description["score"]
    assert [each.keys() for each in result.diagnostics] == [{"saturated"}] * 2
    few = experiment(host, None, posterior, {"optimizer": {"test_draws": 1}}).run()
    for one, other in zip(few.model.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(one, other), "how often is drawn at test changes what is learned"


def test_without_a_posterior_it_is_measured_where_asked_for(
    host: PluginHost, plain: Result
) -> None:
    asked = experiment(host, None, {"uncertainty": True}).run()
    assert plain.uncertainty == {}
    assert asked.uncertainty["epistemic"] == 0
    assert asked.uncertainty["nll"] > 0
    assert asked.accuracy == plain.accuracy
    assert asked.protocol == plain.protocol
    assert "the deployed weights" in asked.protocol_description["score"]


def test_a_told_task_has_no_unknown_inputs(host: PluginHost) -> None:
    layer = {"uncertainty": True, "epochs": 1, "stream": {"tasks": 1, "task_ids": True}}
    measured = experiment(host, None, layer).run().uncertainty
    assert "nll" in measured
    assert "ood_auroc" not in measured


def test_fresh_models_learn_each_task_alone(
    plain: Result, compared: tuple[Result, list[int]]
) -> None:
    result, taught = compared
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


def test_a_fresh_model_learns_at_the_rates_of_its_task(host: PluginHost) -> None:
    """They are next to nothing in the second task, so it predicts as it was drawn."""
    layer = {"fresh": True, "task_decay": 1e-30}
    result = experiment(host, None, layer).run()
    assert result.fresh_accuracy[1] == result.measures["untrained_accuracy"][1]
    assert result.fresh_accuracy[0] == result.accuracy[0][0]


def test_an_interrupted_comparison_with_fresh_models_goes_on(
    host: PluginHost, tmp_path: Path, compared: tuple[Result, list[int]]
) -> None:
    whole, _ = compared
    assert whole.folder is not None
    assert len(metrics(whole.folder)) == 9, "what the fresh models do is not logged"
    torn = experiment(host, tmp_path, {"fresh": True})
    seen: list[int] = []

    def stepped(*_: int) -> None:
        seen.append(1)
        if len(seen) == 5 * math.ceil(1437 / 200):  # in the second epoch of the first fresh one
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torn.run(stepped)
    again = resume(host, tmp_path / "run")
    assert again.learner.progress.task == 2
    assert found(again.run()) == found(whole)
