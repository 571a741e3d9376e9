"""How a rule's gradient compares with the exact one, and what the surrogate gradients let through.

The exact gradient is autograd's over the whole network, with the same surrogate gradients.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab import seeds
from bnnlab.errors import RunError
from bnnlab.guards.modes import in_mode
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.probe import Moment, Probe, Run
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.nn.layers import Sign
from bnnlab.nn.normalization import frozen_statistics

Diagnosis = dict[str, float | None]
"""Of a segment: `angle` in degrees, `norm`, `exact_norm` and `window`."""


def diagnose(rule: LearningRule, model: Model, batch: Batch) -> list[Diagnosis]:
    """Compare a rule's gradient with the exact one on a batch, segment by segment.

    Model, rule and random numbers are left as they were; gradients are cleared.

    Args:
        rule: Attached to the model.
        model: Evaluated in training mode, at the weights that it holds.
        batch: Inputs, targets and loss.

    Returns:
        Per segment: the `angle` between the two gradients of its parameters, in degrees from 0 to
        180; their lengths `norm` and `exact_norm`; and `window`, the share of the pre-activations
        of its sign activations where the surrogate gradient is not zero. A value is None if there
        is nothing to measure: no parameter, a gradient of length 0, no sign activation.
    """
    with _untouched(rule, model):
        closure = rule.closure(model, batch)
        closure()
        learned = closure.batch  # with what the rule recalls
        owned = _owned(model)
        taught = [_flat([p.grad for p in each], each) for each in owned]
        with _windows(model) as windows:
            loss = rule.objective(learned)(model(learned.inputs), learned.targets)
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            name = type(rule).__name__
            raise RunError(
                f"the loss that {name}.objective() gives must be a scalar that autograd can "
                "differentiate"
            )
        every = [p for each in owned for p in each]
        exact = dict(zip(every, torch.autograd.grad(loss, every, allow_unused=True), strict=True))
        rows = zip(owned, taught, windows, strict=True)
        return [_row(mine, _flat([exact[p] for p in each], each), w) for each, mine, w in rows]


def _row(mine: Tensor, exact: Tensor, windows: list[Tensor]) -> Diagnosis:
    norm, exact_norm = float(mine.norm()), float(exact.norm())
    angle = None
    if norm > 0 and exact_norm > 0:
        cosine = float(mine @ exact) / (norm * exact_norm)
        angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    has_parameters = len(mine) > 0
    return {
        "angle": angle,
        "norm": norm if has_parameters else None,
        "exact_norm": exact_norm if has_parameters else None,
        "window": float(torch.cat(windows).mean()) if windows else None,
    }


def _owned(model: Model) -> list[list[nn.Parameter]]:
    """Return each segment's parameters; shared ones belong to the first that has them."""
    seen = set[nn.Parameter]()
    owned = []
    for segment in model.segments:
        owned.append([p for p in segment.parameters() if p.requires_grad and p not in seen])
        seen.update(owned[-1])
    return owned


def _flat(grads: list[Tensor | None], parameters: list[nn.Parameter]) -> Tensor:
    """Return gradients as one float64 vector, zeros for those that are None.

    It is on the CPU: some devices have no float64.
    """
    pairs = zip(grads, parameters, strict=True)
    parts = [(torch.zeros_like(p) if g is None else g).detach().flatten() for g, p in pairs]
    return torch.cat(parts).cpu().double() if parts else torch.zeros(0, dtype=torch.float64)


@contextmanager
def _windows(model: Model) -> Iterator[list[list[Tensor]]]:
    """Collect, per segment, where the surrogate gradients of its sign activations are not zero."""
    found: list[list[Tensor]] = [[] for _ in model.segments]

    def note(mine: list[Tensor], sign: Sign, inputs: tuple[Tensor], _: Any) -> None:
        mine.append(sign.is_open(inputs[0].detach()).flatten().float())

    with ExitStack() as hooks:
        for mine, segment in zip(found, model.segments, strict=True):
            for module in segment.modules():
                if isinstance(module, Sign):
                    hooks.enter_context(module.register_forward_hook(partial(note, mine)))
        yield found


@contextmanager
def _untouched(rule: LearningRule, model: Model) -> Iterator[None]:
    """Put back what an evaluation changes: mode, statistics, the rule's state, random numbers."""
    state = copy.deepcopy(rule.state_dict())
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    uncompiled = torch.compiler.set_stance("force_eager")  # compiled segments hide their layers
    try:
        with (
            in_mode(model, training=True),
            torch.random.fork_rng(devices),
            frozen_statistics(model),
            uncompiled,
        ):
            yield
    finally:
        rule.load_state_dict(state)
        for parameter in model.parameters():
            parameter.grad = None


class GradientDiagnosis(Probe):
    """Compares the rule's gradient with the exact one after every epoch, see `diagnose`."""

    def __init__(self) -> None:
        self._found: list[list[Diagnosis]] = []
        self._last: list[Diagnosis] = []

    def attach(self, run: Run) -> None:
        """Take the rule, and the model that it teaches."""
        self._run = run

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Diagnose the rule on a batch of the task that the seed chooses."""
        run, task = self._run, at.task
        order = seeds.permutation(len(task.train), run.seed, "diagnosis", task.index)
        batch = Batch(*task.train.batch(order[: run.batch_size]), task.loss)
        found = diagnose(run.rule, run.model, batch)
        self.log("diagnosis", task=task.index, epoch=at.epoch, step=at.steps, segments=found)
        self._last = found

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:  # noqa: ARG002
        """Keep what was found after the task's last epoch."""
        if self._last:
            self._found.append(self._last)
        self._last = []
        return {}

    def measures(self) -> Mapping[str, Any]:
        """Return what was found after each task's last epoch."""
        return {"diagnosis": self._found}

    def state_dict(self) -> dict[str, Any]:
        """Return what was found."""
        return {"diagnosis": self._found, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; 0.1.0 kept no last one."""
        self._found, self._last = list(state["diagnosis"]), state.get("last", [])
