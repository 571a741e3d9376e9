"""Send a given gradient backwards, by torch's engine itself.

`output.backward(gradient)` does the same, but imports sympy (half a second of a run's start) to
compare two shapes, and takes twice as long for a small layer.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.autograd import Variable


def send_back(output: Tensor, gradient: Tensor) -> None:
    """Add to `.grad` what the gradient at an output is at the leaves; the graph is freed.

    Args:
        output: Of any shape.
        gradient: Of the same shape.

    Raises:
        ValueError: If the shapes differ.
    """
    _run(output, gradient, (), accumulate_grad=True)


def gradient_at(x: Tensor, output: Tensor, gradient: Tensor) -> Tensor:
    """Return what the gradient at an output is at `x`; the graph is freed, no `.grad` changes.

    Args:
        x: What the output was computed from.
        output: Of any shape.
        gradient: Of the output's shape.

    Raises:
        ValueError: If the shapes differ.
    """
    (found,) = _run(output, gradient, (x,), accumulate_grad=False)
    return found


def _run(
    output: Tensor, gradient: Tensor, inputs: Sequence[Tensor], *, accumulate_grad: bool
) -> tuple[Tensor, ...]:
    if gradient.shape != output.shape:
        raise ValueError(
            f"a gradient of shape {tuple(gradient.shape)} was given for an output of shape "
            f"{tuple(output.shape)}"
        )
    found: tuple[Tensor, ...] = Variable._execution_engine.run_backward(
        (output,),
        (gradient,),
        False,  # the graph is not kept
        False,  # and none is made
        tuple(inputs),
        allow_unreachable=accumulate_grad,
        accumulate_grad=accumulate_grad,
    )
    return found
