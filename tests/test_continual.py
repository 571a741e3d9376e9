"""The continual-learning metrics against numbers worked out by hand."""

import pytest

from bnnlab.engine import continual

MATRIX: list[list[float | None]] = [[0.9, 0.1, None], [0.7, 0.8, 0.2], [0.6, 0.85, 0.95]]


def test_average_accuracy_is_the_last_rows_mean() -> None:
    assert continual.average_accuracy(MATRIX) == pytest.approx(0.8)  # (.6 + .85 + .95) / 3


def test_average_accuracy_of_an_unfinished_run_is_over_the_tasks_learned() -> None:
    assert continual.average_accuracy(MATRIX[:2]) == pytest.approx(0.75)  # not the 0.2 ahead
    assert continual.average_accuracy([]) is None


def test_forgetting_is_the_mean_drop_from_the_best() -> None:
    assert continual.forgetting(MATRIX) == pytest.approx((0.3 - 0.05) / 2)


def test_forgetting_counts_a_best_that_came_later_than_learning() -> None:
    matrix = [[0.5, None, None], [0.9, 0.8, None], [0.6, 0.8, 0.9]]
    assert continual.forgetting(matrix) == pytest.approx((0.3 + 0.0) / 2)


def test_backward_transfer_is_the_mean_change_since_learned() -> None:
    assert continual.backward_transfer(MATRIX) == pytest.approx((-0.3 + 0.05) / 2)


def test_forward_transfer_is_the_mean_gain_before_learning_over_the_untrained_model() -> None:
    untrained = [0.1, 0.12, 0.08]
    assert continual.forward_transfer(MATRIX, untrained) == pytest.approx((-0.02 + 0.12) / 2)


def test_learning_accuracy_is_the_mean_of_the_diagonal() -> None:
    assert continual.learning_accuracy(MATRIX) == pytest.approx((0.9 + 0.8 + 0.95) / 3)


def test_what_was_not_measured_is_none_and_never_a_number() -> None:
    holes: list[list[float | None]] = [[0.9, None], [None, 0.8]]
    assert continual.average_accuracy(holes) is None
    assert continual.forgetting(holes) is None
    assert continual.backward_transfer(holes) is None
    assert continual.forward_transfer(holes, [0.1, 0.1]) is None
    assert continual.learning_accuracy(holes) == pytest.approx(0.85)
    assert continual.forward_transfer([[0.9, 0.3], [0.9, 0.8]], [None, None]) is None


def test_a_single_task_has_neither_forgetting_nor_transfer() -> None:
    assert continual.average_accuracy([[0.7]]) == continual.learning_accuracy([[0.7]]) == 0.7
    for metric in (continual.forgetting, continual.backward_transfer):
        assert metric([[0.7]]) is None
    assert continual.forward_transfer([[0.7]], [0.1]) is None


def test_recent_accuracy_is_the_mean_over_the_last_k_tasks() -> None:
    assert continual.recent_accuracy(MATRIX, 2) == pytest.approx(0.9)  # (.85 + .95) / 2
    assert continual.recent_accuracy(MATRIX) == continual.average_accuracy(MATRIX)  # k > tasks
    assert continual.recent_accuracy(MATRIX[:2], 1) == 0.8
    assert continual.recent_accuracy([]) is None


def test_plasticity_is_the_mean_difference_to_a_fresh_model() -> None:
    fresh = [0.9, 0.9, 0.9]
    assert continual.plasticity(MATRIX, fresh) == pytest.approx((0.0 - 0.1 + 0.05) / 3)
    assert continual.plasticity(MATRIX, []) is None
    assert continual.plasticity(MATRIX, [0.9, None, 0.9]) is None


def test_retention_is_the_mean_accuracy_k_tasks_after_learning() -> None:
    found = continual.retention(MATRIX)
    assert found == pytest.approx([(0.9 + 0.8 + 0.95) / 3, (0.7 + 0.85) / 2, 0.6])
    assert continual.retention([[0.9, None], [None, 0.8]])[1] is None
