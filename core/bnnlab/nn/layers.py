"""Every layer of bnnlab, and which binary layer takes the place of which real one."""

from torch import nn

from bnnlab.nn.activations import Sign, Surrogate
from bnnlab.nn.binary_layer import BinaryLayer, Scale
from bnnlab.nn.convolutions import (
    BinaryConv1d,
    BinaryConv2d,
    BinaryConv3d,
    BinaryConvTranspose1d,
    BinaryConvTranspose2d,
    BinaryConvTranspose3d,
)
from bnnlab.nn.linear import BinaryLinear, Linear

__all__ = [
    "BINARY",
    "WEIGHT_LAYERS",
    "BinaryConv1d",
    "BinaryConv2d",
    "BinaryConv3d",
    "BinaryConvTranspose1d",
    "BinaryConvTranspose2d",
    "BinaryConvTranspose3d",
    "BinaryLinear",
    "Linear",
    "Scale",
    "Sign",
    "Surrogate",
    "weight_of",
]

BINARY: dict[type[nn.Module], type[BinaryLayer]] = {
    nn.Linear: BinaryLinear,
    Linear: BinaryLinear,
    nn.Conv1d: BinaryConv1d,
    nn.Conv2d: BinaryConv2d,
    nn.Conv3d: BinaryConv3d,
    nn.ConvTranspose1d: BinaryConvTranspose1d,
    nn.ConvTranspose2d: BinaryConvTranspose2d,
    nn.ConvTranspose3d: BinaryConvTranspose3d,
}
"""Per real layer, the binary layer that it becomes."""

WEIGHT_LAYERS = tuple(BINARY)
"""The linear and convolutional layers, for `isinstance`: binary layers are subclasses of them."""


def weight_of(layer: nn.Module) -> nn.Parameter:
    """Return the weight of a linear or convolutional layer."""
    weight = layer._parameters["weight"]
    assert weight is not None
    return weight
