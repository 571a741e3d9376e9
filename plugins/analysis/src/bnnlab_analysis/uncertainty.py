"""How far predicted probabilities can be trusted, and whether they tell the unknown apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bnnlab.engine.continual import RECENT
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.prediction import Prediction, entropy
from bnnlab.interfaces.probe import Moment, Probe, Run
from bnnlab.interfaces.stream import Task

BINS = 15
"""Bins of equal width of the expected calibration error."""

Measured = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """What is kept of the predictions for one task: a few numbers for any number of examples.

    Attributes:
        count: How many examples.
        means: Of `nll`, `brier`, `entropy`, `aleatoric` and `epistemic` over the examples.
        gaps: Per bin of confidence, the sum of (correct - confidence).
        auroc: With `entropy` and with `epistemic` as the score for "unknown"; None without such.
        counts: Per bin, how many examples; None in a checkpoint of an earlier version.
        correct: Per bin, how many of them are predicted right.
    """

    count: int
    means: dict[str, float]
    gaps: list[float]
    auroc: tuple[float, float] | None
    counts: list[int] | None = None
    correct: list[int] | None = None


def summary_of(prediction: Prediction, unknown: Prediction | None = None) -> Summary:
    """Measure the predictions for one task.

    Args:
        prediction: Of the task's test part.
        unknown: Of inputs that belong to no task, for out-of-distribution detection.
    """
    probabilities = prediction.probabilities.cpu().double()  # some devices have no float64
    p = (probabilities / probabilities.sum(-1, keepdim=True)).numpy()
    targets = prediction.targets.cpu().numpy()
    total, epistemic = _scores(prediction)
    means = {
        "nll": -float(prediction.log_likelihoods.cpu().double().mean()),
        "brier": brier(p, targets),
        "entropy": float(total.mean()),
        "aleatoric": float((total - epistemic).mean()),
        "epistemic": float(epistemic.mean()),
    }
    auroc = None
    if unknown is not None:
        other, its_epistemic = _scores(unknown)
        auroc = (
            area_under_roc(total.numpy(), other.numpy()),
            area_under_roc(epistemic.numpy(), its_epistemic.numpy()),
        )
    bins, right = _bins(p), p.argmax(-1) == targets
    counts, correct = (np.bincount(b, minlength=BINS).tolist() for b in (bins, bins[right]))
    gaps = calibration_gaps(p, targets).tolist()
    return Summary(len(targets), means, gaps, auroc, counts, correct)


summarise = summary_of
"""Its name in 0.1.0."""


def uncertainty(summaries: Sequence[Summary]) -> Measured:
    """Join what was measured of the tasks seen, all examples together.

    Args:
        summaries: One per task seen, in order.

    Returns:
        `nll` (nats), `brier` (sum over classes, 0 to 2), `ece` (0 to 1), and its bins,
        `reliability`; the entropy of the mean prediction in bits, `entropy`, and its parts
        `aleatoric` (mean entropy of the draws) and `epistemic` (the rest, the mutual information of
        prediction and weights); with `unknown`, `ood_auroc`, the mean over tasks of the area under
        the ROC curve of `entropy` as a score for "unknown", `ood_auroc_recent`, over the last five
        tasks, `ood_auroc_tasks`, each, and `ood_auroc_epistemic`, the mean with `epistemic` as the
        score.

    Source: Depeweg et al., "Decomposition of Uncertainty", ICML 2018 (entropies); Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017, eq. 3 (ECE).
    """
    count = sum(each.count for each in summaries)
    found: Measured = {
        name: sum(each.count * each.means[name] for each in summaries) / count
        for name in summaries[0].means
    }
    gaps = sum(np.array(each.gaps) for each in summaries)
    found["ece"] = float(np.abs(gaps).sum() / count)
    if all(each.counts for each in summaries):
        found["reliability"] = reliability(summaries)
    aurocs = [each.auroc for each in summaries if each.auroc is not None]
    if aurocs:
        first, second = ([*each] for each in zip(*aurocs, strict=True))
        found["ood_auroc"] = sum(first) / len(first)
        found["ood_auroc_recent"] = sum(first[-RECENT:]) / len(first[-RECENT:])
        found["ood_auroc_tasks"] = first
        found["ood_auroc_epistemic"] = sum(second) / len(second)
    return found


def reliability(summaries: Sequence[Summary]) -> dict[str, list[Any]]:
    """Return what a reliability diagram shows: the bins that the calibration error is made of.

    Args:
        summaries: One per task.

    Returns:
        Per bin of confidence, from the lowest, three lists of `BINS` entries: `count`, the number
        of examples; `confidence` and `accuracy`, their means, None in an empty bin. Bin i has the
        confidences above i / 15 and up to (i + 1) / 15. The mean of |accuracy - confidence| over
        the examples is `ece`.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
    """
    counts, correct = (
        np.sum([getattr(each, name) for each in summaries], axis=0)
        for name in ("counts", "correct")
    )
    gaps = np.sum([each.gaps for each in summaries], axis=0)
    bins = [*zip(counts.tolist(), (correct - gaps).tolist(), correct.tolist(), strict=True)]
    return {
        "count": [count for count, *_ in bins],
        "confidence": [total / count if count else None for count, total, _ in bins],
        "accuracy": [right / count if count else None for count, _, right in bins],
    }


def calibration_gaps(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return per bin of confidence the sum over its examples of (correct - confidence).

    The expected calibration error of N examples is the sum of their sizes over N.

    Args:
        probabilities: `(N, K)`.
        targets: `(N,)`.
    """
    correct = probabilities.argmax(-1) == targets
    gaps = correct - probabilities.max(-1)
    return np.bincount(_bins(probabilities), weights=gaps, minlength=BINS)


def _bins(probabilities: np.ndarray) -> np.ndarray:
    """Return the bin of each example's confidence, `(N,)`."""
    found: np.ndarray = np.clip(np.ceil(probabilities.max(-1) * BINS).astype(int) - 1, 0, BINS - 1)
    return found


def _scores(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Return the entropy of the mean prediction and its epistemic part, `(N,)` each, in bits."""
    total = entropy(prediction.probabilities).cpu()
    return total, (total - prediction.entropies.cpu()).clamp_min(0)


def brier(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean over N examples of the squared errors, summed over K classes: 0 to 2.

    Args:
        probabilities: `(N, K)`.
        targets: `(N,)`.

    Source: Brier, "Verification of Forecasts", Monthly Weather Review 78, 1950.
    """
    errors = probabilities.copy()
    errors[np.arange(len(targets)), targets] -= 1
    return float(np.square(errors).sum(1).mean())


def area_under_roc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the chance that a random unknown example scores above a known one (ties: half).

    It is the area under the curve of hits over false alarms, by the trapezoidal rule over the
    corners of the curve. One sort, `O((N + M) log(N + M))`.

    Args:
        known: Scores `(N,)`.
        unknown: Scores `(M,)`.
    """
    scores = np.concatenate([known, unknown])
    order = np.argsort(-scores)
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # of equal scores
    hits = np.cumsum(order >= len(known), dtype=float)[last]
    alarms = last + 1 - hits
    bends = (np.diff(alarms, 2) != 0) | (np.diff(hits, 2) != 0)
    corners = np.concatenate([[True], bends, [True]])[: len(last)]
    up, right = (np.append(0, each[corners]) / each[-1] for each in (hits, alarms))
    return float((np.diff(right) * (up[1:] + up[:-1]) / 2).sum())


class Uncertainty(Probe):
    """Measures how far predictions can be trusted, after every task, of all tasks seen.

    Where the stream has inputs of no task, and the model is not told the task, it also measures how
    well these are told apart.
    """

    def __init__(self) -> None:
        self._unknown: Prediction | None = None
        self._summaries: list[Summary] = []
        self._measured: list[Measured] = []
        self._last: Prediction | None = None

    def attach(self, run: Run) -> None:
        """Take the inputs of no task."""
        self._inputs = run.unknown

    def further_inputs(self, at: Moment) -> Sequence[Examples]:  # noqa: ARG002
        """Return the inputs of no task, if there are some."""
        return [] if self._inputs is None else [self._inputs]

    def predicted(self, at: Moment, task: Task | None, prediction: Prediction) -> None:
        """Keep a few numbers of the predictions for each task seen."""
        if task is None:
            self._unknown = prediction
        elif task.index <= at.task.index:
            shared = prediction is self._last  # tasks may share a test part
            known = self._summaries
            known.append(known[-1] if shared else summary_of(prediction, self._unknown))
            self._last = prediction

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:  # noqa: ARG002
        """Join what was measured of each task."""
        self._measured.append(uncertainty(self._summaries))
        self._unknown, self._summaries, self._last = None, [], None
        return {"uncertainty": self._measured[-1]}

    def measures(self) -> Mapping[str, Any]:
        """Return what was measured after the last task."""
        return {"uncertainty": self._measured[-1] if self._measured else {}}

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured, and what the evaluation under way has given so far."""
        return {
            "unknown": None if self._unknown is None else vars(self._unknown),
            "summaries": [vars(each) for each in self._summaries],
            "uncertainty": self._measured,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        unknown = state["unknown"]
        self._unknown = None if unknown is None else Prediction(**unknown)
        self._summaries = [Summary(**each) for each in state["summaries"]]
        self._measured = list(state["uncertainty"])
