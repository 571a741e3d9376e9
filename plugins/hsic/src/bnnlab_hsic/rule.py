"""The kernelised information bottleneck at the outputs of segments; sources in `dependence`."""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.families.local import LocalRule, output_shapes
from bnnlab.interfaces.gradients import gradient_at
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.markers import Above, AtLeast, Decay, Positive, Search
from bnnlab_hsic import dependence

Form = Literal["zz", "xz"]
Estimator = Literal["biased", "plausible", "normalised"]
Kernel = Literal["cosine", "gaussian", "linear"]

_MEASURES = {
    "biased": dependence.hsic,
    "plausible": dependence.phsic,
    "normalised": dependence.nhsic,
}


class HSICBottleneck(LocalRule):
    """Teaches every hidden segment to depend on the class and on little else.

    A segment with output Z of shape (B, ...), targets Y and the network's inputs X minimises

    - `zz`: M(Z, Z) - gamma M(Y, Z) (Pogodin and Latham, NeurIPS 2020), or
    - `xz`: M(X, Z) - gamma M(Y, Z) (Ma, Lewis and Kleijn, AAAI 2020),

    with M a measure of dependence between two kernel matrices of the batch. Every M goes with both
    forms; Ma et al. use `normalised`, Gaussian kernels and no centring. The signal is the
    objective's gradient at Z. It is a mean over pairs of examples, so that every example twice in
    the batch changes no weight's gradient; a batch of one example has none.

    The kernel of Y is the cosine of centred one-hot codes: 1 within a class, -1 / (C - 1) between
    two of the model's C classes. Another one (Ma et al.: `gaussian`) has two values, too, so under
    `biased` and `plausible` it is the same with another gamma.

    With `groups`, Z is represented in the kernel by v_alpha^(1 - p), the spread of the activity in
    each group of channels (see `dependence.group`). What is passed on to the next segment is Z
    itself: divisive normalisation of it, as in the paper, would be part of the network.

    Args:
        form: The dependence that a hidden segment reduces: zz, on its own output Z; xz, on the
            network's input X.
        estimator: M, the measure of dependence. biased: HSIC. plausible: pHSIC. normalised: nHSIC.
        gamma: Weight of the dependence on the class.
        kernel: Kernel of Z and X. linear: the product f.f'.
        class_kernel: Kernel of Y, for centred one-hot codes.
        sigma: Width of Gaussian kernels, in units of sqrt(number of features). median: the median
            distance between two examples of the batch (Gretton et al., JMLR 2012).
        centre: Subtract from each example's features their mean, over the units of the segment (or
            the pixels of X), or over the groups. Not over the batch.
        groups: Number of groups of channels whose spread represents the activity. 1: no groups.
        power: With groups: p of the spread, variance^(1 - p).
    """

    whole_batch = True
    capturable = True

    def __init__(
        self,
        form: Form = "zz",
        estimator: Estimator = "biased",
        gamma: Annotated[Positive, Search(2.0, 200.0)] = 2.0,
        kernel: Kernel = "cosine",
        class_kernel: Kernel = "cosine",
        sigma: Annotated[float | Literal["median"], Above(0), Search(1.0, 10.0)] = 5.0,
        centre: bool = True,
        groups: Annotated[int, AtLeast(1)] = 1,
        power: Decay = 0.5,
    ) -> None:
        super().__init__()
        self.form, self.measure, self.gamma = form, _MEASURES[estimator], gamma
        self.kernel, self.class_kernel, self.sigma = kernel, class_kernel, sigma
        self.centre = centre
        self.groups, self.power = groups, power

    def attach(self, model: Model, _generator: torch.Generator) -> None:
        """Count the classes, and see that the groups suit every hidden segment.

        Raises:
            UsageError: If they do not, if the model has a single segment or does not know its
                input's shape, or if inputs that are token ids would be compared.
        """
        if self.form == "xz" and model.tokens is not None:
            raise UsageError(
                "hsic: form=xz compares inputs by their numbers, and token ids are only names: "
                "take form=zz"
            )
        *hidden, (self.classes,) = output_shapes(model, "hsic")
        if self.groups > 1:
            self._check_groups(hidden)

    def _check_groups(self, shapes: list[tuple[int, ...]]) -> None:
        # Two numbers minus their mean are (a, -a): their cosine is -1 or +1, without a gradient.
        fewest = 3 if self.centre and self.kernel == "cosine" else 2
        sizes = [(shape[-1] if len(shape) == 2 else shape[0], math.prod(shape)) for shape in shapes]

        def suit(groups: int, channels: int, units: int) -> bool:
            return groups >= fewest and channels % groups == 0 and units > groups

        for number, (channels, units) in enumerate(sizes, start=1):
            if suit(self.groups, channels, units):
                continue
            others = [n for n in range(channels + 1) if all(suit(n, *size) for size in sizes)]
            nearest = min([1, *others], key=lambda n: abs(n - self.groups))
            raise UsageError(
                f"hsic: groups={self.groups} does not suit segment {number}, which has {channels} "
                f"channels and {units} units: it must divide the channels, be at least {fewest} "
                "and leave two units to a group. The nearest that suits every hidden segment is "
                f"groups={nearest}{' (none)' if nearest == 1 else ''}"
            )

    def signal(self, _number: int, output: Tensor, batch: Batch) -> Tensor:
        """Return the gradient of the segment's objective at its output.

        The objective depends on features f through the Gram matrix G = f f^T alone: with A = dL/dG,
        a small matrix, the gradient at f is (A + A^T) f. Where features are centred it has mean 0
        as they have, and so it is the gradient before centring too.
        """
        # Kernels and inverses in float32 or better, whatever the segments are run in.
        with torch.autocast(output.device.type, enabled=False):
            Z = output.detach().to(torch.promote_types(output.dtype, torch.float32))
            Z.requires_grad_(self.groups > 1)
            features = self._represent(Z)
            f = self._centre(features.detach())
            G = dependence.gram(f).requires_grad_()
            (A,) = torch.autograd.grad(self._loss(G, f.shape[1], batch), G)
            gradient = (A + A.T) @ f
            if self.groups > 1:
                gradient = gradient_at(Z, features, gradient)
        return gradient.view_as(output).to(output.dtype)

    def objective(self, Z: Tensor, batch: Batch) -> Tensor:
        """Return what a hidden segment with output Z `(B, ...)` minimises, a scalar."""
        f = self._centre(self._represent(Z))
        return self._loss(dependence.gram(f), f.shape[1], batch)

    def _loss(self, G: Tensor, d: int, batch: Batch) -> Tensor:
        """Return the objective from the Gram matrix of d features."""
        Y = F.one_hot(batch.targets, self.classes).to(G.dtype)
        codes = dependence.gram(dependence.centred(Y))
        K_Y = self._kernel(self.class_kernel, codes, self.classes)
        K_Z = K = self._kernel(self.kernel, G, d)
        if self.form == "xz":
            x = self._centre(batch.inputs.flatten(1))
            K = self._kernel(self.kernel, dependence.gram(x), x.shape[1])
        return self.measure(K, K_Z) - self.gamma * self.measure(K_Y, K_Z)

    def _represent(self, Z: Tensor) -> Tensor:
        return dependence.group(Z, self.groups, self.power) if self.groups > 1 else Z.flatten(1)

    def _centre(self, features: Tensor) -> Tensor:
        return dependence.centred(features) if self.centre else features

    def _kernel(self, kernel: Kernel, G: Tensor, d: int) -> Tensor:
        if kernel == "linear":
            return G
        if kernel == "cosine":
            return dependence.cosine(G)
        if self.sigma == "median":
            return dependence.gaussian(G, dependence.median_distance(G))
        return dependence.gaussian(G, self.sigma * math.sqrt(d))
