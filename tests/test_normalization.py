"""Batch statistics at test time: never the test batch's, and equal to plain averages."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnnlab import BatchNorm, Model, UsageError
from bnnlab.nn.normalization import (
    frozen_statistics,
    make_norm,
    needs_recalibration,
    recalibrate,
)

STATISTICS = ["running", "per-task", "recalibrated"]


def batches(count: int, shape: tuple[int, ...] = (12, 5), seed: int = 0) -> Iterator[Tensor]:
    g = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield 2 * torch.randn(shape, generator=g) + 3


def trained(statistics: Any, shape: tuple[int, ...] = (12, 5)) -> BatchNorm:
    norm = BatchNorm(5, statistics)
    for x in batches(4, shape):
        norm(x)
    return norm


@pytest.mark.parametrize("shape", [(12, 5), (6, 5, 4), (6, 5, 4, 3)])
@pytest.mark.parametrize("affine", [True, False])
def test_training_and_running_averages_agree_with_torch(
    shape: tuple[int, ...], affine: bool
) -> None:
    ours = BatchNorm(5, "running", affine=affine, momentum=0.2, eps=1e-3)
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
    theirs = kind(5, affine=affine, momentum=0.2, eps=1e-3)
    if affine:
        for mine, other in ((ours.gamma, theirs.weight), (ours.beta, theirs.bias)):
            assert mine is not None
            nn.init.normal_(mine, generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                other.copy_(mine)
    for x in batches(5, shape):
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.mean[0], theirs.running_mean)
    torch.testing.assert_close(ours.variance[0], theirs.running_var)
    x = next(batches(1, shape, seed=9))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("statistics", STATISTICS)
def test_at_test_one_examples_output_does_not_depend_on_its_batch(statistics: Any) -> None:
    norm = trained(statistics)
    recalibrate(norm, batches(2))
    norm.eval()
    x = next(batches(1, seed=8))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    together = norm(x)
    alone = torch.cat([norm(row[None]) for row in x])
    among_others = norm(torch.cat([x[:1], 100 * x]))[:1]
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(among_others, together[:1])
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_recalibrated_statistics_are_plain_averages_over_the_batches() -> None:
    norm = trained("recalibrated")
    assert torch.equal(norm.mean, torch.zeros(1, 5)), "training keeps no averages"
    recalibrate(norm, batches(3, seed=5))
    arrays = [x.double().numpy() for x in batches(3, seed=5)]
    mean = np.mean([a.mean(0) for a in arrays], axis=0)
    variance = np.mean([a.var(0, ddof=1) for a in arrays], axis=0)
    np.testing.assert_allclose(norm.mean[0], mean, rtol=1e-5)
    np.testing.assert_allclose(norm.variance[0], variance, rtol=1e-5)


def test_recalibrating_again_forgets_what_was_measured_before() -> None:
    once, twice = trained("recalibrated"), trained("recalibrated")
    recalibrate(twice, batches(3, seed=1))
    for norm in (once, twice):
        recalibrate(norm, batches(3, seed=5))
    assert torch.equal(once.mean, twice.mean)
    assert torch.equal(once.variance, twice.variance)


def test_recalibrating_touches_nothing_but_recalibrated_statistics_and_restores_modes() -> None:
    drop = nn.Dropout()
    model = Model([nn.Linear(5, 5), BatchNorm(5, "running"), BatchNorm(5, "recalibrated"), drop])
    model.train()
    model.segments[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    recalibrate(model, batches(2))
    assert torch.equal(torch.get_rng_state(), state), "dropout was active"
    changed = {n for n, value in model.state_dict().items() if not torch.equal(before[n], value)}
    assert changed == {"segments.2.mean", "segments.2.variance"}
    assert not model.segments[0].training
    assert drop.training


def test_modes_are_restored_when_a_batch_fails() -> None:
    model = Model([BatchNorm(5, "recalibrated")])

    def failing() -> Iterator[Tensor]:
        yield from batches(1)
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it has no message
        recalibrate(model, failing())
    norm = model.segments[0]
    assert model.training
    assert isinstance(norm, BatchNorm)
    assert norm.measured is None


def test_only_recalibrated_statistics_need_recalibration() -> None:
    for statistics in STATISTICS:
        model = Model([nn.Sequential(BatchNorm(5, statistics))])  # type: ignore[arg-type]
        assert needs_recalibration(model) == (statistics == "recalibrated")


def test_selecting_a_new_task_adds_fresh_statistics_and_keeps_the_others() -> None:
    norm = trained("per-task")
    first = norm.mean[0].clone()
    norm.select(2)
    assert norm.mean.shape == (3, 5)
    assert torch.equal(norm.mean[0], first)
    assert torch.equal(norm.mean[1:], torch.zeros(2, 5))
    assert torch.equal(norm.variance[1:], torch.ones(2, 5))
    for x in batches(2, seed=3):
        norm(x)
    assert torch.equal(norm.mean[0], first)
    assert norm.mean[2].all()
    norm.select(0)
    assert norm.mean.shape == (3, 5)


def test_per_task_statistics_are_those_of_the_selected_task() -> None:
    norm, alone = BatchNorm(5, "per-task"), [BatchNorm(5), BatchNorm(5)]
    for x, y in zip(batches(3, seed=1), batches(3, seed=2), strict=True):
        for task, inputs in ((0, x), (1, 10 * y)):
            norm.select(task)
            norm(inputs)
            alone[task](inputs)
    norm.eval()
    x = next(batches(1, seed=3))
    for task in (0, 1):
        norm.select(task)
        torch.testing.assert_close(norm(x), alone[task].eval()(x))


def test_a_model_tells_its_task_to_all_but_running_statistics() -> None:
    model = Model([BatchNorm(5, "running"), nn.Sequential(BatchNorm(5, "per-task")),
                   BatchNorm(5, "recalibrated")])  # fmt: skip
    model.select_task(1)
    rows = [module.mean.shape[0] for module in model.modules() if isinstance(module, BatchNorm)]
    assert rows == [1, 2, 2]
    model.select_task(0)
    assert [m.slot for m in model.modules() if isinstance(m, BatchNorm)] == [0, 0, 0]


@pytest.mark.parametrize(("saved", "into"), [(3, 1), (1, 3), (2, 2)])
def test_statistics_of_any_number_of_tasks_load(saved: int, into: int) -> None:
    source, target = BatchNorm(5, "per-task"), BatchNorm(5, "per-task")
    for task in range(saved):
        source.select(task)
        for x in batches(2, seed=task):
            source(x)
    target.select(into - 1)
    model = Model([target])
    model.load_state_dict(Model([source]).state_dict())
    assert torch.equal(target.mean, source.mean)
    assert torch.equal(target.variance, source.variance)
    target.eval()(next(batches(1)))


def test_frozen_statistics_stay_as_they_are_while_outputs_are_the_same() -> None:
    ours, theirs = trained("running"), nn.BatchNorm1d(5)
    model = Model([ours, theirs])
    x = next(batches(1, seed=4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with frozen_statistics(model):
        frozen = model(x)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model(x), frozen)
    assert not torch.equal(before["segments.0.mean"], ours.mean)
    assert theirs.num_batches_tracked == 1


def test_frozen_statistics_are_those_of_each_image_too() -> None:
    norm = nn.InstanceNorm1d(3, track_running_stats=True)
    with frozen_statistics(norm):
        norm(torch.ones(2, 3, 4))
    assert norm.running_mean is not None
    assert not norm.running_mean.any()


def test_a_batch_of_one_is_refused_in_training_and_welcome_at_test() -> None:
    norm = BatchNorm(5)
    with pytest.raises(ValueError, match=r"more than one value.*larger batch.*normalisation"):
        norm(torch.ones(1, 5))
    norm(torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(0)))
    norm.eval()(torch.ones(1, 5))


def test_other_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'test-batch'.*running.*per-task.*recalibrated"):
        BatchNorm(5, "test-batch")  # type: ignore[arg-type]


def test_a_norm_is_made_by_name() -> None:
    batch = make_norm("batch", 5, "per-task", affine=False)
    assert isinstance(batch, BatchNorm)
    assert (batch.statistics, batch.gamma, batch.beta) == ("per-task", None, None)
    layer = make_norm("layer", 5, "running", affine=True)
    assert isinstance(layer, nn.LayerNorm)
    assert layer.elementwise_affine
    assert make_norm("none", 5, "running", affine=True) is None
    assert repr(batch) == "BatchNorm(5, statistics='per-task')"


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize(("kind", "groups"), [("layer", 1), ("group", 2), ("group", 6)])
def test_groups_are_normalised_as_their_papers_say(kind: Any, groups: int, maps: bool) -> None:
    x = torch.randn(3, 6, *(4, 5) * maps, generator=torch.Generator().manual_seed(0)).double()
    norm = make_norm(kind, 6, "running", affine=False, groups=groups, eps=1e-3, maps=maps)
    parts = x.numpy().reshape(3, groups, -1)
    mean, variance = parts.mean(2, keepdims=True), parts.var(2, keepdims=True)
    expected = ((parts - mean) / np.sqrt(variance + 1e-3)).reshape(x.shape)
    assert norm is not None
    np.testing.assert_allclose(norm(x).numpy(), expected, rtol=1e-12, atol=1e-14)
    gains = make_norm(kind, 6, "running", affine=True, groups=groups, maps=maps)
    assert gains is not None
    assert [p.shape for p in gains.parameters()] == [(6,), (6,)]


def test_groups_that_do_not_divide_the_features_are_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.groups: 4 groups .* 6 units"):
        make_norm("group", 6, "running", affine=False, groups=4)


def test_momentum_and_eps_reach_batch_normalisation() -> None:
    norm = make_norm("batch", 5, "running", affine=False, momentum=0.15, eps=1e-4)
    assert isinstance(norm, BatchNorm)
    assert (norm.momentum, norm.eps) == (0.15, 1e-4)
