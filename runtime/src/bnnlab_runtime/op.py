"""What each operation of a program is."""

from typing import Any

from numpy.typing import NDArray

from bnnlab_runtime.values import LARGEST, Step, Value

Array = NDArray[Any]


class Op:
    """An operation, read from a step, and called with arrays whose first dimension is the batch.

    Attributes:
        output: What it gives for one image.
        gathered: How many numbers it gathers on the way, for one image.
        word_operations: How many words of bits it compares for one image.
        products: How many real products it makes for one image.
    """

    output: Value
    gathered = 0
    word_operations = 0
    products = 0

    def __init__(self, step: Step) -> None:
        """Check the step, and take what it has. Costs no memory."""
        self.read(step)
        step.done()
        if max(self.output.numbers, self.gathered) > LARGEST:
            step.refuse(f"makes {max(self.output.numbers, self.gathered)} numbers for one image")

    def read(self, step: Step) -> None:
        """Check the step, take its parameters and tensors, and set `output`."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what all calls need, after the whole program was checked."""

    def __call__(self, *inputs: Any, **_: Any) -> Array:
        """Return the output of the inputs, in the order of the step's `inputs`."""
        raise NotImplementedError
