"""Fixed random feedback matrices, and the two ways in which they reach a network."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnnlab.errors import RunError, UsageError
from bnnlab.families.feedback import Feedback, random_feedback
from bnnlab.families.local import output_shapes
from bnnlab.interfaces.gradients import gradient_at, send_back
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.markers import Positive, Search
from bnnlab.nn.layers import WEIGHT_LAYERS

Fan = Literal["neurons", "in", "out", "none"]
Per = Literal["neuron", "channel"]
Skip = Literal["cut", "leak"]
At = Literal["output", "norm"]

_OTHER_CHANNELS = (nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose3d)


class RandomFeedback(LearningRule):
    """What rules with fixed random feedback share: a matrix B_l for each hidden place l.

    With `skip="cut"` the places are the outputs of the hidden segments, and nothing reaches the
    segment before. With `skip="leak"` they are the inputs of the weight layers after the first,
    and the gradient passes unchanged where the network goes round them: identity connections then
    sum the feedback of all blocks behind them. In a chain of segments both are the same.

    The elements of B_l, of shape (K, d_l) for d_l numbers per example, have mean 0 and standard
    deviation scale / sqrt(d_l): the size of a backpropagated error under a binary layer with
    fan-in scale. Published codes have another number in the place of d_l (`fan`), or another mean
    (as the projection F in the code of Dellaferrera and Kreiman, ICML 2022); where what is
    projected sums to 0 over the K, as errors under cross-entropy do, the mean cancels.

    With `per="channel"` all positions of a channel share one element, and B_l is far smaller for
    large images. Channels are dimension 1 of images (B, C, H, W) and the last one of tokens
    (B, T, D).

    With `at="norm"` the gradient is orthogonal to the output. Feedback onto a residual stream
    itself may let its size grow, because no later block sees this size.

    Args:
        feedback: Distribution of the feedback weights; sign: two values of equal size.
        scale: Standard deviation of the feedback weights, times the root of `fan`.
        fan: What the standard deviation falls with, in each B_l. neurons: the d outputs of its
            segment. in: the columns of B_l (Kaiming; d, or the channels with per=channel). out:
            its K rows. none: nothing, 1.
        mean: Mean of the feedback weights, in standard deviations. 1.732: uniform ones start at 0.
        per: One feedback weight per neuron, or one per channel shared by all positions.
        skip: Feedback in networks with skip connections. cut: no gradient passes between segments.
            leak: the gradient follows the skip connections.
        at: Where the feedback stands for the gradient. output: at a segment's output, as
            published. norm: at its layer normalisation, the input of a transformer's next block.
    """

    name = ""

    def __init__(
        self,
        feedback: Feedback = "normal",
        scale: Annotated[Positive, Search(0.1, 10.0)] = 1.0,
        fan: Fan = "neurons",
        mean: float = 0.0,
        per: Per = "neuron",
        skip: Skip = "cut",
        at: At = "output",
    ) -> None:
        super().__init__()
        self.feedback, self.scale, self.fan, self.mean = feedback, scale, fan, mean
        self.per, self.skip, self.at = per, skip, at
        self.whole_segments = skip == "cut"

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Draw the feedback matrices B_1, B_2, ... and keep them as buffers.

        Raises:
            UsageError: If the model has a single segment, does not know its input's shape, or has
                channels where `per` and `at` do not look for them.
        """
        by_channel = self.per == "channel" or self.at == "norm"
        if by_channel and any(isinstance(part, _OTHER_CHANNELS) for part in model.modules()):
            raise UsageError(
                f"{self.name} with per=channel or at=norm knows the channels of images and of "
                "tokens, not of 1-d and 3-d convolutions: leave per=neuron and at=output"
            )
        *hidden, output = output_shapes(model, self.name, any_loss=self.any_loss)
        if self.skip == "leak":
            hidden = _input_shapes(model, self.name)
        like = next(model.parameters())
        for number, shape in enumerate(hidden, start=1):
            neurons = math.prod(shape)
            columns = shape[_channel_dim(shape)] if self.per == "channel" else neurons
            rows = math.prod(output)
            fan = {"neurons": neurons, "in": columns, "out": rows, "none": 1}[self.fan]
            matrix = random_feedback(self.feedback, (rows, columns), generator) + self.mean
            self.register_buffer(f"B{number}", matrix.to(like) * (self.scale / math.sqrt(fan)))

    def project(self, number: int, e: Tensor, output: Tensor) -> Tensor:
        """Return what stands for dL/doutput, of the output's shape, for e of shape (B, ..., K)."""
        matrix = self.get_buffer(f"B{number}")  # (rows, columns); of a stack (S, rows, columns)
        signal = e.flatten(matrix.ndim - 1) @ matrix
        channels = 1 + _channel_dim(tuple(output.shape[1:]))
        if self.per == "neuron":
            signal = signal.view_as(output)
        else:
            shape = [len(e)] + [1] * (output.ndim - 1)
            shape[channels] = -1
            signal = signal.view(shape).expand_as(output)
        return signal if self.at == "output" else _through_norm(output, signal, channels)

    def differentiate_leaking(
        self, model: Model, batch: Batch, teach: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Backpropagate, with e B for the gradient at the input of every weight layer.

        Args:
            model: As in `differentiate`.
            batch: As in `differentiate`.
            teach: Makes e, of shape (B, K), of the loss's gradient at the logits.
        """
        e: list[Tensor] = []

        def inject(number: int, x: Tensor) -> Tensor:
            if f"B{number}" not in self._buffers:
                raise RunError(
                    f"this model calls more weight layers in training than the {number} of "
                    f"evaluation, for which skip=leak has feedback: use {self.name} with skip=cut"
                )
            if not x.requires_grad:  # an input of the network
                return x
            branch = x.view_as(x)  # so that what goes round this layer keeps its gradient
            branch.register_hook(lambda _: self.project(number, e[0], branch))
            return branch

        with _weight_layers_fed_by(model, inject):
            output = model(batch.inputs)
        logits = output.detach().requires_grad_()
        loss = batch.loss(logits, batch.targets)
        (error,) = torch.autograd.grad(loss, logits)
        e.append(teach(error))
        send_back(output, error)
        return loss, logits


@contextmanager
def _weight_layers_fed_by(
    model: nn.Module, change: Callable[[int, Tensor], Tensor]
) -> Iterator[None]:
    """Change the inputs of weight layers, numbered as they are called, the first as 0."""
    calls = 0

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal calls
        number, calls = calls, calls + 1
        return (change(number, args[0]), *args[1:]) if number else args

    layers = [m for m in model.modules() if isinstance(m, WEIGHT_LAYERS)]
    handles: list[RemovableHandle] = [m.register_forward_pre_hook(hook) for m in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _input_shapes(model: Model, rule: str) -> list[tuple[int, ...]]:
    """Return the shape per example of what is fed to the second weight layer, the third, ..."""
    shapes: list[tuple[int, ...]] = []

    def note(_: int, x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape[1:]))
        return x

    with _weight_layers_fed_by(model, note):
        output_shapes(model, rule, any_loss=True)
    if not shapes:
        raise UsageError(f"{rule} with skip=leak needs at least two linear or convolutional layers")
    return shapes


def _channel_dim(shape: tuple[int, ...]) -> int:
    """Return the dimension of channels in (C, H, W), (T, D) or (D,)."""
    return 0 if len(shape) == 3 else len(shape) - 1


def _through_norm(output: Tensor, signal: Tensor, dim: int) -> Tensor:
    """Return the output's gradient, given that of its layer normalisation over a dimension."""
    with torch.enable_grad():
        h = output.detach().requires_grad_()
        channels_last = h.movedim(dim, -1)
        normalised = F.layer_norm(channels_last, channels_last.shape[-1:]).movedim(-1, dim)
    return gradient_at(h, normalised, signal)
