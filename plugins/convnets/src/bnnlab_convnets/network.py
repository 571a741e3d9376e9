"""How a torch network becomes a model; the base class of all models of this plugin."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
from torch import nn
from torchvision.models import ResNet
from torchvision.ops import StochasticDepth

from bnnlab.conversion.binarization import binarize
from bnnlab.conversion.segments import cut
from bnnlab.errors import UsageError, first_line
from bnnlab.interfaces.model import Model
from bnnlab.markers import AtMost, Positive
from bnnlab.nn.activations import make_activation
from bnnlab.nn.initialisation import Init, initialise
from bnnlab.nn.layers import Scale, Sign, Surrogate
from bnnlab.nn.normalization import BatchNorm, Statistics

SMALLEST = 8
"""Smallest allowed side of an image, in pixels."""

SMALL = 64
"""Images with a side below this, in pixels, are small: networks downsample them less."""

# Not Sigmoid and Hardsigmoid, the gates of squeeze-and-excitation: a sign would negate channels.
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU)


class Network(Model):
    """A model made from a torch network, cut into segments by `bnnlab.cut`.

    Batch normalisation becomes `bnnlab.BatchNorm`. Stochastic depth and dropout of torch are
    removed: their masks come from torch's global generator, so runs could not be repeated or
    resumed. A layer that is never called, because another module reads its weights, stays real.

    Args:
        build: Makes the real network for inputs `(B, C, H, W)`. Its activations must be modules.
            While it runs, torch's global generator is a fork that `generator` seeds.
        input_shape: `(C, H, W)` of an image. H and W are at least 8 pixels.
        generator: Draws the initial weights. The initial binary weights are the signs of the real
            ones.
        weights: Weights of the linear and convolutional layers, except those of `keep`. binary:
            -1 or +1.
        activations: binary: signs replace the activations. real: the network's own activations.
        surrogate: Surrogate gradient of the signs.
        surrogate_clip: Size of the input above which the surrogate gradient saturating is 0.
        scale: Factor on the output of a binary layer. none: 1. fan-in: 1/sqrt(inputs). learned:
            one real factor per output. latent: the mean size of its latent weights (XNOR-Net).
        keep: Layers with real weights in a binary network. first-and-last: the first and the last
            weight layer in the forward pass.
        statistics: Statistics of batch normalisation in evaluation. running: exponential averages
            of training. per-task: such averages for each task. recalibrated: measured on training
            images before each evaluation.
        norm_momentum: Weight of the newest batch in the averages of batch normalisation; none:
            the network's own.
        norm_eps: Added to the variance in batch normalisation; none: the network's own.
        init: Initial weights: real ones, and latent weights of binary ones. default: the network's
            own, of which binary weights are the signs. uniform: within +-init_scale;
            uniform-fan-in: within +-init_scale/sqrt(inputs).
        init_scale: Factor on the standard deviation, or bound, of `init`.

    Raises:
        UsageError: If the inputs are no images, are too small for the network, the activations to
            replace are functions.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        input_shape: tuple[int, ...],
        generator: torch.Generator,
        weights: Literal["binary", "real"] = "binary",
        activations: Literal["binary", "real"] = "binary",
        surrogate: Surrogate = "saturating",
        surrogate_clip: Positive = 1.0,
        scale: Scale = "fan-in",
        keep: Literal["first-and-last", "none"] = "first-and-last",
        statistics: Statistics = "running",
        norm_momentum: Annotated[Positive, AtMost(1)] | None = None,
        norm_eps: Positive | None = None,
        init: Init = "default",
        init_scale: Positive = 1.0,
    ) -> None:
        if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST:
            raise UsageError(
                f"inputs of shape {tuple(input_shape)}: this model takes images (C, H, W) of at "
                f"least {SMALLEST}x{SMALLEST} pixels"
            )
        try:
            with torch.random.fork_rng(devices=[]):
                seed = int(torch.randint(2**62, (), generator=generator))
                torch.default_generator.manual_seed(seed)
                network = build()
            layers = _called_layers(network, input_shape)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"this model cannot take images of shape {tuple(input_shape)}: "
                f"{first_line(error)}; use images of another size, or another model"
            ) from error
        _replace_norms(network, statistics, norm_momentum, norm_eps)
        if activations == "binary":
            _replace_activations(
                network, partial(make_activation, "sign", surrogate, surrogate_clip)
            )
        conversion = None
        if weights == "binary":
            chosen = layers[1:-1] if keep == "first-and-last" else layers
            model = binarize(network, lambda name, _: name in chosen, scale=scale)
            segments, conversion = list(model.segments), model.conversion
        else:
            segments = cut(network)
        super().__init__(segments, tuple(input_shape))
        self.conversion = conversion
        initialise(self, init, init_scale, generator)


@torch.no_grad()
def _called_layers(network: nn.Module, input_shape: tuple[int, ...]) -> list[str]:
    """Return the names of the weight layers in the order of their calls in a forward pass."""
    called: dict[nn.Module, None] = {}
    names = {p: n for n, p in network.named_modules() if type(p) in (nn.Linear, nn.Conv2d)}
    hooks = [part.register_forward_pre_hook(lambda p, _: called.setdefault(p)) for part in names]
    network.eval()(torch.zeros(1, *input_shape))
    network.train()
    for hook in hooks:
        hook.remove()
    return [names[part] for part in called]


def _replace_norms(
    network: nn.Module, statistics: Statistics, momentum: float | None, eps: float | None
) -> None:
    """Replace batch normalisation by bnnlab's; remove torch's dropout and stochastic depth."""
    for name, part in list(network.named_modules(remove_duplicate=False)):
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            own = momentum or part.momentum or 0.1, eps or part.eps
            norm = BatchNorm(part.num_features, statistics, part.affine, *own)
            norm.gamma, norm.beta = part.weight, part.bias
            network.set_submodule(name, norm)
        elif isinstance(part, nn.Dropout | StochasticDepth):
            network.set_submodule(name, nn.Identity())


def _replace_activations(network: nn.Module, sign: Callable[[], nn.Module]) -> None:
    """Replace the activations by signs."""
    for name, part in list(network.named_modules(remove_duplicate=False)):
        if isinstance(part, _ACTIVATIONS):
            network.set_submodule(name, sign())
    if not any(isinstance(part, Sign) for part in network.modules()):
        raise UsageError(
            f"the activations of {type(network).__name__} are functions, which cannot be replaced: "
            "set model.activations to 'real'"
        )
    for parent in network.modules():
        _pool_first(parent)


def _pool_first(parent: nn.Module) -> None:
    """Reorder normalisation, sign, max pooling to max pooling, normalisation, sign.

    The largest of several balanced signs is nearly always +1.
    """
    if not isinstance(parent, nn.Sequential | ResNet):  # whose parts are called as they stand
        return
    parts = list(parent.named_children())
    for (a, norm), (b, sign), (c, pool) in zip(parts, parts[1:], parts[2:], strict=False):
        kinds = isinstance(norm, BatchNorm), isinstance(sign, Sign), isinstance(pool, nn.MaxPool2d)
        if all(kinds):
            for name, part in ((a, pool), (b, norm), (c, sign)):
                parent.set_submodule(name, part)
