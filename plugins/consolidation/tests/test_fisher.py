"""Fisher information: of each example, of labels drawn from the prediction, as at test."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from consolidating import (
    KINDS,
    context,
    make,
    make_task,
    train,
)
from torch import Tensor, nn

from bnnlab import (
    BatchNorm,
    BinaryLinear,
    ClassPerPosition,
    Examples,
    Model,
    RealNumbers,
    Sign,
    UsageError,
)
from bnnlab.interfaces.stream import Task
from bnnlab_consolidation import ewc as ewc_module
from bnnlab_consolidation.ewc import EWC, sum_of_squares
from bnnlab_testing import toy
from bnnlab_testing.equations import float64, make_model


def loop_over_examples(
    model: Model, task: Task, inputs: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for x, y in zip(inputs, targets, strict=True):
        model.zero_grad()
        F.cross_entropy(task.mask(model(x[None])), y[None]).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            total[name] += p.grad**2
    return total


@pytest.mark.parametrize("make_it", [make_model, toy.make_real_model, toy.make_normalised_model])
@pytest.mark.parametrize("masked", [False, True])
def test_squares_of_all_examples_at_once_are_those_of_a_loop(
    make_it: Callable[[], Model], masked: bool
) -> None:
    model = make_it().eval()
    draws = torch.Generator().manual_seed(3)
    assert model.input_shape is not None
    inputs = torch.randn(9, *model.input_shape, generator=draws)
    classes = model(inputs[:1]).shape[1]
    allowed = torch.arange(classes) < 2
    task = make_task()
    if masked:
        task = Task(0, "two classes", task.train, task.test, classes=allowed)
    targets = torch.randint(0, 2, (9,), generator=draws)
    found = sum_of_squares(model, task, inputs, targets)
    for name, wanted in loop_over_examples(model, task, inputs, targets).items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-9)
        assert bool(found[name].any()), f"{name} has no gradient: nothing is compared"


def test_fisher_is_the_mean_over_labels_drawn_from_the_prediction() -> None:
    """For one linear layer it is known: the mean over x of x_j^2 p_i (1 - p_i)."""
    draws = torch.Generator().manual_seed(4)
    model = Model([nn.Sequential(nn.Flatten(), BinaryLinear(64, 3, generator=draws))], (1, 8, 8))
    task = make_task(examples=2000, classes=1)  # all of class 0: labels must not be looked at
    optimizer = make(EWC, model, fisher_samples=2000)
    optimizer.task_ended(context(model, task))
    (weight,) = model.parameters()
    inputs, _ = task.train.batch(torch.arange(2000))
    p = model(inputs).softmax(-1).detach()
    x = inputs.flatten(1) / 8  # scale "fan-in": 1 / sqrt(64)
    wanted = (p * (1 - p)).T @ x**2 / 2000
    ratio = optimizer.state[weight]["ewc_fisher"].mean(1) / wanted.mean(1)
    assert bool(((ratio - 1).abs() < 0.1).all()), ratio


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fisher", ["exact", "empirical"])
def test_without_draws_fisher_of_a_linear_layer_is_known(fisher: str, masked: bool) -> None:
    """Mean over x of x_j^2 p_i (1 - p_i), or of x_j^2 (y_i - p_i)^2 with the given labels."""
    draws = torch.Generator().manual_seed(4)
    layer = BinaryLinear(64, 4, scale="none", generator=draws)
    model = Model([nn.Sequential(nn.Flatten(), layer)], (1, 8, 8)).double()
    task = make_task(examples=30, classes=3)
    allowed = np.array([True, True, True, not masked])
    task = Task(0, "task", task.train, task.test, classes=torch.from_numpy(allowed))
    optimizer = make(EWC, model, fisher=fisher)
    optimizer.task_ended(context(model, task))
    (weight,) = model.parameters()
    inputs, labels = task.train.batch(torch.arange(30))
    x = float64(inputs.flatten(1))
    p = np.where(allowed, np.exp(x @ float64(weight).T), 0)
    p /= p.sum(1, keepdims=True)
    each = p * (1 - p) if fisher == "exact" else (np.eye(4)[labels.numpy()] - p) ** 2
    wanted = each.T @ x**2 / 30
    error = np.abs(float64(optimizer.state[weight]["ewc_fisher"]) - wanted).max()
    assert error < 1e-10 * wanted.max()


def test_shuffled_fisher_has_the_same_numbers_in_each_tensor() -> None:
    found = []
    for shuffle in (False, True):
        model = make_model()
        optimizer = make(EWC, model, shuffle=shuffle)
        optimizer.task_ended(context(model))
        found.append([optimizer.state[p]["ewc_fisher"].flatten() for p in model.parameters()])
    assert not all(map(torch.equal, *found))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.sort().values, other.sort().values)


def test_exact_fisher_of_other_targets_is_refused_as_a_task_starts() -> None:
    x = torch.zeros(10, 6)
    train = Examples(x, torch.zeros(10, 3), torch.arange(10))
    task = Task(0, "numbers", train, train, objective=RealNumbers())
    model = layer_of(6, 3, flatten=True)
    with pytest.raises(UsageError, match="are real numbers: take sampled or empirical"):
        make(EWC, model, fisher="exact").task_started(context(model, task))


@pytest.mark.parametrize("samples", [7, 40, 1000])
def test_fisher_is_a_mean_over_different_examples_all_if_there_are_fewer(
    samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def record(
        model: Model, task: Task, inputs: Tensor, targets: Tensor, *_: Any
    ) -> dict[str, Tensor]:
        seen.append(inputs)
        each = {name: torch.ones_like(p) for name, p in model.named_parameters()}
        return {name: len(targets) * ones for name, ones in each.items()}

    monkeypatch.setattr(ewc_module, "sum_of_squares", record)
    model = make_model()
    monkeypatch.setattr(
        ewc_module, "GRADIENT_BYTES", 3 * 4 * sum(p.numel() for p in model.parameters())
    )
    optimizer = make(EWC, model, fisher_samples=samples)
    optimizer.task_ended(context(model))
    assert max(map(len, seen)) == 3, "gradients of three examples fit"
    assert len(torch.cat(seen).flatten(1).unique(dim=0)) == min(samples, 40)
    for parameter in model.parameters():
        torch.testing.assert_close(
            optimizer.state[parameter]["ewc_fisher"], torch.ones_like(parameter)
        )


@pytest.mark.parametrize("statistics", ["running", "recalibrated", "per-task"])
def test_batch_normalisation_is_used_as_at_test_and_left_alone(statistics: Any) -> None:
    def build() -> Model:
        draws = torch.Generator().manual_seed(1)
        first = [nn.Flatten(), BinaryLinear(64, 8, generator=draws), BatchNorm(8, statistics)]
        return Model([nn.Sequential(*first, Sign()), BinaryLinear(8, 10, generator=draws)])

    model = build()
    optimizer = make(EWC, model)
    model.train()
    model.segments[1].eval()  # every module goes back into its own mode
    train(model, optimizer, 3)
    norm = next(module for module in model.modules() if isinstance(module, BatchNorm))
    before = norm.mean.clone()
    assert bool(before.any()) == (statistics != "recalibrated")
    optimizer.task_ended(context(model))
    assert torch.equal(norm.mean, before) == (statistics != "recalibrated")
    assert model.segments[0].training
    assert not model.segments[1].training
    fisher = [optimizer.state[p]["ewc_fisher"] for p in model.parameters()]
    assert all(bool(each.isfinite().all()) and bool(each.any()) for each in fisher)
    for kind in KINDS.values():
        model = build()
        train(model, make(kind, model), 20, ends=(4, 9))
        assert all(bool(p.isfinite().all()) for p in model.parameters())


def layer_of(*sizes: int, flatten: bool) -> Model:
    layer = BinaryLinear(*sizes, scale="none", generator=torch.Generator().manual_seed(4))
    return Model([nn.Sequential(nn.Flatten(), layer) if flatten else layer])


def test_fisher_of_real_numbers_is_that_of_a_normal_distribution_with_variance_one() -> None:
    """For one linear layer: the mean over x of x_j^2."""
    x = torch.randn(2000, 6, generator=torch.Generator().manual_seed(5))
    far = torch.full((2000, 3), 100.0)  # targets are not looked at
    train = Examples(x, far, torch.arange(2000))
    task = Task(0, "numbers", train, train, objective=RealNumbers())
    model = layer_of(6, 3, flatten=True)
    optimizer = make(EWC, model, fisher_samples=2000)
    optimizer.task_ended(context(model, task))
    (weight,) = model.parameters()
    ratio = optimizer.state[weight]["ewc_fisher"] / (x**2).mean(0)
    assert bool(((ratio - 1).abs() < 0.2).all()), ratio


@pytest.mark.parametrize("ignored", [0, 3])
def test_fisher_of_positions_is_the_sum_of_those_that_count(ignored: int) -> None:
    """For one linear layer: the mean over x of the sum over t of x_tj^2 p_ti (1 - p_ti)."""
    x = torch.randn(2000, 4, 6, generator=torch.Generator().manual_seed(5))
    labels = torch.zeros(2000, 4, dtype=torch.int64)
    labels[:, :ignored] = -100
    train = Examples(x, labels, torch.arange(2000))
    task = Task(0, "positions", train, train, objective=ClassPerPosition())
    model = layer_of(6, 3, flatten=False)
    optimizer = make(EWC, model, fisher_samples=2000)
    optimizer.task_ended(context(model, task))
    (weight,) = model.parameters()
    x = x[:, ignored:]
    p = model(x).softmax(-1).detach()
    wanted = torch.einsum("nti,ntj->ij", p * (1 - p), x**2) / 2000
    ratio = optimizer.state[weight]["ewc_fisher"].mean(1) / wanted.mean(1)
    assert bool(((ratio - 1).abs() < 0.1).all()), ratio
