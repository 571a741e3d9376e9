"""Accuracy and the continual-learning metrics against numbers worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnnlab import BatchNorm, Model, Optimizer, evaluation
from bnnlab.evaluation import Evaluator
from bnnlab.stream import Examples, Task

MATRIX: list[list[float | None]] = [[0.9, 0.1, None], [0.7, 0.8, 0.2], [0.6, 0.85, 0.95]]


def test_average_accuracy_is_the_last_rows_mean() -> None:
    assert evaluation.average_accuracy(MATRIX) == pytest.approx(0.8)  # (.6 + .85 + .95) / 3


def test_average_accuracy_of_an_unfinished_run_is_over_the_tasks_learned() -> None:
    assert evaluation.average_accuracy(MATRIX[:2]) == pytest.approx(0.75)  # not the 0.2 ahead
    assert evaluation.average_accuracy([]) is None


def test_forgetting_is_the_mean_drop_from_the_best() -> None:
    assert evaluation.forgetting(MATRIX) == pytest.approx((0.3 - 0.05) / 2)


def test_forgetting_counts_a_best_that_came_later_than_learning() -> None:
    matrix = [[0.5, None, None], [0.9, 0.8, None], [0.6, 0.8, 0.9]]
    assert evaluation.forgetting(matrix) == pytest.approx((0.3 + 0.0) / 2)


def test_backward_transfer_is_the_mean_change_since_learned() -> None:
    assert evaluation.backward_transfer(MATRIX) == pytest.approx((-0.3 + 0.05) / 2)


def test_forward_transfer_is_the_mean_gain_before_learning_over_the_untrained_model() -> None:
    untrained = [0.1, 0.12, 0.08]
    assert evaluation.forward_transfer(MATRIX, untrained) == pytest.approx((-0.02 + 0.12) / 2)


def test_plasticity_is_the_mean_of_the_diagonal() -> None:
    assert evaluation.plasticity(MATRIX) == pytest.approx((0.9 + 0.8 + 0.95) / 3)


def test_what_was_not_measured_is_none_and_never_a_number() -> None:
    holes: list[list[float | None]] = [[0.9, None], [None, 0.8]]
    assert evaluation.average_accuracy(holes) is None
    assert evaluation.forgetting(holes) is None
    assert evaluation.backward_transfer(holes) is None
    assert evaluation.forward_transfer(holes, [0.1, 0.1]) is None
    assert evaluation.plasticity(holes) == pytest.approx(0.85)
    assert evaluation.forward_transfer([[0.9, 0.3], [0.9, 0.8]], [None, None]) is None


def test_a_single_task_has_neither_forgetting_nor_transfer() -> None:
    assert evaluation.average_accuracy([[0.7]]) == evaluation.plasticity([[0.7]]) == 0.7
    for metric in (evaluation.forgetting, evaluation.backward_transfer):
        assert metric([[0.7]]) is None
    assert evaluation.forward_transfer([[0.7]], [0.1]) is None


class Still(Optimizer):
    """Never steps."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        raise AssertionError("an evaluation makes no step")


def part(count: int, seed: int, offset: int = 0) -> Examples:
    g = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 200, (count, 1, 2, 3), generator=g, dtype=torch.uint8) + offset
    labels = torch.randint(0, 4, (count,), generator=g)
    stat = torch.full((1, 1, 1), 50.0)
    return Examples(pixels.to(torch.uint8), labels, torch.arange(count), stat, stat)


def task(index: int = 0, **changes: Any) -> Task:
    return replace(Task(index, f"t{index}", part(90, index), part(53, 10 + index)), **changes)


def model_with(statistics: Any) -> Model:
    model = Model([nn.Flatten(), nn.Linear(6, 8), BatchNorm(8, statistics), nn.Linear(8, 4)])
    g = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=g)
    return model


def scores(model: Model, tasks: list[Task], task_ids: bool = False) -> list[float]:
    evaluator = Evaluator(model, Still(model, lr=0.1), task_ids)
    return evaluator.accuracies(tasks, tasks, lambda t: t.test)


STATISTICS = ["running", "per-task", "recalibrated"]


@pytest.mark.parametrize("statistics", STATISTICS)
def test_accuracy_is_the_share_of_right_answers(statistics: Any) -> None:
    model, one = model_with(statistics), task()
    (accuracy,) = scores(model, [one])
    model.eval()
    inputs, labels = one.test.batch(torch.arange(53))
    right = [int(model(x[None]).argmax()) == int(y) for x, y in zip(inputs, labels, strict=True)]
    assert accuracy == sum(right) / 53


@pytest.mark.parametrize("statistics", STATISTICS)
def test_accuracy_depends_neither_on_batch_size_nor_on_order(
    statistics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = scores(model_with(statistics), [task()])
    for size in (1, 7, 52, 53):
        monkeypatch.setattr(evaluation, "EVALUATION_BATCH", size)
        assert scores(model_with(statistics), [task()]) == expected
    one = task()
    shuffled = one.test.rows[torch.randperm(53, generator=torch.Generator().manual_seed(2))]
    other = replace(one, test=replace(one.test, rows=shuffled))
    assert scores(model_with(statistics), [other]) == expected


def test_evaluating_leaves_the_model_in_training_mode() -> None:
    model = model_with("recalibrated")
    scores(model, [task()])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("task_ids", [False, True])
def test_recalibration_sees_training_images_only(
    task_ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tasks = model_with("recalibrated"), [task(0), task(1)]
    norm = next(m for m in model.modules() if isinstance(m, BatchNorm))
    asked: list[tuple[bool, Examples]] = []
    plain = Examples.batch

    def spy(self: Examples, positions: Tensor) -> tuple[Tensor, Tensor]:
        asked.append((norm.measured is not None, self))
        return plain(self, positions)

    monkeypatch.setattr(Examples, "batch", spy)
    scores(model, tasks, task_ids)
    measured = {id(examples) for measuring, examples in asked if measuring}
    scored = {id(examples) for measuring, examples in asked if not measuring}
    assert measured == {id(t.train) for t in tasks}
    assert scored == {id(t.test) for t in tasks}


def test_with_task_ids_a_task_is_recalibrated_on_its_own_images() -> None:
    tasks = [task(0), replace(task(1), train=part(90, 1, offset=50))]
    together = model_with("recalibrated")
    scores(together, tasks, task_ids=True)
    (norm,) = [m for m in together.modules() if isinstance(m, BatchNorm)]
    for index, each in enumerate(tasks):
        alone = model_with("recalibrated")
        scores(alone, [replace(each, index=0)], task_ids=True)
        (other,) = [m for m in alone.modules() if isinstance(m, BatchNorm)]
        torch.testing.assert_close(norm.mean[index], other.mean[0])


def test_a_task_is_scored_among_its_own_classes_only() -> None:
    model = Model([nn.Flatten(), nn.Linear(6, 4)])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.segments[1].bias.copy_(torch.tensor([9.0, 3.0, 2.0, 1.0]))
    one = task()
    assert scores(model, [one]) == [float((one.test.labels == 0).sum()) / 53]
    told = replace(one, classes=torch.tensor([False, False, True, True]))
    assert scores(model, [told]) == [float((one.test.labels == 2).sum()) / 53]


def test_probabilities_add_up_to_1_over_the_tasks_classes() -> None:
    model = model_with("running").eval()
    told = task(classes=torch.tensor([True, False, True, False]))
    p = evaluation.probabilities(model, Still(model, lr=0.1), told, told.test)
    assert p.shape == (53, 4)
    torch.testing.assert_close(p.sum(1), torch.ones(53))
    assert not p[:, [1, 3]].any()


def test_an_optimizer_without_a_posterior_draws_nothing() -> None:
    model = model_with("running")
    assert list(Still(model, lr=0.1).predictive(0)) == [None]
    with pytest.raises(Exception, match="Still has no posterior to draw 3 weights from"):
        next(Still(model, lr=0.1).predictive(3))
