"""Calibration, entropies and detection of the unknown against plain NumPy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, roc_auc_score

from bnnlab.interfaces.prediction import Prediction, entropy
from bnnlab_analysis.uncertainty import (
    BINS,
    area_under_roc,
    brier,
    calibration_gaps,
    summary_of,
    uncertainty,
)


def prediction(seed: int, draws: int = 4, sharpness: float = 2.0) -> tuple[Prediction, np.ndarray]:
    """Return a prediction of 50 examples and 4 classes, and the draws' probabilities."""
    g = torch.Generator().manual_seed(seed)
    p = (torch.randn(draws, 50, 4, generator=g) * sharpness).softmax(-1)
    targets = torch.randint(0, 4, (50,), generator=g)
    likelihoods = p.mean(0)[torch.arange(50), targets].log()
    return Prediction(p.mean(0), entropy(p).mean(0), likelihoods, targets), p.double().numpy()


def measure(predictions: list[Prediction], unknown: Prediction | None = None) -> dict[str, Any]:
    return uncertainty([summary_of(each, unknown) for each in predictions])


def expected_calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    return float(np.abs(calibration_gaps(p, y)).sum() / len(y))


def bits(p: np.ndarray) -> np.ndarray:
    return -(p * np.log2(p)).sum(-1)


def test_entropy_is_in_bits_and_0_for_the_certain() -> None:
    p = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]])
    wanted = torch.tensor([1.0, 0.0, 0.8112781])
    torch.testing.assert_close(entropy(p), wanted)


def test_scores_of_several_tasks_are_those_of_all_their_examples() -> None:
    (one, p1), (two, p2) = prediction(0), prediction(1)
    found = measure([one, two])
    p = np.concatenate([p1.mean(0), p2.mean(0)])
    y = torch.cat([one.targets, two.targets]).numpy()
    hot = np.eye(4)[y]
    assert found["nll"] == pytest.approx(-np.log(p[np.arange(100), y]).mean())
    assert found["brier"] == pytest.approx(((p - hot) ** 2).sum(-1).mean(), rel=1e-5)
    total, aleatoric = bits(p), bits(np.concatenate([p1, p2], axis=1)).mean(0)
    assert found["entropy"] == pytest.approx(total.mean(), rel=1e-5)
    assert found["aleatoric"] == pytest.approx(aleatoric.mean(), rel=1e-5)
    assert found["epistemic"] == pytest.approx((total - aleatoric).mean(), rel=1e-4)
    assert found["epistemic"] > 0.01
    assert "ood_auroc" not in found
    assert found["ece"] == pytest.approx(expected_calibration_error(p, y), rel=1e-5)


def test_calibration_error_is_the_weighted_gap_of_each_bin() -> None:
    p = prediction(3)[1].mean(0)
    y = prediction(3)[0].targets.numpy()
    confidence, correct = p.max(-1), p.argmax(-1) == y
    gap = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gap += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(p, y) == pytest.approx(gap)
    certain = np.eye(4)[y]
    assert expected_calibration_error(certain, y) == 0
    assert expected_calibration_error(certain, (y + 1) % 4) == 1


def test_the_bins_of_several_tasks_are_those_of_all_examples_and_give_the_calibration_error() -> (
    None
):
    (one, p1), (two, p2) = prediction(0), prediction(1)
    found = measure([one, two])
    p = np.concatenate([p1.mean(0), p2.mean(0)])
    y = torch.cat([one.targets, two.targets]).numpy()
    confidence, correct = p.max(-1), p.argmax(-1) == y
    gaps = 0.0
    bins = found["reliability"]
    assert {len(each) for each in bins.values()} == {BINS}
    for number, (count, mean, accuracy) in enumerate(zip(*bins.values(), strict=True)):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        assert count == inside.sum()
        if not count:
            assert (mean, accuracy) == (None, None)
            continue
        assert mean == pytest.approx(confidence[inside].mean(), rel=1e-6)
        assert accuracy == correct[inside].mean()
        gaps += count * abs(accuracy - mean)
    assert 0 in bins["count"], "no bin is empty"
    assert gaps / sum(bins["count"]) == pytest.approx(found["ece"], rel=1e-12)


def test_an_evaluation_that_an_earlier_version_began_has_no_bins() -> None:
    now = summary_of(prediction(0)[0])
    old = replace(now, counts=None, correct=None)
    found = uncertainty([old, now])
    assert found == {k: it for k, it in uncertainty([now, now]).items() if k != "reliability"}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("count", [1, 2, 300])
def test_scores_agree_with_scikit_learn(classes: int, count: int) -> None:
    """Also where many scores are equal, and where a class has no example."""
    g = np.random.default_rng(count)
    p = g.dirichlet(np.full(classes, 0.3), count)
    y = g.integers(0, max(1, classes - 1), count)
    theirs = brier_score_loss(y, p, labels=np.arange(classes), scale_by_half=False)
    assert brier(p, y) == pytest.approx(theirs, rel=1e-12)
    for levels in (1, 3, 1 << 20):
        known, unknown = (g.integers(0, levels, n).astype(np.float32) for n in (count, 70))
        truth = np.repeat([0, 1], [count, 70])
        theirs = roc_auc_score(truth, np.concatenate([known, unknown]))
        assert area_under_roc(known, unknown) == pytest.approx(theirs, rel=1e-12)


def test_calibration_error_agrees_with_torchmetrics() -> None:
    """Where it is installed: importing it takes seconds, which is why the core does not use it."""
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    p, y = prediction(5)[0].probabilities, prediction(5)[0].targets
    theirs = float(metrics.multiclass_calibration_error(p, y, num_classes=4, n_bins=15))
    assert expected_calibration_error(p.double().numpy(), y.numpy()) == pytest.approx(theirs, 1e-5)


def test_detection_is_the_chance_that_the_unknown_is_less_certain() -> None:
    (one, _), (two, _) = prediction(0, sharpness=4), prediction(1, sharpness=1.5)
    unknown, _ = prediction(2, sharpness=1)
    found = measure([one, two], unknown)

    def rank(known: Prediction) -> float:
        a, b = entropy(known.probabilities), entropy(unknown.probabilities)
        pairs = b[None, :] - a[:, None]
        return float(((pairs > 0).double() + 0.5 * (pairs == 0).double()).mean())

    assert found["ood_auroc_tasks"] == pytest.approx([rank(one), rank(two)])
    assert found["ood_auroc"] == pytest.approx((rank(one) + rank(two)) / 2)
    assert found["ood_auroc"] == found["ood_auroc_recent"]
    assert rank(one) > rank(two) > 0.5


def test_without_disagreement_the_epistemic_part_tells_nothing_apart() -> None:
    known, _ = prediction(0, draws=1)
    unknown, _ = prediction(1, draws=1)
    found = measure([known], unknown)
    assert found["epistemic"] == 0
    assert found["ood_auroc_epistemic"] == 0.5


def test_a_certain_and_wrong_prediction_leaves_finite_numbers() -> None:
    p = torch.eye(3)
    far = torch.full((3,), -1e4)  # the logarithm of what float32 rounds to 0
    found = measure([Prediction(p, torch.zeros(3), far, torch.tensor([1, 2, 0]))])
    bins = found.pop("reliability")
    assert all(np.isfinite(value) for value in found.values())
    assert (bins["count"][-1], bins["confidence"][-1], bins["accuracy"][-1]) == (3, 1, 0)
    assert found["nll"] == 1e4
    assert found["ece"] == 1
    assert found["brier"] == 2
