"""The model interface: a chain of segments that maps inputs to logits."""

from collections.abc import Iterable

from torch import Tensor, nn

from bnnlab.layers import binary_parameters
from bnnlab.normalization import select_task


class Model(nn.Module):
    """A network as a chain of segments; it holds the weights that would be deployed.

    The composition of the segments is the network, so a local rule can cut it between any two.
    A skip connection stays inside a segment.

    Args:
        segments: Modules applied one after the other; the last one returns the logits `(B, K)`.
        input_shape: Shape of one input without the batch, e.g. `(1, 28, 28)`. Rules that size
            something by the activations need it.

    Attributes:
        segments: The modules, an `nn.ModuleList`.
        input_shape: As given; None if unknown.

    Raises:
        ValueError: If there is no segment.
    """

    def __init__(
        self, segments: Iterable[nn.Module], input_shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.input_shape = None if input_shape is None else tuple(input_shape)
        if not len(self.segments):
            raise ValueError("a model needs at least one segment")

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs `(B, *input_shape)` to logits `(B, K)`."""
        for segment in self.segments:
            x = segment(x)
        return x

    def binary_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are exactly -1 or +1 between steps, by name."""
        return binary_parameters(self)

    def select_task(self, task: int) -> None:
        """Say which task the inputs come from; only per-task statistics listen."""
        select_task(self, task)
