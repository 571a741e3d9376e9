"""Whole steps of the optimizers beside bimu are single steps with torch's network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_runs
import torch
from small_runs import assert_same, left, left_torn
from torch import Tensor

import bnnlab
from bnnlab import PluginHost, seeds
from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.objectives import CLASSES
from bnnlab.interfaces.policy import USUAL
from bnnlab_kernels.compiled import kernels_of

REAL = {"weights": "real", "activation": "relu"}
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "adam": ("adam", {"lr": 0.01, "weight_decay": 0.01}, {}),
    "sgd": ("sgd", {"lr": 0.05}, {}),
    "meta": ("meta", {"m": [0.0, 20.0], "lr": 0.01}, {}),
    "meta real": ("meta", {"weights": "real", "m": 1.0, "lr": 0.01}, REAL),
    "bop": ("bop", {"gamma": [0.1, 0.2], "threshold": 0.01, "gamma_decay": 0.9,
                    "gamma_decay_steps": 7}, {}),
    "bayesbinn": ("bayesbinn", {"momentum": 0.9, "examples": 24, "train_draws": 2,
                                "temperature": 1.0}, {}),
    "bayesbinn sign": ("bayesbinn", {"mode": "sign", "lr": 0.1, "lambda_init": 1e-2}, {}),
    "mesu": ("mesu", {"batch_size": 1, "train_draws": 2, "memory": 100.0}, REAL),
    "bgd": ("bgd", {"batch_size": 1, "train_draws": 1}, REAL),
}  # fmt: skip

pytestmark = pytest.mark.slow  # it takes seconds to compile each


def learner(which: str) -> tuple[Any, Any, Any]:
    """Return a model of one hidden layer, its rule and its optimizer, with kernels."""
    name, options, network = OPTIMIZERS[which]
    sizes = {"input_shape": (1, 5, 5), "classes": 4, "hidden": [12]}
    model = bnnlab.create("model", "mlp", seed=0, **sizes, **network)
    rule = bnnlab.create("rule", "bp", model, seed=0)
    optimizer = bnnlab.create("optimizer", name, model, seed=0, **options)
    optimizer.kernels = kernels_of(optimizer)
    return model, rule, optimizer


def whole_steps(made: Any) -> Any:
    model, rule, optimizer = made
    train = SimpleNamespace(augment=None)
    task: Any = SimpleNamespace(train=train, objective=CLASSES, classes=None)
    run: Any = SimpleNamespace(
        model=model, rule=rule, optimizer=optimizer, tasks=[task], policy=USUAL
    )
    found = optimizer.kernels.whole_steps(run)
    return found if isinstance(found, str) else lambda *pair: found(*pair, task)


def examples(count: int = 10) -> tuple[Tensor, Tensor]:
    draws = seeds.generator(0, "examples")
    return torch.randn(count, 1, 5, 5, generator=draws), torch.arange(count) % 4


@pytest.mark.parametrize("which", OPTIMIZERS)
def test_whole_steps_are_single_steps(which: str) -> None:
    one, (model, rule, optimizer) = learner(which), learner(which)
    loss = TaskLoss(CLASSES)
    for _ in range(2):  # the second call goes on
        found, _ = whole_steps(one)(*examples())
        losses = []
        for pair in zip(*(each.split(1) for each in examples()), strict=True):
            losses.append(optimizer.step(rule.closure(model, bnnlab.Batch(*pair, loss))))
        torch.testing.assert_close(found, torch.stack(losses), rtol=1e-3, atol=1e-4)
    for p, q in zip(one[2].learned(), optimizer.learned(), strict=True):
        mine, its = one[2].state[p], optimizer.state[q]
        assert mine.keys() == its.keys()
        for name in (name for name, value in its.items() if isinstance(value, Tensor)):
            torch.testing.assert_close(mine[name], its[name], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
    for mine, its in zip(one[2].learned_groups(), optimizer.learned_groups(), strict=True):
        one_run = {"params": [], "batch_size": 1}  # which only a step of a run is told
        assert {**mine, **one_run} == {**its, **one_run}
    mine, its = one[2].diagnostics(), optimizer.diagnostics()
    assert mine == pytest.approx(its, rel=1e-3)


def test_a_gradient_that_is_clipped_is_said() -> None:
    model, rule, _ = learner("adam")
    optimizer = bnnlab.create("optimizer", "adam", model, seed=0, gradient_clip=1.0)
    optimizer.kernels = kernels_of(optimizer)
    assert "gradient_clip is set" in whole_steps((model, rule, optimizer))


@pytest.mark.slow
@pytest.mark.parametrize("size", [{"batch_size": 1, "steps": 60}, {"batch_size": 10, "steps": 8}])
@pytest.mark.parametrize("which", ["adam", "meta", "bop", "bayesbinn", "mesu"])
def test_a_run_goes_on_from_every_checkpoint_bit_for_bit(
    which: str, size: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, options, network = OPTIMIZERS[which]
    usual = {"rule": "bp", "kernels": "compiled", "epochs": 1, "checkpoint_minutes": 0}
    given = {key: value for key, value in options.items() if key != "batch_size"}
    made = {"optimizer": {"name": name, **given}, "model": {"hidden": [12], **network}}
    host = PluginHost()
    whole = left(small_runs.experiment(host, tmp_path / "whole", usual, size, made))
    run = small_runs.experiment(host, tmp_path / "torn", usual, size, made)
    torn, crashes = left_torn(host, run, monkeypatch)
    assert crashes > 5
    assert_same(torn, whole)
