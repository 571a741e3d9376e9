"""Bop, the binary optimizer: gradients flip weights, and nothing is kept but their average.

Source: Helwegen, Widdicombe, Geiger, Liu, Cheng and Nusselder, "Latent Weights Do Not Exist:
Rethinking Binarized Neural Network Optimization", NeurIPS 2019, algorithm 1.

With gradient g of the mean loss, average m (0 at first, not corrected for that), adaptivity
rate gamma, threshold tau and binary weight w, algorithm 1 is:

    m <- (1 - gamma) m + gamma g
    w <- -w    if |m| > tau and sign(m) = sign(w), which is w m > tau
    w <-  w    otherwise

Weights that others write (`load_state_dict`) keep their averages, but one that would flip what
was written at once, being of gradients at other weights, turns its sign.

m is not reset by a flip, so a weight flips back only where m has crossed from beyond tau to
beyond -tau. A gradient that is always zero flips nothing, even where tau = 0.

The form `accumulator` keeps a = m / gamma instead, as `self.state[w]["a"]`:

    a <- (1 - gamma) a + g
    w <- -w    if w a > theta,  theta = tau / gamma, with the gamma of the step

which flips alike while gamma is constant. It shows what matters: theta, in units of the
gradient, and the memory of 1 / gamma steps. In training much shorter than that, a is the sum of
all gradients. And a is as large as gradients are, where m underflows float16. It is the flip
rule of Laydevant, Ernoult, Querlioz and Grollier, "Training Dynamical Binary Neural Networks
with Equilibrium Propagation", CVPR Workshops 2021. When gamma is lowered, the average keeps m,
and the accumulator keeps a and raises theta: from there on it flips less than the average.

gamma is the first group's `lr`, so that torch's schedulers schedule it. `gamma_decay` is the
published staircase, gamma <- gamma_decay gamma after every `gamma_decay_steps` steps; use that
or a scheduler. Real parameters get Adam, as in Helwegen et al., or plain gradient descent,
p <- p - real_lr g, as in Laydevant et al. By the same method, the scaling factors alpha of
binary layers learn with a rate of their own if there is a `scale_lr`, which goes down a
staircase as gamma does. They are the parameters `scale` of modules with `binary_names`.

Options that may be lists have a value per layer from input to output, the layers being the
model's segments that hold parameters, whatever these are. A list parts its parameters into a
group per layer: weights by `gamma` and `threshold`, the rest by `real_lr`, scaling factors by
`scale_lr`, in this order. A parameter that segments share is the first one's.

Published code differs where w m = tau: the original then sets w to +1 whatever it was, and a
port to PyTorch sets it to 0, for ever. The port also starts from real weights, whose size then
scales tau. Here w is -1 or +1 always, and w m = tau does not flip, as the paper has it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.elementwise import Scratch, chunks, subtract
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.interfaces.signs import is_binary
from bnnlab.markers import Above, AtLeast, AtMost, Positive, Search
from bnnlab.registry.options import per_layer
from bnnlab_bop.formulas import CompilableBop, limit_of, lower_rates

Factor = Annotated[float, Above(0), AtMost(1)]


class Bop(CompilableBop):
    """Flips a binary weight when the average of its gradients has its sign and is large enough.

    The docstring of this module has the equations and what each option does.

    Args:
        generator: Not used: nothing is drawn.
        gamma: Adaptivity rate: the weight of the newest gradient in the average. A list: one per
            layer.
        threshold: tau: a weight flips if the average has its sign and is larger than this. A list:
            one per layer.
        gamma_decay: gamma is multiplied by this every gamma_decay_steps steps. 1: constant gamma.
        gamma_decay_steps: Steps between two decays of gamma.
        form: average: keep the average m. accumulator: keep m / gamma and compare it with
            threshold / gamma, which suits low precision.
        real_optimizer: Optimizer of biases, norms and scales; sgd: without momentum.
        real_lr: Learning rate of biases, norms and scales. A list: one per layer.
        scale_lr: Learning rate of learned scales. A list: one per layer. None: real_lr. 0: fixed
            scales.
        scale_lr_decay: scale_lr is multiplied by this every scale_lr_decay_steps steps. 1: constant
            scale_lr.
        scale_lr_decay_steps: Steps between two decays of scale_lr.

    Raises:
        UsageError: On a list with another number of values than there are layers, or a `scale_lr`
            for a model without learned scaling factors.
    """

    capturable = True
    formulas = CompilableBop.formulas

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator | None = None,
        gamma: Annotated[float | list[float], Above(0), AtMost(1), Search(1e-5, 1e-2)] = 1e-4,
        threshold: Annotated[float | list[float], AtLeast(0), Search(1e-9, 1e-5)] = 1e-8,
        gamma_decay: Factor = 1.0,
        gamma_decay_steps: Annotated[int, AtLeast(1)] = 10000,
        form: Literal["average", "accumulator"] = "average",
        real_optimizer: Literal["adam", "sgd"] = "adam",
        real_lr: Positive | list[Positive] = 0.01,
        scale_lr: Annotated[float | list[float] | None, AtLeast(0)] = None,
        scale_lr_decay: Factor = 1.0,
        scale_lr_decay_steps: Annotated[int, AtLeast(1)] = 10000,
    ) -> None:
        super().__init__(model, lr=0.0, generator=generator)  # each group below has its own
        weights, rest = (group["params"] for group in self.param_groups)
        stairs = {"scale_lr_decay": scale_lr_decay, "scale_lr_decay_steps": scale_lr_decay_steps}
        real_groups = [*_real_groups(model, rest, real_lr, scale_lr, stairs)]
        self.param_groups.clear()
        settings = {"learned": True, "binary": True, "form": form, "gamma_decay": gamma_decay}
        settings["gamma_decay_steps"] = gamma_decay_steps
        for part, lr, tau in _parted(model, weights, gamma=gamma, threshold=threshold):
            own = {"params": part, "lr": lr, "threshold": tau, "limit": math.inf, "t": 0}
            self.add_param_group({**own, **settings})
        for group in real_groups:
            self.add_param_group(group)
        name = "m" if form == "average" else "a"
        for parameter in weights:
            flips = torch.zeros((), dtype=torch.int64, device=parameter.device)
            self.state[parameter].update({name: torch.zeros_like(parameter), "flips": flips})
        self.real_optimizer = real_optimizer
        self._weights, self._scratch = weights, Scratch()

    def check_rates(self, factor: float) -> None:
        """Refuse gamma above 1, with which m is no average."""
        for group in self.learned_groups():
            if group["lr"] * factor > 1:
                raise UsageError(f"gamma {group['lr'] * factor:g} is above 1: lower it")

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step: evaluate, flip weights, update the real parameters."""
        loss = closure()
        learn = self.update if self.kernels is None else self.learn_compiled
        for group in self.learned_groups():
            for parameter in group["params"]:
                if parameter.grad is not None:
                    learn(group, parameter, parameter.grad)
        self.step_real()
        return loss

    def step_real(self) -> None:
        """Update what is not flipped, by Adam or by plain gradient descent."""
        if self.real_optimizer == "adam":
            super().step_real()
            return
        for group in self.param_groups:
            for parameter in () if group["learned"] else group["params"]:
                if parameter.grad is not None:
                    subtract(parameter, parameter.grad, self.lr_now(group))

    def step_begins(self) -> None:
        """Take the numbers of this step, then lower the rates for the next one."""
        super().step_begins()
        lower_rates(self.param_groups)

    def step_numbers(self, group: Group) -> dict[str, float]:
        """Return the rate; of weights, that is gamma, also the limit beyond which they flip."""
        numbers = super().step_numbers(group)
        if group["learned"]:
            numbers["limit"] = group["limit"] = limit_of(group)  # beyond which no average is left
        return numbers

    def update(self, group: Group, parameter: Tensor, grad: Tensor) -> None:
        """Apply the equations of this module to binary weights, by the mean loss's gradient."""
        numbers, state = self.numbers_now(group), self.state[parameter]
        gamma, average = self.lr_now(group), group["form"] == "average"
        for w, g, kept in chunks(parameter, grad, state["m" if average else "a"]):
            if average:
                kept.lerp_(g, gamma.to(kept.dtype) if isinstance(gamma, Tensor) else gamma)
            else:
                kept.mul_(1 - gamma).add_(g)
            (flipped,) = self._scratch(w, 1)  # 1 where the weight flips, else 0
            torch.mul(w, kept, out=flipped).gt_(numbers["limit"])
            w.addcmul_(w, flipped, value=-2)
            # A float32 sum of a CPU's chunk is exact, and faster than count_nonzero.
            state["flips"].add_(flipped.sum(dtype=torch.float32).long())

    def adopt(self, parameter: Tensor) -> None:
        """Take over weights that others wrote: an average that would flip them turns its sign.

        It is one of gradients at other weights.
        """
        group, state = self.group_of(parameter), self.state[parameter]
        kept = state["m" if group["form"] == "average" else "a"]
        kept.copy_(torch.where(kept * parameter > group["limit"], -kept, kept))

    def diagnostics(self) -> dict[str, float]:
        """Return the flips since the last call, per weight, and count anew.

        `flips_per_weight` is over all weights. With several binary parameters,
        `flips_per_weight.1`, `.2`, ... are over one each, from input to output.
        """
        if not self._weights:
            return {}
        sizes = [parameter.numel() for parameter in self._weights]
        counts = [self.state[parameter]["flips"] for parameter in self._weights]
        flips = torch.stack([count.cpu() for count in counts]).tolist()
        for count in counts:
            count.zero_()
        found = {"flips_per_weight": sum(flips) / sum(sizes)}
        if len(sizes) > 1:
            for number, (count, size) in enumerate(zip(flips, sizes, strict=True), start=1):
                found[f"flips_per_weight.{number}"] = count / size
        return found


def _real_groups(
    model: Model,
    parameters: list[Tensor],
    real_lr: float | list[float],
    scale_lr: float | list[float] | None,
    stairs: dict[str, float],
) -> Iterator[Group]:
    """Yield the groups of the real parameters; scaling factors have their own with a `scale_lr`.

    Raises:
        UsageError: If there is a `scale_lr` and there are no scaling factors.
    """
    scales = {part._parameters.get("scale") for part in model.modules() if is_binary(part)}
    apart = [p for p in parameters if scale_lr is not None and p in scales]
    if scale_lr and not apart:
        raise UsageError(
            "optimizer.scale_lr: the model has no scaling factors to learn. Give its binary "
            "layers some (scale='learned'), or leave scale_lr out."
        )
    others = [p for p in parameters if scale_lr is None or p not in scales]
    for part, lr in _parted(model, others, real_lr=real_lr):
        yield {"params": part, "lr": lr}
    if scale_lr is not None:
        for part, lr in _parted(model, apart, scale_lr=scale_lr):
            yield {"params": part, "lr": lr, "t": 0, **stairs}


def _parted(
    model: Model, parameters: list[Tensor], **values: float | list[float]
) -> Iterator[tuple[Any, ...]]:
    """Yield parameters and their values: of all together, or of each layer if one is a list."""
    if not any(isinstance(value, Sequence) for value in values.values()):
        yield parameters, *values.values()
        return
    segments = [{*segment.parameters()} for segment in model.segments]
    layers = [held for held in segments if held]
    lists = [per_layer(f"optimizer.{name}", value, len(layers)) for name, value in values.items()]
    for held, *own in zip(layers, *lists, strict=True):
        yield [p for p in parameters if p in held], *own
        parameters = [p for p in parameters if p not in held]
