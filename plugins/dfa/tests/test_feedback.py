"""Feedback matrices, what they are sized by, and what is refused."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import BinaryLinear, Model, RunError, Sign, UsageError, binarize
from bnnlab_dfa.rule import DirectFeedbackAlignment
from bnnlab_testing.equations import draws, float64

create = partial(bnnlab.create, host=bnnlab.PluginHost())


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("feedback", ["normal", "uniform", "sign"])
def test_feedback_has_mean_0_and_standard_deviation_scale_over_root_d(
    feedback: Any, scale: float
) -> None:
    sizes = (400, 900)
    model = Model([nn.Linear(3, 400), nn.Linear(400, 900), nn.Linear(900, 50)], input_shape=(3,))
    rule = create("rule", "dfa", model, feedback=feedback, scale=scale)
    for number, size in enumerate(sizes, start=1):
        B = rule.get_buffer(f"B{number}")
        assert B.shape == (50, size)
        std = scale / math.sqrt(size)
        assert abs(B.mean()) < 5 * std / math.sqrt(B.numel())
        assert B.std() == pytest.approx(std, rel=0.02)
        values = B.abs().unique()
        if feedback == "sign":
            assert values.tolist() == pytest.approx([std])
        else:
            assert len(values) > 1000
            limit = math.sqrt(3) if feedback == "uniform" else 6
            assert values.max() <= limit * std * (1 + 1e-6)


PUBLISHED: dict[str, tuple[dict[str, Any], Callable[[int, int, int], float]]] = {
    "Nokland, within 1 / sqrt(d)": ({"scale": 3**-0.5}, lambda _k, d, _c: d**-0.5),
    "Frenkel et al., Kaiming": ({"scale": 2**0.5}, lambda _k, d, _c: (6 / d) ** 0.5),
    "Crulis et al., Kaiming of (K, C)": ({"fan": "in"}, lambda _k, _d, c: (3 / c) ** 0.5),
    "Dellaferrera and Kreiman, nok": (
        {"fan": "out", "scale": 3**-0.5}, lambda k, _d, _c: k**-0.5,
    ),
    "Crulis et al. (2023), within 1": ({"fan": "none", "scale": 3**-0.5}, lambda *_: 1.0),
}  # fmt: skip
"""Options, and within what the published feedback weights are uniform: for K, d and the columns."""


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("per", ["neuron", "channel"])
def test_published_sizes_of_feedback_weights_can_be_said(name: str, per: str) -> None:
    options, limit = PUBLISHED[name]
    parts = (
        nn.Conv2d(1, 24, 3),
        nn.Conv2d(24, 96, 3),
        nn.Sequential(nn.Flatten(), nn.Linear(96 * 16, 40)),
    )
    model = Model(parts, (1, 8, 8))
    rule = create("rule", "drtp", model, feedback="uniform", per=per, **options)
    for number, (channels, places) in enumerate([(24, 36), (96, 16)], start=1):
        B = rule.get_buffer(f"B{number}")
        wanted = limit(40, channels * places, B.shape[1])
        assert B.abs().max() == pytest.approx(wanted, rel=0.02)
        assert B.abs().max() <= wanted * (1 + 1e-6)


def test_feedback_with_a_mean_of_root_3_is_uniform_from_0_on() -> None:
    model = Model([nn.Linear(3, 900), nn.Linear(900, 50)], input_shape=(3,))
    rule = create("rule", "dfa", model, feedback="uniform", mean=math.sqrt(3))
    plain = create("rule", "dfa", model, feedback="uniform").get_buffer("B1")
    B = rule.get_buffer("B1")
    torch.testing.assert_close(B, plain + math.sqrt(3 / 900))
    assert B.min() == pytest.approx(0, abs=1e-4)
    assert B.max() == pytest.approx(2 * math.sqrt(3 / 900), rel=0.01)


def test_a_model_of_one_segment_is_refused_and_told_how_to_be_cut() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x + self.outer(self.inner(x))
            return y

    model = binarize(Residual(), "all", input_shape=(4,))
    with pytest.raises(UsageError, match=r"two segments.*nn\.Sequential"):
        create("rule", "dfa", model)


def test_a_model_that_does_not_know_its_inputs_shape_is_refused_and_told_how_to() -> None:
    model = Model([nn.Linear(4, 4), nn.Linear(4, 2)])
    with pytest.raises(UsageError, match="input_shape="):
        create("rule", "dfa", model)


def test_one_dimensional_convolutions_are_weight_layers_and_their_channels_are_refused() -> None:
    def net() -> Model:
        parts = (
            nn.Conv1d(2, 4, 3),
            nn.Conv1d(4, 4, 3),
            nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
        )
        return Model(parts, (2, 8))

    model = net()
    rule = create("rule", "dfa", model, skip="leak")
    assert [tuple(buffer.shape) for buffer in rule.buffers()] == [(3, 24), (3, 16)]
    for options in ({"per": "channel"}, {"at": "norm"}):
        with pytest.raises(UsageError, match="not of 1-d and 3-d convolutions"):
            create("rule", "dfa", net(), **options)


def test_tokens_share_feedback_per_channel_over_their_positions() -> None:
    model = Model(
        [nn.Sequential(BinaryLinear(4, 6), Sign()), nn.Sequential(nn.Flatten(), nn.Linear(30, 3))],
        input_shape=(5, 4),
    )
    rule = create("rule", "dfa", model, per="channel")
    assert rule.get_buffer("B1").shape == (3, 6)
    e = torch.randn(2, 3)
    signal = rule.project(1, e, torch.zeros(2, 5, 6))
    for position in range(5):
        assert torch.equal(signal[:, position], e @ rule.get_buffer("B1"))


@pytest.mark.parametrize(("shape", "axis"), [((5, 6), 2), ((6, 3, 4), 1), ((6,), 1)])
@pytest.mark.parametrize("per", ["neuron", "channel"])
def test_feedback_may_be_the_gradient_of_an_outputs_normalisation(
    shape: tuple[int, ...], axis: int, per: str
) -> None:
    segment = nn.Sequential(nn.Linear(2, math.prod(shape)), nn.Unflatten(1, shape))
    tail = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3))
    model = Model([segment, tail], input_shape=(2,)).double()
    rule, plain = (create("rule", "dfa", model, per=per, at=at) for at in ("norm", "output"))
    e, h = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, *shape, dtype=torch.float64) * 7
    found, g = (float64(each.project(1, e, h)) for each in (rule, plain))

    x = float64(h)
    sigma = np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    u = (x - x.mean(axis, keepdims=True)) / sigma
    wanted = g - g.mean(axis, keepdims=True) - u * (g * u).mean(axis, keepdims=True)
    np.testing.assert_allclose(found, wanted / sigma, atol=1e-12)
    # Nothing pushes an output to grow.
    assert np.abs((found * x).sum(axis)).max() < 1e-4 * np.abs((g * x).sum(axis)).max()


@pytest.mark.parametrize("kind", ["dfa", "drtp"])
@pytest.mark.parametrize("skip", ["cut", "leak"])
def test_both_rules_teach_normalised_outputs(kind: str, skip: str) -> None:
    def gradient(at: str) -> Tensor:
        model = Model([nn.Linear(4, 8), nn.Linear(8, 3)], input_shape=(4,))
        model.load_state_dict(state)
        rule = create("rule", kind, model, at=at, skip=skip)
        rule.closure(model, (x, y))()
        found = model.segments[0].weight.grad
        assert isinstance(found, Tensor)
        return found

    state = Model([nn.Linear(4, 8), nn.Linear(8, 3)], input_shape=(4,)).state_dict()
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    assert not torch.allclose(gradient("norm"), gradient("output"))


def test_leaking_and_recomputing_exclude_each_other() -> None:
    with pytest.raises(UsageError, match=r"recompute.*rule\.skip to 'cut'"):
        DirectFeedbackAlignment(skip="leak", recompute=True)


def test_leaking_leaves_layers_that_read_the_networks_input_alone() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.c(torch.tanh(self.a(x) + self.b(x)))
            return y

    model = Model([Two(), nn.Linear(3, 3)], input_shape=(4,))
    rule = create("rule", "dfa", model, skip="leak")
    rule.closure(model, (torch.randn(6, 4, generator=draws(0)), torch.arange(6) % 3))()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_leaking_names_a_layer_that_runs_in_training_only() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.a(x)
            return y + self.b(y) if self.training else y

    model = Model([Auxiliary(), nn.Linear(5, 3)], input_shape=(4,))
    rule = create("rule", "dfa", model, skip="leak")
    with pytest.raises(RunError, match=r"more weight layers in training than the 2 .*skip=cut"):
        rule.closure(model, (torch.randn(6, 4), torch.arange(6) % 3))()
