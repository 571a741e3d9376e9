"""The multi-layer perceptron of the binary-network literature.

Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, "Binarized Neural Networks", NeurIPS 2016.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

from bnnlab.families.chain import Chain
from bnnlab.markers import AtLeast


class MLP(Chain):
    """A chain of linear layers.

    Each layer is a segment, so the segments' outputs are `(B, hidden[0])`, ..., `(B, hidden[-1])`,
    `(B, classes)`. With `scale="fan-in"` the initial logits have about unit variance.

    Args:
        input_shape: Shape of one input, without the batch. Inputs are flattened.
        classes: Number of logits.
        hidden: Units of each hidden layer, from input to output.
        options: Options of `Chain`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[Annotated[int, AtLeast(1)]] = (512, 512),
        **options: Any,
    ) -> None:
        sizes = [math.prod(input_shape), *hidden]
        super().__init__(
            lambda layers: layers.perceptron(sizes, classes),
            input_shape=input_shape,
            classes=classes,
            **options,
        )
