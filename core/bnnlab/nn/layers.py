"""Every layer of bnnlab, and which binary layer takes the place of which real one."""

from torch import nn

from bnnlab.nn.activations import Sign as Sign
from bnnlab.nn.activations import Surrogate as Surrogate
from bnnlab.nn.binary_layer import BinaryLayer
from bnnlab.nn.binary_layer import Scale as Scale
from bnnlab.nn.convolutions import BinaryConv1d as BinaryConv1d
from bnnlab.nn.convolutions import BinaryConv2d as BinaryConv2d
from bnnlab.nn.convolutions import BinaryConv3d as BinaryConv3d
from bnnlab.nn.convolutions import BinaryConvTranspose1d as BinaryConvTranspose1d
from bnnlab.nn.convolutions import BinaryConvTranspose2d as BinaryConvTranspose2d
from bnnlab.nn.convolutions import BinaryConvTranspose3d as BinaryConvTranspose3d
from bnnlab.nn.linear import BinaryLinear as BinaryLinear
from bnnlab.nn.linear import Linear as Linear

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
    """Return the weight of a linear or convolutional layer.

    Raises:
        ValueError: If it has none.
    """
    weight = layer._parameters.get("weight")
    if weight is None:
        raise ValueError(
            f"a {type(layer).__name__} has no weight: give a linear or convolutional layer itself"
        )
    return weight
