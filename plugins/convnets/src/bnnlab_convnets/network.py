"""How a torch network becomes a model: what all networks of this plugin share."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torchvision.models import ResNet
from torchvision.ops import StochasticDepth

from bnnlab.conversion.binarization import binarize
from bnnlab.conversion.segments import cut
from bnnlab.errors import UsageError, first_line
from bnnlab.interfaces.model import Model
from bnnlab.nn.layers import Scale, Sign, Surrogate
from bnnlab.nn.normalization import BatchNorm, Statistics

SMALLEST = 8
"""The smallest side of an image, in pixels."""

SMALL = 64
"""Images with a side below this are small: the networks shrink them less."""

# Without the gates of squeeze-and-excitation, Sigmoid and Hardsigmoid, whose sign would turn
# channels round.
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU)


class Network(Model):
    """A torch network, changed as asked for and cut into segments (`bnnlab.cut`).

    Batch normalisation becomes `bnnlab.BatchNorm`. Dropout and stochastic depth are taken out:
    their masks come from torch's global generator, so that no run could be repeated or resumed.

    Args:
        build: Makes the real network, for inputs `(B, C, H, W)`, with modules for activations.
            What it draws from torch's global generator comes from a fork of it that `generator`
            seeds.
        input_shape: `(C, H, W)` of an image, H and W at least 8.
        generator: See `build`; the signs of real weights are the first binary ones.
        weights: `binary` (-1 or +1) or `real`, of linear and convolutional layers. A layer whose
            weights another module reads instead of calling it, as attention does, stays real.
        activations: `binary` puts `Sign` in place of them, `real` leaves them.
        surrogate: Surrogate gradient of the signs.
        scale: Of the binary layers.
        keep: The layers that stay real: the `first-and-last` to be called, or `none`.
        statistics: What batch normalisation uses at test.

    Raises:
        UsageError: If inputs are no images, or too small for the network, or its activations are
            no modules.
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
        scale: Scale = "fan-in",
        keep: Literal["first-and-last", "none"] = "first-and-last",
        statistics: Statistics = "running",
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
        _replace_modules(network, surrogate if activations == "binary" else None, statistics)
        conversion = None
        if weights == "binary":
            chosen = layers[1:-1] if keep == "first-and-last" else layers
            model = binarize(network, lambda name, _: name in chosen, scale=scale)
            segments, conversion = list(model.segments), model.conversion
        else:
            segments = cut(network)
        super().__init__(segments, tuple(input_shape))
        self.conversion = conversion


@torch.no_grad()
def _called_layers(network: nn.Module, input_shape: tuple[int, ...]) -> list[str]:
    """Return the names of the weight layers in the order in which an image meets them."""
    called: dict[nn.Module, None] = {}
    names = {p: n for n, p in network.named_modules() if type(p) in (nn.Linear, nn.Conv2d)}
    hooks = [part.register_forward_pre_hook(lambda p, _: called.setdefault(p)) for part in names]
    network.eval()(torch.zeros(1, *input_shape))
    network.train()
    for hook in hooks:
        hook.remove()
    return [names[part] for part in called]


def _replace_modules(network: nn.Module, surrogate: Surrogate | None, stats: Statistics) -> None:
    """Replace batch normalisation and dropout, and with a surrogate the activations."""
    for name, part in list(network.named_modules(remove_duplicate=False)):
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            norm = BatchNorm(part.num_features, stats, part.affine, part.momentum or 0.1, part.eps)
            norm.gamma, norm.beta = part.weight, part.bias
            network.set_submodule(name, norm)
        elif isinstance(part, nn.Dropout | StochasticDepth):
            network.set_submodule(name, nn.Identity())
        elif surrogate is not None and isinstance(part, _ACTIVATIONS):
            network.set_submodule(name, Sign(surrogate))
    if surrogate is None:
        return
    if not any(isinstance(part, Sign) for part in network.modules()):
        raise UsageError(
            f"the activations of {type(network).__name__} are functions, which cannot be replaced: "
            "set model.activations to 'real'"
        )
    for parent in network.modules():
        _pool_first(parent)


def _pool_first(parent: nn.Module) -> None:
    """Turn normalisation, sign, max pooling into max pooling, normalisation, sign.

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
