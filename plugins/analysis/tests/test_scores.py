"""Top-k accuracy is scikit-learn's, and the errors of real numbers are those of NumPy."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, root_mean_squared_error, top_k_accuracy_score
from small_runs import experiment

from bnnlab import PluginHost
from bnnlab.interfaces.prediction import Prediction, RealPrediction
from bnnlab_analysis.scores import RealErrors, TopK


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.mark.parametrize("k", [1, 3, 9])
def test_top_k_accuracy_is_that_of_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    p = rng.dirichlet(np.ones(9), 200)
    targets = rng.integers(0, 9, 200)
    nothing = torch.zeros(200)
    made = Prediction(torch.tensor(p), nothing, nothing, torch.tensor(targets))
    expected = top_k_accuracy_score(targets, p, k=k, labels=np.arange(9)) if k < 9 else 1.0
    assert TopK(k=k).score(made) == {"top_k_accuracy": pytest.approx(expected)}
    assert TopK(k=20).score(made) == {"top_k_accuracy": 1.0}


def test_errors_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    outputs, targets = rng.normal(size=(2, 50, 3))
    made = RealPrediction(torch.tensor(outputs), torch.zeros(50, 3), torch.tensor(targets))
    expected = {
        "rmse": root_mean_squared_error(targets.ravel(), outputs.ravel()),
        "mae": mean_absolute_error(targets, outputs),
    }
    assert RealErrors().score(made) == pytest.approx(expected)


def test_top_1_is_the_accuracy_of_each_task_seen(host: PluginHost) -> None:
    result = experiment(host, None, {"probe": {"top-k": {"k": 1}}}).run()
    assert result["top_k_accuracy"] == pytest.approx(result["accuracy"][-1])
