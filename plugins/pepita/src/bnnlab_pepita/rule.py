"""PEPITA and signal propagation with a target loop: two forward passes, and none backward.

Sources: Dellaferrera and Kreiman, "Error-driven Input Modulation: Solving the Credit Assignment
Problem without a Backward Pass", ICML 2022, algorithm 1; Kohan, Rietman and Siegelmann, "Signal
Propagation: The Framework for Learning and Inference in a Forward Pass", IEEE TNNLS 2023.
"""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from bnnlab.errors import RunError, UsageError
from bnnlab.guards.modes import in_mode
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.markers import Above, AtLeast, AtMost, Search
from bnnlab.nn.dropout import drawing_state, global_draws_kept
from bnnlab.nn.layers import WEIGHT_LAYERS
from bnnlab_pepita.passes import CleanPass, ModulatedPass

_POWERS = {"sum": 0, "root": 0.5, "mean": 1}


class InputModulation(LearningRule):
    """Teaches a layer by how its activity changes when the error is projected onto the input.

    A clean pass over inputs x, shape (B, n), gives the activities h_l, the logits y and the error
    e = B dL/dy, shape (B, K), where L is the batch-mean loss: softmax(y) - onehot for
    cross-entropy; if L is a sum of means over parts of the rows, B is the size of a row's part. A
    second pass, over x' = x + g e F^T, gives h'_l. Then

        dW_l = (h_l - h'_l)^T h'_{l-1} / B  in hidden layers,  dW_L = e^T h'_{L-1} / B,

    with h_{l-1} in place of h'_{l-1} in signal propagation. F, of shape (n, K), is drawn once,
    uniform in +-0.05 sqrt(6 / n), and the gain g is `gain * decay^t` at step t = 1, 2, ... Where a
    layer has positions (pixels, tokens), the product is summed over them.

    Layers are the linear and convolutional ones that are called as modules, in order of execution;
    what h is, `Pass` says. All parameters of a layer get the product of this signal with the
    layer's own Jacobian; where something follows the output layer, e / B is dL/dz at its output z.
    Other parameters get no gradient. Both passes have the same random numbers (dropout) and the
    clean pass's batch statistics. With a loss per position, where y has shape (B, T, K), all T K
    numbers of e are projected.

    Args:
        presynaptic: The activity a layer is taught at: `modulated` (PEPITA) or `clean`
            (signal propagation).
        gain: Factor on the projection of the error onto the input; 1 is the paper's size.
        decay: Factor on the gain with every training step.
        error: What is projected onto the input. value: e. sign: its sign (`ERINsign` of the
            authors' code, with gain 0.1).
        positions: A hidden weight's gradient over an image's or a sequence's n positions. sum: as
            they come. mean: over n. root: over sqrt(n) (`--sqrt_conv` of that code).
    """

    any_loss = True
    capturable = True
    steps: Tensor
    F: Tensor

    def __init__(
        self,
        presynaptic: Literal["modulated", "clean"],
        gain: Annotated[float, AtLeast(0), Search(0.1, 10.0)] = 1.0,
        decay: Annotated[float, Above(0), AtMost(1)] = 1.0,
        error: Literal["value", "sign"] = "value",
        positions: Literal["sum", "mean", "root"] = "sum",
    ) -> None:
        super().__init__()
        self.presynaptic, self.gain, self.decay, self.error = presynaptic, gain, decay, error
        self.power = _POWERS[positions]
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Count the layers and draw F, which is kept as a buffer.

        Raises:
            UsageError: If the model does not know its input's shape, takes token ids, or calls no
                weight layer.
        """
        if model.input_shape is None:
            raise UsageError(
                "pepita and sigprop-tl must know the shape of an input to project the error onto "
                "it: pass input_shape=(...) to binarize() or Model()"
            )
        if model.tokens is not None:
            raise UsageError(
                "pepita and sigprop-tl add a projected error to the inputs, and token ids are no "
                "numbers to add to: take another rule, such as bp"
            )
        like = next(model.parameters(), torch.empty(0))
        probe = CleanPass(0, keep_graphs=False)
        with in_mode(model, training=False):
            outputs = probe.run(model, {}, like.new_zeros(1, *model.input_shape)).numel()
        if not probe.seen:
            raise UsageError(
                "pepita and sigprop-tl teach linear and convolutional layers, and this model calls "
                "none: give it one, or use rule=bp"
            )
        self.layers = probe.seen
        size = math.prod(model.input_shape)
        uniform = torch.rand(size, outputs, generator=generator) * 2 - 1
        self.register_buffer("F", uniform.to(like) * (0.05 * math.sqrt(6 / size)))

    def step_started(self) -> None:
        """Count the steps, however often one's closure is called."""
        self.steps.add_(1)

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the clean pass, then the modulated one, which teaches each layer as it goes."""
        inputs, targets, mean_loss = batch
        layers = [module for module in model.modules() if isinstance(module, WEIGHT_LAYERS)]
        taught = {parameter for layer in layers for parameter in layer.parameters()}
        fixed = {name: p.detach() for name, p in model.named_parameters() if p not in taught}
        clean = CleanPass(self.layers, keep_graphs=self.presynaptic == "clean")
        drawn = drawing_state(model)  # the same draws twice
        with global_draws_kept(model, inputs.device):
            logits = clean.run(model, fixed, inputs)
        if clean.seen != self.layers:
            raise RunError(
                f"this model called {clean.seen} weight layers in training, and {self.layers} when "
                "the rule was attached: pepita and sigprop-tl need the same ones every time"
            )
        loss = mean_loss(logits, targets)
        error, delta = torch.autograd.grad(loss, [logits, clean.top])
        rows = batch.mean_rows
        if isinstance(rows, Tensor):
            rows = rows.to(inputs.device)[:, None]
        if self.error == "sign":
            rows, error = 1, error.sign()
        gain = rows * self.gain * self.decay**self.steps  # a mean loss's error, times its rows
        modulation = (gain * error.flatten(1) @ self.F.mT).view_as(inputs)
        copies = {name: buffer.clone() for name, buffer in model.named_buffers()}
        modulated = ModulatedPass(self.layers, clean, delta, self.power)
        modulated.run(model, fixed | copies | drawn, inputs + modulation)
        return loss, logits
