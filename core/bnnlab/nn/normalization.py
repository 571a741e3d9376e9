"""Normalisation, with an explicit choice of the statistics at test."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.guards.modes import in_mode
from bnnlab.nn.dropout import Dropout

Norm = Literal["batch", "layer", "group", "none"]
Statistics = Literal["running", "per-task", "recalibrated"]


class BatchNorm(nn.Module):
    """Batch normalisation over dimension 1 (Ioffe and Szegedy, 2015), for 2-d to 4-d inputs.

    In training it uses the batch's statistics. At test it never does; it uses

    - `running`: the exponential average over all training so far, whichever task it came from;
    - `per-task`: one such average per task, so the task must be known at test (`task-ids`);
    - `recalibrated`: averages measured afresh before each evaluation, on training images: those
      of the task under test if the stream tells it (`task-ids`), else of all tasks seen so far.

    gamma and beta, where there are any, are shared by all tasks.

    Args:
        features: Size of dimension 1.
        statistics: Which of the three.
        affine: Whether gamma and beta are learned; they start at 1 and 0.
        momentum: Weight of the newest batch in the exponential average.
        eps: Added to the variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        features: int,
        statistics: Statistics = "running",
        affine: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if statistics not in get_args(Statistics):
            raise ValueError(f"statistics {statistics!r}: choose from {get_args(Statistics)}")
        self.statistics, self.momentum, self.eps = statistics, momentum, eps
        self.gamma = nn.Parameter(torch.ones(features)) if affine else None
        self.beta = nn.Parameter(torch.zeros(features)) if affine else None
        self.register_buffer("mean", torch.zeros(1, features))  # a row per slot
        self.register_buffer("variance", torch.ones(1, features))
        self.slot = 0
        self.measured: int | None = None  # batches measured while recalibrating

    @property
    def by_task(self) -> bool:
        """Whether a task has statistics that are kept while others are learned."""
        return self.statistics == "per-task"

    def select(self, slot: int) -> None:
        """Use the statistics of this slot from now on; new ones start at mean 0, variance 1."""
        missing = slot + 1 - len(self.mean)
        if missing > 0:
            self.mean = F.pad(self.mean, (0, 0, 0, missing))
            self.variance = F.pad(self.variance, (0, 0, 0, missing), value=1.0)
        self.slot = slot

    def select_task(self, task: int) -> None:
        """Select the statistics of a task, if they are per-task or recalibrated."""
        if self.statistics != "running":
            self.select(task)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(B, features, ...)`.

        Raises:
            ValueError: In training, if there is a single value per feature.
        """
        momentum = self.momentum
        if self.training and x.numel() == x.shape[1]:
            raise ValueError(
                "batch normalisation needs more than one value per feature in training: "
                "use a larger batch, or another normalisation where the model has the choice"
            )
        if self.measured is not None:
            self.measured += 1
            momentum = 1 / self.measured
        keep = not self.training or self.statistics != "recalibrated" or self.measured is not None
        return F.batch_norm(
            x,
            self.mean[self.slot] if keep else None,
            self.variance[self.slot] if keep else None,
            self.gamma,
            self.beta,
            self.training,
            momentum,
            self.eps,
        )

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        rows = len(state.get(prefix + "mean", self.mean))
        self.select(rows - 1)
        self.mean, self.variance = self.mean[:rows], self.variance[:rows]
        super()._load_from_state_dict(state, prefix, *args)

    def extra_repr(self) -> str:
        """Show the choice when the module is printed."""
        return f"{self.mean.shape[1]}, statistics={self.statistics!r}"


def make_norm(
    kind: Norm,
    features: int,
    statistics: Statistics,
    affine: bool,
    *,
    groups: int = 32,
    momentum: float = 0.1,
    eps: float = 1e-5,
    maps: bool = False,
) -> nn.Module | None:
    """Return the chosen normalisation of `features` units or channels, or None for `none`.

    Args:
        kind: batch; layer: over all that an example has (Ba et al., "Layer Normalization", 2016);
            group: over the units of each group, and their maps (Wu and He, "Group Normalization",
            ECCV 2018); or none.
        features: Size of dimension 1.
        statistics: As in `BatchNorm`.
        affine: Whether there are a gain and a shift, one for each feature.
        groups: Number of groups.
        momentum: As in `BatchNorm`.
        eps: Added to the variance.
        maps: Whether inputs are maps (B, features, ...), and not (B, features).

    Raises:
        UsageError: If `groups` does not divide the features.
    """
    if kind == "batch":
        return BatchNorm(features, statistics, affine, momentum, eps)
    if kind == "layer" and not maps:
        return nn.LayerNorm(features, eps, affine)
    if kind == "group" and features % groups:
        raise UsageError(f"model.groups: {groups} groups of equal size are not in {features} units")
    groups = 1 if kind == "layer" else groups
    return None if kind == "none" else nn.GroupNorm(groups, features, eps, affine)


def _recalibrated(model: nn.Module) -> list[BatchNorm]:
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    return [norm for norm in norms if norm.statistics == "recalibrated"]


def needs_recalibration(model: nn.Module) -> bool:
    """Return whether statistics must be measured before the model is evaluated."""
    return bool(_recalibrated(model))


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the test-time statistics as plain averages over `batches` of training inputs."""
    norms = _recalibrated(model)
    with in_mode(model, training=False):
        for norm in norms:
            norm.train()
            norm.measured = 0
        try:
            for inputs in batches:
                model(inputs)
        finally:
            for norm in norms:
                norm.measured = None


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Keep running averages, and what dropout draws next, unchanged by another pass over a batch.

    It works on copies: a pass without them would save other tensors for the backward pass than
    the first one, which `torch.utils.checkpoint` refuses.
    """
    kinds = (BatchNorm, nn.modules.batchnorm._NormBase, Dropout)
    kept = [
        (module, dict(module._buffers)) for module in model.modules() if isinstance(module, kinds)
    ]
    for module, buffers in kept:
        for name, buffer in buffers.items():
            module._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for module, buffers in kept:
            module._buffers.update(buffers)
