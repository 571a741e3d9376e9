"""The free phase as a model's inference, and what the two rules that relax have in common."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule, Loss
from bnnlab.markers import AtLeast
from bnnlab_eqprop.chain import Layer, layers_of
from bnnlab_eqprop.relaxation import CHECK_EVERY, Network, Order, States
from bnnlab_eqprop.units import bounds

Objective = Literal["squared", "cross-entropy"]


@dataclass(frozen=True)
class Relaxation:
    """Maps a model's inputs to logits by letting its states come to rest.

    With gradients enabled, the last `graph_steps` are those that autograd sees.

    Attributes:
        layers: Those of the dynamics, from input to output.
        read_out: Maps what is read to logits.
        reads_state: Whether that is the last state, or what it puts out.
        steps: T, updates of every state, at most.
        graph_steps: K, updates that are differentiated.
        order: See `Network`.
        tolerance: See `Network.settle`.
        initial: Value of all states at the start.
    """

    layers: list[Layer]
    read_out: nn.Module
    reads_state: bool
    steps: int
    graph_steps: int
    order: Order
    tolerance: float | None
    initial: float

    def network(self, x: Tensor) -> Network:
        """Return the network, driven by a batch."""
        return Network(self.layers, x, self.order)

    def logits(self, states: States) -> Tensor:
        """Return logits `(B, K)`."""
        read = states.s[-1] if self.reads_state else states.z[-1]
        logits: Tensor = self.read_out(read)
        return logits

    def __call__(self, _model: Model, x: Tensor) -> Tensor:
        """Return logits `(B, K)` of inputs `(B, ...)`; all steps are made if gradients are on."""
        return self.logits(self.rest(x, None if torch.is_grad_enabled() else self.tolerance))

    def rest(self, x: Tensor, tolerance: float | None) -> States:
        """Return the states at rest; the last steps have a graph where gradients are enabled."""
        network = self.network(x)
        states = network.start(self.initial)
        seen = min(self.graph_steps, self.steps) if torch.is_grad_enabled() else 0
        with torch.no_grad():
            network.settle(states, self.steps - seen, tolerance)
        network.settle(states, seen, None)
        return states


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the batch's mean of 1/2 |o - y|^2, y one-hot; o is the mean over copies."""
    y = F.one_hot(targets, logits.shape[1]).to(logits)
    return (logits - y).square().sum() / (2 * len(logits))


class RelaxingRule(LearningRule):
    """What rules have in common under which a model's states come to rest.

    Attached, such a rule is also how the model infers (`Model.inference`).

    Args:
        free_steps: T, the largest number of updates of every state in the free phase.
        nudge_steps: K, the number of updates in the nudged phase.
        loss: squared: 1/2 |o - y|^2 of the output states o. cross-entropy: the task's loss; the
            last segment reads the states out and feeds nothing back (Laborieux et al., 2021).
        order: synchronous: all states are updated at once. even-odd: states of odd number first,
            then those of even number.
        tolerance: The free phase ends when no state moves by more than this. 0: when no state moves
            but by rounding. None: after free_steps; so a step never waits for an accelerator, and a
            phase that diverges is found by its loss, which is NaN then.
        initial: Value of all states at the start.
    """

    relaxation: Relaxation

    def __init__(
        self,
        free_steps: Annotated[int, AtLeast(1)] = 50,
        nudge_steps: Annotated[int, AtLeast(1)] = 10,
        loss: Objective = "squared",
        order: Order = "even-odd",
        tolerance: Annotated[float | None, AtLeast(0)] = 0.0,
        initial: float = 0.0,
    ) -> None:
        super().__init__()
        self.free_steps, self.nudge_steps = free_steps, nudge_steps
        self.loss, self.order, self.tolerance, self.initial = loss, order, tolerance, initial
        # for each look at whether states move, and for `checked`
        self.waits = 0 if tolerance is None else free_steps // CHECK_EVERY + 1

    def attach(self, model: Model, generator: torch.Generator) -> None:  # noqa: ARG002
        """Build a dynamical network: each segment of the model becomes a layer of it.

        Raises:
            UsageError: If a segment is not a weight layer, maybe with max pooling, and an
                activation that has an energy; or if the model has no `input_shape`.
        """
        if model.input_shape is None:
            raise UsageError(
                "a relaxation must know the shape of an input: pass input_shape=(...) to "
                "binarize() or Model()"
            )
        squared = self.loss == "squared"
        segments = list(model.segments)
        if not squared and len(segments) < 2:
            raise UsageError(
                "with loss=cross-entropy the last segment only reads the states out, and this "
                "model has no other: give it a hidden layer, or set rule.loss=squared"
            )
        if not squared and (bounded := [p for p in segments[-1].modules() if bounds(p)]):
            raise UsageError(
                "with loss=cross-entropy the last segment returns logits, and this one bounds them "
                f"by {type(bounded[0]).__name__}: set model.output=linear, or rule.loss=squared"
            )
        layers, copies = layers_of(segments if squared else segments[:-1], model.input_shape)
        read_out = nn.Sequential(nn.Flatten(), *([copies] if copies else []))
        self.relaxation = Relaxation(
            layers,
            read_out if squared else segments[-1],
            squared,
            self.free_steps,
            self.nudge_steps,
            self.order,
            self.tolerance,
            self.initial,
        )
        model.inference = self.relaxation

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return a context without casting.

        Raises:
            UsageError: If `precision` asks for any.
        """
        if self.precision is not None:
            raise UsageError(
                "precision: the states of two phases differ by little, at a small beta by less "
                "than bfloat16 can tell. Use precision=float32 under eqprop and bptt"
            )
        return super().autocast(device)

    def check(self, model: Model, batch: Batch) -> None:
        """See that the model is the one attached to, and that the loss is what the task asks for.

        Raises:
            UsageError: If it is not.
        """
        weights = self.relaxation.layers[0].weights
        if not any(part is weights for part in model.modules()):
            raise UsageError("this rule was attached to another model: attach one to this model")
        if self.loss == "squared" and batch.mask is not None:
            raise UsageError(
                "a squared error pulls the outputs of other tasks' classes to 0. For tasks that "
                "choose among classes of their own set rule.loss=cross-entropy and "
                "model.output=linear"
            )

    def objective(self, batch: Batch) -> Loss:
        """Return the loss that is learned by."""
        return squared_error if self.loss == "squared" else batch.loss

    def checked(self, loss: Tensor, phases: Mapping[str, States]) -> Tensor:
        """Return a batch's loss, having seen that no phase has diverged.

        With tolerance None nothing is read: the loss is NaN if one has.

        Raises:
            RunError: If a state is not finite.
        """
        states = [s for each in phases.values() for s in each.s]
        finite = torch.stack([s.sum() for s in states]).isfinite()
        if self.tolerance is None:
            return torch.where(finite.all(), loss.detach(), torch.nan)
        if not bool(finite.all()):
            phase, segment = divmod(int((~finite).nonzero()[0]), len(self.relaxation.layers))
            raise RunError(
                f"the states of segment {segment + 1} are no finite numbers after the "
                f"{[*phases][phase]} phase: the relaxation diverges. Take an activation with "
                "bounds (hard sigmoid, hardtanh), weights of a smaller scale, or a smaller beta"
            )
        return loss
