"""Elastic weight consolidation: a quadratic penalty, weighted by the Fisher information."""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call, vmap

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

    Source: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS
    114(13), 2017, eq. 3; `online`: Schwarz et al., "Progress & Compress", ICML 2018, and Huszár,
    "Note on the quadratic penalties in elastic weight consolidation", PNAS 115(11), 2018.

    After tasks k = 1 ... K, with their Fisher information F_k and parameters theta_k at their ends,
    the loss L of the task being learned becomes

        online:   L + (lambda / 2) sum_i F_i (theta_i - theta_K,i)^2,     F <- gamma F + F_K
        offline:  L + (lambda / 2) sum_k sum_i F_k,i (theta_i - theta_k,i)^2

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
    p(y|x) is the softmax; of real numbers, the normal distribution with the outputs for its mean
    and variance 1, whose log p is minus half the squared error (Martens, "New Insights and
    Perspectives on the Natural Gradient Method", JMLR 21, 2020); of several positions, the product
    over those that its labels do not leave out.

    L is the batch's mean loss and F_k a mean, so lambda needs no factor for the size of the data:
    if all tasks have equally many examples, lambda = 1 is Laplace's approximation of the posterior.
    With sums in both places, as the papers have it, the ratio is the same; with a sum for L and a
    mean for F_k, lambda is larger by the number of examples. Where L is the mean over T positions,
    or over D real numbers, it is 1/T or 2/D of -log p, and so is lambda of 1.

    Differs from published code: that squares gradients which are averaged over a batch of B first,
    which gives up to B times too small a Fisher information, and uses the labels or the most likely
    class for y. Here examples are squared one by one and y is drawn. Schwarz et al. weight the
    penalty by gamma F; here gamma is applied at the task's end alone, so their lambda is ours
    over gamma.

    Args:
        strength: lambda, the factor on the penalty; 0: none.
        variant: online: one anchor, the weights after the last task; offline: one anchor per task.
        decay: gamma, the factor on the Fisher information of earlier tasks at the end of each task;
            for variant=online.
        fisher_samples: Training examples per task for the Fisher information; all, if the task has
            fewer.
        rest: Options of `Consolidation`.
    """

    def __init__(
        self,
        model: Model,
        *,
        strength: Annotated[float, AtLeast(0), Search(1.0, 1e4)] = 300.0,
        variant: Literal["online", "offline"] = "online",
        decay: Annotated[float, AtLeast(0), AtMost(1), Search(0.2, 1.0)] = 1.0,
        fisher_samples: Annotated[int, AtLeast(1)] = 1000,
        **rest: Any,
    ) -> None:
        super().__init__(model, strength=strength, **rest)
        self.variant, self.decay, self.fisher_samples = variant, decay, fisher_samples

    def penalty(self, parameter: Tensor) -> Tensor | None:
        """Return F (theta - theta*), or None before the first task's end."""
        state = self.state[parameter]
        if "ewc_fisher" not in state:
            return None
        return (self.theta(parameter) - state["ewc_anchor"]).mul_(state["ewc_fisher"])

    def consolidate(self, context: TaskContext) -> None:
        """Find F_k and merge it, with theta_k, into the quadratic."""
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
        """Draw examples of the task, and a label for each from the model's prediction."""
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
                drawn = task.objective.sample(outputs, draws).to(like.device)
                targets = task.objective.leave_out(drawn, labels.to(like.device))
                for name, squares in sum_of_squares(model, task, inputs, targets).items():
                    total[name] += squares
        return {name: squares.div_(count) for name, squares in total.items()}


def sum_of_squares(model: Model, task: Task, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return, per parameter by name, the sum over examples of its squared gradient.

    Args:
        model: The model; its mode (training or evaluation) is kept.
        task: Says what targets are, and which classes there are to choose among.
        inputs: `(B, ...)`.
        targets: `(B, ...)`: the gradient is that of log p(target | input).
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
        grads = torch.autograd.grad(losses.sum(), list(views.values()))
    return {name: each.square().sum(0) for name, each in zip(views, grads, strict=True)}
