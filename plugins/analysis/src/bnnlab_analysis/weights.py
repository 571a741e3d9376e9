"""What a task did to the learned weights, layer by layer: flips, latent weights, learned scales."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.interfaces.faults import checked_latent
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Moment, Probe, Run

log = logging.getLogger(__name__)

BINS = 41
"""Of a histogram; the middle one lies about 0."""
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_CHUNK = 1 << 22  # torch.histc counts in float32, which is exact up to 2^24


def learned_weights(model: Model) -> dict[str, nn.Parameter]:
    """Return the binary parameters by name, or without any, those of two or more dimensions."""
    real = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    return model.binary_parameters() or real


def signs(model: Model) -> list[Tensor]:
    """Return where each learned weight is positive, as bool."""
    return [parameter.detach() > 0 for parameter in learned_weights(model).values()]


def flipped(model: Model, before: Sequence[Tensor]) -> float | None:
    """Return the share of all binary weights whose sign is not as before; None without any.

    Args:
        model: As it is now.
        before: What `signs` returned earlier.
    """
    if not model.binary_parameters():
        return None
    now = signs(model)
    changed = sum((a != b.to(a.device)).sum() for a, b in zip(now, before, strict=True))
    return int(changed) / sum(a.numel() for a in now)


def describe(model: Model, optimizer: Optimizer, before: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Return what became of each learned weight, from input to output.

    Args:
        model: The model as it is now.
        optimizer: The optimizer of this model, which keeps the numbers behind each weight.
        before: What `signs` returned earlier.

    Returns:
        Per learned weight: its `name`; `flips`, the share whose sign is not as before; `latent`,
        the histogram of what is kept behind it as `low`, `high` and `counts`, 41 equal bins from
        minus the largest absolute value to plus it; and `scale`, the quantiles 0, 0.25, 0.5, 0.75
        and 1 of its layer's learned scale. `latent` and `scale` are None if the layer has no such
        numbers, or if one is not finite; in the second case the log warns.

    Raises:
        RunError: If what is kept behind a weight is no tensor of floats of its shape.
    """
    layers = []
    for (name, parameter), sign in zip(learned_weights(model).items(), before, strict=True):
        latent = checked_latent(optimizer, parameter, name)
        scale = getattr(model.get_submodule(name.rpartition(".")[0]), "scale", None)
        layers.append(
            {
                "name": name,
                "flips": int(((parameter > 0) != sign.to(parameter.device)).sum()) / sign.numel(),
                "latent": None if latent is None else _histogram(latent, name),
                "scale": _quantiles(scale, name) if isinstance(scale, nn.Parameter) else None,
            }
        )
    return layers


def _histogram(latent: Tensor, name: str) -> dict[str, Any] | None:
    parts = torch.split(latent.detach().float().flatten(), _CHUNK)
    largest = torch.stack([part.abs().max() for part in parts]).max()
    high = torch.where(largest == 0, 1.0, largest)
    counts = torch.stack([torch.histc(part / high, BINS, -1, 1).int() for part in parts]).sum(0)
    edge = float(high)
    if not math.isfinite(edge):
        log.warning("what is kept behind %s is not finite", name)
        return None
    return {"low": -edge, "high": edge, "counts": counts.tolist()}


def _quantiles(scale: Tensor, name: str) -> list[float] | None:
    found = scale.detach().float().flatten().cpu().quantile(torch.tensor(QUANTILES))
    if not bool(found.isfinite().all()):
        log.warning("the learned scale of %s is not finite", name)
        return None
    quantiles: list[float] = found.tolist()
    return quantiles


class Weights(Probe):
    """Measures what each task did to the learned weights, see `describe`."""

    def __init__(self) -> None:
        self._flips: list[float | None] = []
        self._start: list[Tensor] = []

    def attach(self, run: Run) -> None:
        """See that the optimizer describes its weights rightly, before any work."""
        self._model, self._optimizer = run.model, run.optimizer
        describe(run.model, run.optimizer, signs(run.model))

    def task_started(self, at: Moment) -> None:  # noqa: ARG002
        """Remember the signs that the task begins with."""
        self._start = signs(self._model)

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:  # noqa: ARG002
        """Describe the weights, and say which share has another sign."""
        self._flips.append(flipped(self._model, self._start))
        layers = describe(self._model, self._optimizer, self._start)
        self.log("weights", task=at.task.index, step=at.steps, layers=layers)
        return {"flips": self._flips[-1]}

    def measures(self) -> Mapping[str, Any]:
        """Return the share of binary weights that each task changed."""
        return {"flips": self._flips}

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured, and the signs at the task's start."""
        return {"flips": self._flips, "start": self._start}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._flips, self._start = list(state["flips"]), list(state["start"])
