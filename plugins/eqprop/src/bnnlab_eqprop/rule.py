"""Equilibrium propagation: a network relaxes, is nudged, and relaxes again; no error goes back.

Sources: Scellier and Bengio, "Equilibrium Propagation: Bridging the Gap between Energy-Based Models
and Backpropagation", Frontiers in Computational Neuroscience 11:24, 2017; Ernoult, Grollier,
Querlioz, Bengio and Scellier, "Updates of Equilibrium Prop Match Gradients of Backprop Through Time
in an RNN with Static Input", NeurIPS 2019; Laborieux et al., "Scaling Equilibrium Propagation to
Deep ConvNets by Drastically Reducing its Gradient Estimator Bias", Frontiers in Neuroscience
15:633674, 2021; and, with binary weights and units, Laydevant, Ernoult, Querlioz and Grollier,
"Training Dynamical Binary Neural Networks with Equilibrium Propagation", CVPR Workshops 2021.

With the primitive function Phi of `bnnlab_eqprop.chain`, every state is updated by

    s_l <- sigma_l(dPhi/ds_l),

the free phase, T times, to s^0. The nudged phase goes on from there for K updates, to s^beta,
with a force on the last state: beta (y - s_L), where y is the one-hot target, or, with a loss
that reads the states out, -beta N dL/ds_L. Then, for a batch of N,

    dL/dtheta = -(dPhi/dtheta(s^beta) - dPhi/dtheta(s^0)) / (beta N),

which beta -> 0 makes the gradient of backpropagation through the last K of the T updates, if
they are synchronous and the states at rest before (Ernoult et al., theorem 1); with even-odd
updates that takes a larger K. `centred` takes s^beta and s^-beta, both in one doubled batch,
and 2 beta: its error falls as beta squared, not as beta (Laborieux et al., section 2.4).

This holds for a force on the drive, inside sigma_L. Published is one on the state, outside. As
beta -> 0 it gives the gradient of another loss, dL/da_L = s_L - y, which has no factor
sigma_L': outputs that are saturated on the wrong side still learn. The two are equal where
sigma_L' = 1. A state that is `clamped` as well, as published for fully connected networks, does
not move where the force points out of its bounds: there one sign of beta gives this gradient
and the other none, so that `random-sign` gives it every other time and `centred` half of it.
At a negative beta the nudged state is (sigma - |beta| y) / (1 - |beta|), so that |beta| < 1.

With several output units per class each is pulled to y, as published: the loss that falls is
the sum of their squared errors, while the one returned, and `bptt`'s, is that of their mean.

The gradients of a binary layer, y = alpha w x + b, are those of its weights w and, if it is
learned, of its scale alpha. With `gradient="effective"` they are those of W = alpha w and of
log alpha, as in Laydevant et al.: they differ by a factor of alpha.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Loss
from bnnlab.markers import Positive, Search
from bnnlab_eqprop.chain import Layer, joined
from bnnlab_eqprop.relaxation import Nudge, States
from bnnlab_eqprop.signs import SigningRule
from bnnlab_eqprop.units import bounds, saturated

Nudging = Literal["one-sided", "random-sign", "centred"]


class EquilibriumPropagation(SigningRule):
    """Learns from how the states at rest move when the last one is nudged towards the target.

    The docstring of this module has the equations.

    Args:
        beta: Strength of the nudge towards the target.
        nudging: one-sided: by +beta. random-sign: by +beta or -beta, drawn per batch. centred: by
            both, in one doubled batch.
        nudge: Where the force of a squared error is added. drive: to the drive of the last state.
            state: to the state. clamped: to the state, which stays within its bounds.
        error: The error y - s_L of the nudge. live: of the state as it is. free: of the state after
            the free phase.
        gradient: exact: of the weights w and their scale alpha. effective: of alpha w and log
            alpha, as published.
        options: Options of `RelaxingRule`.
    """

    relaxed: Tensor
    """Batches since the last call of `diagnostics`, and the steps of their free phases."""

    def __init__(
        self,
        beta: Annotated[Positive, Search(0.05, 0.5)] = 0.3,
        nudging: Nudging = "centred",
        nudge: Literal["drive", "state", "clamped"] = "state",
        error: Literal["live", "free"] = "live",
        gradient: Literal["exact", "effective"] = "exact",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        on_state = self.loss == "squared" and nudge != "drive" and error == "live"
        if beta >= 1 and nudging != "one-sided" and on_state:
            raise UsageError(
                f"rule.beta: {beta:g} must be below 1: the negative nudge depends on the state, "
                "which would diverge. Or set rule.nudging=one-sided, or rule.nudge=drive"
            )
        self.beta, self.nudging, self.nudge, self.error = beta, nudging, nudge, error
        self.gradient = gradient
        self.register_buffer("relaxed", torch.zeros(2, dtype=torch.int64))

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Take the model's segments for layers, and draw what decides the signs of beta."""
        super().attach(model, generator)
        # Gradients are written over those of the batch before: fresh memory costs more than they.
        self._memory: dict[int, Tensor] = {}

    @torch.no_grad()
    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Relax, nudge, and leave the difference in `.grad`."""
        self.check(model, batch)
        network = self.relaxation.network(batch.inputs)
        free = network.start(self.relaxation.initial)
        steps, self._before = network.settle(free, self.free_steps, self.tolerance)
        self.relaxed[0] += 1
        self.relaxed[1] += steps
        self._free = free
        loss, logits = self._read(free, batch)
        beta = self.beta
        if self.nudging == "random-sign":
            beta *= self.sign()
        centred = self.nudging == "centred"
        nudged = free.copy()
        if centred:
            network, nudged = network.twice(), free.twice()
        nudge = self._nudge(batch, nudged, beta)
        for _ in range(self.nudge_steps):
            network.step(nudged, nudge)
        loss = self.checked(loss, {"free": free, "nudged": nudged})
        network.choose(nudged)
        if centred:
            self._teach(batch.inputs, nudged.half(0), nudged.half(1), 2 * beta)
        else:
            network.choose(free)
            self._teach(batch.inputs, nudged, free, beta)
        return loss, logits

    def _read(self, states: States, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return loss and logits; a segment that reads out learns from the loss, exactly."""
        with torch.enable_grad():
            logits = self.relaxation.logits(states)
            loss = self.objective(batch)(logits, batch.targets)
        if loss.requires_grad:
            torch.autograd.backward(loss)
        return loss, logits

    def _nudge(self, batch: Batch, states: States, beta: float) -> Nudge:
        """Return the nudge by beta, or by beta in one half of the states and -beta in the other."""
        unit, s = self.relaxation.layers[-1].unit, states.s[-1]
        targets = batch.targets.repeat(len(s) // len(batch.targets))
        strength = s.new_full((len(s), *[1] * (s.ndim - 1)), beta)
        strength[len(batch.targets) :].neg_()
        if self.loss == "cross-entropy":
            return _nudge_of_loss(batch.loss, self.relaxation.read_out, targets, strength)
        classes = self.relaxation.logits(states).shape[1]
        y = F.one_hot(targets, classes).to(s).repeat(1, s[0].numel() // classes).view_as(s)
        fixed = strength * (y - s)

        def attract(s: Tensor, _z: Tensor) -> Tensor:
            return fixed if self.error == "free" else (y - s).mul_(strength)

        kept_within = bounds(unit) if self.nudge == "clamped" else None
        return Nudge(attract, inside=self.nudge == "drive", bounds=kept_within)

    def _teach(self, x: Tensor, plus: States, minus: States, distance: float) -> None:
        """Leave -(dPhi(plus) - dPhi(minus)) / distance, per example, in `.grad`."""
        factor = -1 / (distance * len(x))
        for number, layer in enumerate(self.relaxation.layers):
            chosen = plus.chosen[number]
            if number == 0:  # x is the same in both: the difference is enough
                below, above = x, plus.z[0] - minus.z[0]
            else:
                above = joined([plus.z[number], -minus.z[number]])
                below = joined([plus.z[number - 1], minus.z[number - 1]])
                if chosen is not None:
                    chosen = joined([chosen, cast(Tensor, minus.chosen[number])])
            memory = self._memory.get(number)
            if memory is not None and (memory.device, memory.dtype) != (above.device, above.dtype):
                memory = None
            dW, db = layer.derivative(below, above.mul_(factor), chosen, memory)
            self._memory[number] = dW
            layer.leave(dW, db, self.gradient == "effective")

    def diagnostics(self) -> dict[str, float]:
        """Return, of the last batch's free phase, the residual and each segment's saturation.

        The `residual` is the largest change of a state in the last step; `saturation.1` the share
        of the first segment's states at a bound of their activation, and so on; `free_steps` the
        steps made, on average since the last call.
        """
        batches, steps = self.relaxed.tolist()
        if not batches:
            return {}
        pairs = zip(self._free.s, self._before, strict=True)
        residual = max(float((new - old).abs().max()) for new, old in pairs)
        self.relaxed.zero_()
        numbers = {"residual": residual, "free_steps": steps / batches}
        return numbers | _saturation(self.relaxation.layers, self._free)


def _nudge_of_loss(
    loss: Loss, read_out: Callable[[Tensor], Tensor], targets: Tensor, strength: Tensor
) -> Nudge:
    """Return the nudge -strength N dL/ds_L, for a loss that reads the states out."""

    def pull(_s: Tensor, z: Tensor) -> Tensor:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(read_out(z), targets), z)
        return gradient * (strength * -len(z))

    return Nudge(pull, inside=True)


def _saturation(layers: Sequence[Layer], states: States) -> dict[str, float]:
    """Return the share of each layer's states that are at a bound of its activation."""
    shares = {}
    for number, (layer, s) in enumerate(zip(layers, states.s, strict=True), start=1):
        at_bounds = saturated(layer.unit, s)
        if at_bounds is not None:
            shares[f"saturation.{number}"] = float(at_bounds.float().mean())
    return shares
