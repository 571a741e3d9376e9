"""Elastic weight consolidation: a quadratic penalty, weighted by the Fisher information.

Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS
114(13), 2017, eq. 3; `online`: Schwarz et al., "Progress & Compress", ICML 2018, and Huszár,
"Note on the quadratic penalties in elastic weight consolidation", PNAS 115(11), 2018.

After tasks k = 1 ... K, with their Fisher information F_k and parameters theta_k at their ends,
the loss L of the task being learned becomes

    online:   L + (lambda / 2) sum_i F_i (theta_i - theta_K,i)^2,     F <- gamma F + F_K
    offline:  L + (lambda / 2) sum_k sum_i F_k,i (theta_i - theta_k,i)^2

and, of another kind, after the steps t = 1 ... T, with g_t the gradient of step t's batch and
theta_t the parameters at which it was taken ("stream-ewc" of the code of Bonnet et al.,
"Bayesian continual learning and forgetting in neural networks", Nature Communications 2025),

    stream:   L + (lambda / 2) sum_i F_i (theta_i - theta_T,i)^2,     F <- gamma F + g_T^2

It needs no ends of tasks. It damps the next step by the last ones, no more, and F is the
empirical Fisher information of single examples only where a batch has one.

theta_K was already the best for L_K and the penalty of the tasks before, so with gamma = 1
`online` is the repeated Laplace approximation (Huszár). The sum over k counts earlier tasks
twice: where they held a parameter more firmly than task K does, it returns to where they left
it, and the newest tasks are lost. The sum is kept as one quadratic, which has the same
gradient: with F = sum_k F_k,

    sum_k F_k (theta - theta_k) = F (theta - theta*),    theta* = (sum_k F_k theta_k) / F

so memory does not grow with K in either. F_k is the diagonal of the true Fisher information,

    F_k,i = mean over x of (d log p(y|x) / d theta_i)^2,    y drawn from p(y|x),

over `fisher_samples` training examples of the task, at its end: with running statistics as at
test, among the task's own classes where it has some, the gradient of a binary weight being its
latent weight's (straight through). It is found by backpropagation, whatever the learning rule.
`fisher=exact` takes the mean over y instead of a draw, one pass per class. `empirical` takes
the given labels for y, as most published code does; it is small where the model knows them.

With `shuffle` the numbers of F_k are shuffled within each tensor: as much is held back, and not
where it matters. It is the control "random consolidation" of Laborieux et al., "Synaptic
metaplasticity in binarized neural networks", Nature Communications 2021.

p(y|x) is the softmax; of real numbers, the normal distribution with the outputs for its mean
and variance 1, whose log p is minus half the squared error (Martens, "New Insights and
Perspectives on the Natural Gradient Method", JMLR 21, 2020); of several positions, the product
over those that its labels do not leave out.

L is the batch's mean loss and F_k a mean, so lambda needs no factor for the size of the data:
if all tasks have equally many examples, lambda = 1 is Laplace's approximation of the posterior.
With sums in both places, as the papers have it, the ratio is the same; with a sum for L and a
mean for F_k, lambda is larger by the number of examples. Where L is the mean over T positions,
or over D real numbers, it is 1/T or 2/D of -log p, and so is lambda of 1.

Differs from published code: much of it squares gradients which are averaged over a batch of B
first, which gives up to B times too small a Fisher information, and uses the labels or the most
likely class for y. Here examples are squared one by one and y is drawn. Schwarz et al. weight
the penalty by gamma F; here gamma is applied at the task's end alone, so their lambda is ours
over gamma.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from bnnlab.errors import UsageError
from bnnlab.families.draws import plain_attention
from bnnlab.guards.modes import in_mode
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.stream import Task
from bnnlab.markers import AtLeast, AtMost, Search
from bnnlab.nn.normalization import needs_recalibration, recalibrate
from bnnlab_consolidation.consolidation import Consolidation

GRADIENT_BYTES = 1 << 25
"""Room for gradients of single examples, which are held together: 32 MiB."""
STATISTICS_BATCH = 500


class EWC(Consolidation):
    """Elastic weight consolidation on any base optimizer.

    The docstring of this module has the equations.

    Args:
        strength: lambda, the factor on the penalty; 0: none.
        variant: online: one anchor, the weights after the last task; offline: one anchor per task;
            stream: the weights before the last step.
        decay: gamma, the factor on earlier Fisher information, at the end of each task for
            variant=online, at each step for variant=stream.
        fisher: Labels for the Fisher information. sampled: one drawn from the prediction; exact:
            the mean over all classes; empirical: the given ones.
        shuffle: Whether the Fisher information is shuffled within each tensor, as a control.
        fisher_samples: Training examples per task for the Fisher information; all, if the task has
            fewer.
        rest: Options of `Consolidation`.
    """

    capturable = Consolidation.capturable

    def __init__(
        self,
        model: Model,
        *,
        strength: Annotated[float, AtLeast(0), Search(1.0, 1e4)] = 300.0,
        variant: Literal["online", "offline", "stream"] = "online",
        decay: Annotated[float, AtLeast(0), AtMost(1), Search(0.2, 1.0)] = 1.0,
        fisher: Literal["sampled", "exact", "empirical"] = "sampled",
        shuffle: bool = False,
        fisher_samples: Annotated[int, AtLeast(1)] = 1000,
        **rest: Any,
    ) -> None:
        super().__init__(model, strength=strength, **rest)
        self.variant, self.decay, self.fisher_samples = variant, decay, fisher_samples
        self.fisher, self.shuffle = fisher, shuffle

    def task_started(self, context: TaskContext) -> None:
        """Tell the base.

        Raises:
            UsageError: With fisher=exact, if the targets are not a class per input.
        """
        objective = context.task.objective
        if self.fisher == "exact" and not objective.is_of_classes:
            raise UsageError(
                "optimizer.fisher=exact is the mean over the classes of an input, and the targets "
                f"are {objective.name}: take sampled or empirical"
            )
        super().task_started(context)

    def penalty(self, parameter: Tensor) -> Tensor | None:
        """Return F (theta - theta*), or None before the first task's end, or step."""
        state = self.state[parameter]
        if "ewc_fisher" not in state:
            return None
        return (self.theta(parameter) - state["ewc_anchor"]).mul_(state["ewc_fisher"])

    def _penalised(self, closure: Callable[[], Tensor]) -> Tensor:
        if self.variant != "stream":
            return super()._penalised(closure)
        grads: dict[Tensor, Tensor] = {}

        def noting() -> Tensor:
            loss = closure()
            every = (parameter for group in self.param_groups for parameter in group["params"])
            grads.update({p: p.grad for p in every if p.grad is not None})
            return loss

        loss = super()._penalised(noting)
        for parameter, g in grads.items():
            state, theta = self.state[parameter], self.theta(parameter)
            if "ewc_fisher" not in state:
                state["ewc_fisher"], state["ewc_anchor"] = torch.zeros_like(g), theta.clone()
            state["ewc_fisher"].mul_(self.decay).addcmul_(g, g)
            state["ewc_anchor"].copy_(theta)
        return loss

    def consolidate(self, context: TaskContext) -> None:
        """Find F_k and merge it, with theta_k, into the quadratic."""
        if self.variant == "stream":
            return
        found = self._find_fisher(context.model, context.task)
        for name, parameter in context.model.named_parameters():
            state, theta, new = self.state[parameter], self.theta(parameter), found[name]
            if "ewc_fisher" not in state:
                state["ewc_fisher"], state["ewc_anchor"] = new, theta.clone()
            elif self.variant == "online":
                state["ewc_fisher"].mul_(self.decay).add_(new)
                state["ewc_anchor"].copy_(theta)
            else:
                fisher, anchor = state["ewc_fisher"], state["ewc_anchor"]
                fisher.add_(new)
                # Where all F_k are 0 the anchor means nothing, and must not become 0 / 0.
                share = torch.where(fisher > 0, new / fisher, 0)
                anchor.lerp_(theta, share)

    def _find_fisher(self, model: Model, task: Task) -> dict[str, Tensor]:
        """Return, by name, the mean over examples of the task that are drawn."""
        # All from the CPU: the same examples on every device.
        draws = self.generator(torch.device("cpu"))
        count = min(self.fisher_samples, len(task.train))
        positions = torch.randperm(len(task.train), generator=draws)[:count]
        if needs_recalibration(model):
            recalibrate(model, (x for x, _ in task.train.batches(STATISTICS_BATCH, positions)))
        like = next(model.parameters())
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        with in_mode(model, training=False):
            for part in positions.split(max(1, GRADIENT_BYTES // size)):
                inputs, labels = task.train.batch(part)
                inputs = inputs.to(like if inputs.is_floating_point() else like.device)
                outputs = task.mask(model(inputs))
                for pair in self._targets(task, outputs, labels.to(like.device), draws):
                    for name, squares in sum_of_squares(model, task, inputs, *pair).items():
                        total[name] += squares
        for squares in total.values() if self.shuffle else ():
            order = torch.randperm(squares.numel(), generator=draws).to(squares.device)
            squares.copy_(squares.flatten()[order].view_as(squares))
        return {name: squares.div_(count) for name, squares in total.items()}

    def _targets(
        self, task: Task, outputs: Tensor, labels: Tensor, draws: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield targets `(B, ...)`, and what each example counts `(B,)`; None: 1."""
        if self.fisher == "empirical":
            yield labels, None
        elif self.fisher == "exact":
            p = outputs.softmax(-1)
            for label in p.any(0).nonzero()[:, 0]:  # not those that a mask leaves out
                yield torch.full_like(labels, int(label)), p[:, label]
        else:
            drawn = task.objective.sample(outputs, draws).to(labels.device)
            yield task.objective.leave_out(drawn, labels), None


def sum_of_squares(
    model: Model, task: Task, inputs: Tensor, targets: Tensor, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Return, per parameter by name, the sum over examples of its squared gradient.

    Args:
        model: The model; its mode (training or evaluation) is kept.
        task: Says what targets are, and which classes there are to choose among.
        inputs: `(B, ...)`.
        targets: `(B, ...)`: the gradient is that of log p(target | input).
        weights: What each example counts, `(B,)`; None: 1.
    """

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = task.mask(functional_call(model, parameters, (x[None],)))
        return task.objective.log_likelihoods(outputs, y[None]).sum()

    # Every example gets a view of the parameters to be differentiated by. torch.func.grad does the
    # same, but imports torch's compiler at its first call: seconds.
    with torch.enable_grad():
        views = {
            name: p.detach().expand(len(inputs), *p.shape).requires_grad_()
            for name, p in model.named_parameters()
        }
        with plain_attention():
            losses = vmap(loss)(views, inputs, targets)
            if weights is not None:
                losses = losses * weights.sqrt()
        grads = torch.autograd.grad(losses.sum(), list(views.values()))
    return {name: each.square().sum(0) for name, each in zip(views, grads, strict=True)}
