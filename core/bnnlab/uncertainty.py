"""How far predicted probabilities can be trusted, and whether they tell the unknown apart."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bnnlab.continual import RECENT
from bnnlab.evaluation import Prediction, entropy

BINS = 15
"""Bins of equal width of the expected calibration error."""


def uncertainty(
    predictions: Sequence[Prediction], unknown: Prediction | None = None
) -> dict[str, float | list[float]]:
    """Measure the predictions for the tasks seen, all examples together.

    Args:
        predictions: One per task seen, in order.
        unknown: Of inputs that belong to no task, for out-of-distribution detection.

    Returns:
        `nll` (nats), `brier` (sum over classes, 0 to 2), `ece` (0 to 1); the entropy of the mean
        prediction in bits, `entropy`, and its parts `aleatoric` (mean entropy of the draws) and
        `epistemic` (the rest, the mutual information of prediction and weights); with `unknown`,
        `ood_auroc`, the mean over tasks of the area under the ROC curve of `entropy` as a score
        for "unknown", `ood_auroc_recent`, over the last five tasks, `ood_auroc_tasks`, each, and
        `ood_auroc_epistemic`, the mean with `epistemic` as the score.

    Source: Depeweg et al., "Decomposition of Uncertainty", ICML 2018 (entropies); Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017, eq. 3 (ECE); Brier, "Verification of
    Forecasts", Monthly Weather Review 78, 1950.
    """
    from sklearn.metrics import brier_score_loss, log_loss

    joined = torch.cat([each.probabilities for each in predictions]).double().cpu()
    p = (joined / joined.sum(-1, keepdim=True)).numpy()
    targets = torch.cat([each.targets for each in predictions]).cpu().numpy()
    labels = np.arange(p.shape[1])
    scores = [_scores(each) for each in predictions]
    total, epistemic = (torch.cat(each) for each in zip(*scores, strict=True))
    found: dict[str, float | list[float]] = {
        "nll": float(log_loss(targets, p, labels=labels)),
        "brier": float(brier_score_loss(targets, p, labels=labels, scale_by_half=False)),
        "ece": expected_calibration_error(p, targets),
        "entropy": float(total.mean()),
        "aleatoric": float((total - epistemic).mean()),
        "epistemic": float(epistemic.mean()),
    }
    if unknown is not None:
        others = _scores(unknown)
        each = [_auroc(own[0], others[0]) for own in scores]
        found["ood_auroc"] = sum(each) / len(each)
        found["ood_auroc_recent"] = sum(each[-RECENT:]) / len(each[-RECENT:])
        found["ood_auroc_tasks"] = each
        second = [_auroc(own[1], others[1]) for own in scores]
        found["ood_auroc_epistemic"] = sum(second) / len(second)
    return found


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean over examples of |accuracy - confidence| of their bin.

    Args:
        probabilities: `(N, K)`.
        targets: `(N,)`.
    """
    confidence = probabilities.max(-1)
    correct = probabilities.argmax(-1) == targets
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return float(np.abs(np.bincount(bins, weights=correct - confidence)).sum() / len(targets))


def _scores(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Return the entropy of the mean prediction and its epistemic part, `(N,)` each, in bits."""
    total = entropy(prediction.probabilities).cpu()
    return total, (total - prediction.entropies.cpu()).clamp_min(0)


def _auroc(known: Tensor, unknown: Tensor) -> float:
    """Return the chance that a random unknown example scores above a known one (ties: half)."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(known), len(unknown)])
    return float(roc_auc_score(truth, torch.cat([known, unknown]).numpy()))
