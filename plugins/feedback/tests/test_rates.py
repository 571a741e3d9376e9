"""B learns at the rates that the schedule of a run leaves, and by what its clip leaves."""

from typing import Any

import numpy as np
import pytest
import torch

import bnnlab
from bnnlab import LearningRule, PluginHost
from bnnlab.engine.preparing import prepare
from bnnlab.engine.rates import Rates
from bnnlab.settings.layers import resolve
from bnnlab_feedback.kolen_pollack import KolenPollack
from bnnlab_feedback.rule import key
from bnnlab_testing.equations import float64

RATE, DECAY = 0.1, 0.05
RUN: dict[str, Any] = {
    "rule": {"name": "kolen-pollack", "rate": RATE, "decay": DECAY},
    "optimizer": {
        "name": "sgd", "lr": RATE, "weight_decay": DECAY / RATE, "momentum": 0.0,
        "latent_clip": "none",
    },
    "model": {"weights": "real", "hidden": [12], "norm": "none", "activation": "tanh"},
    "stream": {"name": "permuted-digits", "tasks": 2},
    "epochs": 2, "batch_size": 300, "out": "none",
}  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule": "cosine", "schedule_by": "step", "warmup": 3, "task_decay": 0.5},
        {"clip_value": 1e-3},
        {"clip_value": 1e-3, "accumulate": 3, "task_decay": 2.0},
        {"rule": {"name": "replay", "base": RUN["rule"]}, "task_decay": 0.5, "clip_value": 1e-3},
    ],
)
def test_the_distance_of_w_and_b_shrinks_by_the_decay_of_each_step(
    settings: dict[str, Any],
) -> None:
    """After all steps t, W - B is the product of 1 - f_t decay times what it was."""
    host = PluginHost()
    experiment = prepare(host, resolve(host, [RUN, settings]))
    made, rates = experiment.made, Rates(experiment.made)
    factors = [
        rates.factor(task.index, epoch, step)
        for task in made.tasks
        for epoch in range(made.epochs_of(task))
        for step in range(made.steps_in(task, epoch))
    ]
    rule = inner(made.rule)
    (name,) = rule.layers
    before = distance(rule, made.model, name)
    experiment.run()
    rule.step_started()  # lets B learn from the last step
    shrunk = np.prod([1 - factor * DECAY for factor in factors])
    np.testing.assert_allclose(
        distance(rule, made.model, name), shrunk * before, rtol=1e-3, atol=1e-5
    )


def inner(rule: LearningRule) -> KolenPollack:
    found: Any = getattr(rule, "base", rule)
    assert isinstance(found, KolenPollack)
    return found


def distance(rule: KolenPollack, model: bnnlab.Model, name: str) -> Any:
    return float64(model.get_parameter(f"{name}.weight")) - float64(rule.get_buffer(key(name)))


def test_what_the_last_step_left_has_its_factor_also_when_it_is_saved() -> None:
    model = bnnlab.Model(
        [torch.nn.Linear(4, 3, bias=False), torch.nn.Linear(3, 2, bias=False)], input_shape=(4,)
    )
    batch = torch.randn(5, 4), torch.tensor([0, 1, 0, 1, 0])
    found = []
    for factor, saves in ((1.0, False), (0.5, False), (0.5, True)):
        rule = KolenPollack(rate=1.0, decay=0.0)
        rule.attach(model, torch.Generator().manual_seed(1))
        (name,) = rule.layers
        start = rule.get_buffer(key(name)).clone()
        rule.rate_factor = factor
        rule.closure(model, batch)()
        rule.rate_factor = 1.0
        if saves:
            state = rule.state_dict()
            rule = KolenPollack(rate=1.0, decay=0.0)
            rule.attach(model, torch.Generator().manual_seed(1))
            rule.load_state_dict(state)
        rule.step_started()
        found.append(rule.get_buffer(key(name)) - start)
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(found[1], found[0] / 2)
    assert torch.equal(found[1], found[2])
