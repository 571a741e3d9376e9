"""What is recomputed or passed by changes no result, and how much memory a step holds."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import BatchNorm, BinaryLinear, Model, Sign
from bnnlab.nn.dropout import Dropout
from bnnlab_testing.equations import draws
from bnnlab_testing.memory import peak_bytes

create = partial(bnnlab.create, host=bnnlab.PluginHost())


@pytest.mark.parametrize("recompute", [False, True])
def test_a_model_may_work_in_place_on_its_input(recompute: bool) -> None:
    class Shift(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sub_(1)

    hidden = nn.Sequential(Shift(), nn.Linear(4, 5))
    model = Model([hidden, nn.Linear(5, 3)], input_shape=(4,))
    rule = create("rule", "dfa", model, recompute=recompute)
    x = torch.randn(6, 4, generator=draws(0))
    expected = model(x.clone()).detach()
    closure = rule.closure(model, (x, torch.arange(6) % 3))
    closure()
    assert closure.logits is not None
    torch.testing.assert_close(closure.logits, expected)


def torn_model() -> Model:
    """Batch statistics of torch and of ours, and randomness, inside the segments."""
    g = draws(1)
    return Model(
        [
            nn.Sequential(
                BinaryLinear(12, 9, generator=g), nn.BatchNorm1d(9), nn.Dropout(), Sign()
            ),
            nn.Sequential(BinaryLinear(9, 7, generator=g), BatchNorm(7), nn.Dropout(0.2)),
            nn.Sequential(Sign(), Dropout(0.3, g), BinaryLinear(7, 4, generator=g)),
        ],
        input_shape=(12,),
    )


def test_recomputing_changes_no_gradient_no_loss_and_no_running_statistic() -> None:
    def train(recompute: bool) -> tuple[list[Tensor], dict[str, Tensor]]:
        torch.manual_seed(0)  # dropout's
        model = torn_model()
        rule = create("rule", "dfa", model, recompute=recompute)
        seen = []
        for step in range(4):
            x, y = torch.randn(10, 12, generator=draws(step)), torch.arange(10) % 4
            seen.append(rule.closure(model, (x, y))())
            for parameter in model.parameters():
                assert parameter.grad is not None
                seen.append(parameter.grad.clone())
        return seen, dict(model.named_buffers())

    with torch.random.fork_rng():
        (kept, statistics), (again, statistics_again) = train(False), train(True)
    assert len(kept) == len(again) == 4 * (1 + len(list(torn_model().parameters())))
    assert all(map(torch.equal, kept, again))
    assert any(buffer.any() for buffer in statistics.values())
    for name, buffer in statistics.items():
        assert torch.equal(buffer, statistics_again[name]), name


def test_after_recomputing_statistics_are_tracked_as_before() -> None:
    model = torn_model()
    rule = create("rule", "dfa", model, recompute=True)
    x, y = torch.randn(10, 12, generator=draws(0)), torch.arange(10) % 4
    with torch.random.fork_rng():
        rule.closure(model, (x, y))()
    theirs, ours = model.segments[0][1], model.segments[1][1]
    assert theirs.track_running_stats
    assert theirs.num_batches_tracked == 1
    ours_again = ours.mean.clone()
    ours(torch.randn(10, 7, generator=draws(9)))
    assert not torch.equal(ours.mean, ours_again)


def test_target_projection_holds_one_segments_activations_instead_of_all() -> None:
    x, y = torch.randn(512, 64, generator=draws(1)), torch.arange(512) % 4
    model = deep_model()
    kept, freed = (
        peak_bytes(create("rule", "drtp", model, skip=skip).closure(model, (x, y)))
        for skip in ("leak", "cut")
    )
    assert freed < 0.5 * kept


def deep_model(width: int = 64, depth: int = 8) -> Model:
    g = draws(1)
    return Model(
        [nn.Sequential(BinaryLinear(width, width, generator=g), nn.LayerNorm(width), Sign())
         for _ in range(depth)]
        + [BinaryLinear(width, 4, generator=g)],
        input_shape=(width,),
    )  # fmt: skip


def test_recomputing_holds_one_segments_activations_instead_of_all() -> None:
    width, depth, batch = 64, 8, 512
    model = deep_model()
    x, y = torch.randn(batch, width, generator=draws(1)), torch.arange(batch) % 4
    kept, freed = (
        peak_bytes(create("rule", "dfa", model, recompute=recompute).closure(model, (x, y)))
        for recompute in (False, True)
    )
    # Kept: three activations (weighed, normalised, output) a segment; else one, its output.
    activation = 4 * batch * width
    assert kept > 2 * depth * activation
    assert freed < 0.7 * kept
