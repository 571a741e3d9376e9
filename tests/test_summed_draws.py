"""Posterior optimizers that take one draw of a large network after another."""

from typing import Any

import pytest
import torch

import bnnlab
from bnnlab_testing.equations import take_networks_for_large
from bnnlab_testing.memory import peak_bytes

REAL = {"weights": "real"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bayesbinn": ({"examples": 100, "momentum": 0.5}, {}),
    "bimu": ({}, {}),
    "mesu": ({}, REAL),
}
EVERY = pytest.mark.parametrize("name", CASES)


class Learner:
    """Makes steps on batches of noise."""

    def __init__(self, name: str, draws: int, inputs: int = 20) -> None:
        options, network = CASES[name]
        self.model = bnnlab.create(
            "model", "mlp", input_shape=(inputs,), classes=3, hidden=[100], **network
        )
        self.rule = bnnlab.create("rule", "bp", self.model)
        self.optimizer = bnnlab.create("optimizer", name, self.model, train_draws=draws, **options)
        self.inputs = inputs

    def step(self, seed: int = 0) -> float:
        draws = torch.Generator().manual_seed(seed)
        x = torch.randn(4, self.inputs, generator=draws)
        y = torch.randint(0, 3, (4,), generator=draws)
        return float(self.optimizer.step(self.rule.closure(self.model, (x, y))))


@EVERY
def test_a_large_network_goes_on_bit_for_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_networks_for_large(monkeypatch)
    one, other = Learner(name, 3), Learner(name, 3)
    for seed in range(3):
        one.step(seed)
    other.model.load_state_dict(one.model.state_dict())
    other.optimizer.load_state_dict(one.optimizer.state_dict())
    assert [one.step(seed) for seed in (3, 4)] == [other.step(seed) for seed in (3, 4)]
    for mine, its in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, its)
        for key, value in one.optimizer.state[mine].items():
            assert torch.equal(value, other.optimizer.state[its][key])


@EVERY
def test_more_draws_of_a_large_network_take_no_more_memory(name: str) -> None:
    peaks = []
    for draws in (2, 5):
        learner = Learner(name, draws, inputs=4000)
        peaks.append(peak_bytes(learner.step))
    assert peaks[1] < 1.05 * peaks[0]
