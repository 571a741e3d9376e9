"""A run looks at the model that was made: what its plugin does not declare is refused, too."""

from typing import Any

import pytest
from small_runs import experiment
from torch import nn

from bnnlab import Kind, PluginHost, UsageError
from bnnlab.families.chain import Layers
from bnnlab.settings.fit import check
from bnnlab.settings.layers import resolve
from bnnlab_testing.pytest_plugin import MakePlugin

SILENT = """
from bnnlab import Component, hookimpl

@hookimpl
def bnnlab_components():
    return [Component("model", "silent", "bnnlab_mlp.mlp:MLP", "Says nothing.", "an example",
                      provides=frozenset({"binary-weights", "segments"}))]
"""


@pytest.fixture
def host(make_plugin: MakePlugin) -> PluginHost:
    make_plugin("acme-silent", SILENT)
    return PluginHost()


REAL, PER_TASK = {"weights": "real"}, {"norm": "batch", "statistics": "per-task"}


@pytest.mark.parametrize(
    ("optimizer", "model", "stream", "message"),
    [
        ("bop", REAL, {}, "optimizer:bop requires 'binary-weights', and model:silent has none"),
        ({"name": "ewc", "base": "meta"}, REAL, {}, "optimizer:meta requires 'binary-weights'"),
        ("adam", PER_TASK, {}, r"model:silent: its part segments\.0\.2 goes by the task .*'task-i"),
        ("bop", {"scale": "latent"}, {}, "follows latent weights .*, and Bop writes none"),
        ("adam", PER_TASK, {"task_ids": True}, ""),
        ("adam", {"scale": "latent"}, {}, ""),
    ],
)
def test_what_a_made_model_does_not_have_is_refused(
    optimizer: Any, model: Any, stream: Any, message: str, host: PluginHost
) -> None:
    settings = {"rule": "bp", "optimizer": optimizer, "model": {"name": "silent", **model}}
    settings["stream"] = {"name": "permuted-digits", **stream}
    if not message:
        assert experiment(host, None, settings).made.model.segments
        return
    with pytest.raises(UsageError, match=message):
        experiment(host, None, settings)


def test_what_is_declared_by_chain_is_refused_by_check(host: PluginHost) -> None:
    verdict = check(host, resolve(host, [{"optimizer": "bop", "model": {"name": "mlp", **REAL}}]))
    assert not verdict.compatible
    silent = resolve(host, [{"optimizer": "bop", "model": {"name": "silent", **REAL}}])
    assert check(host, silent).compatible
    assert silent.choices[Kind.MODEL].component.when == ()


def test_a_hidden_layer_of_what_has_no_weight_is_refused_in_words() -> None:
    layers: Any = object.__new__(Layers)
    with pytest.raises(ValueError, match="a Sequential has no weight: give a linear or conv"):
        layers.hidden(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), dropout=0.0)
