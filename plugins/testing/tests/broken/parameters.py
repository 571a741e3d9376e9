"""Models: parameters that decide nothing, weights that are hidden, outputs that are no logits."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.interfaces.objectives import ClassPerPosition
from bnnlab.nn.activations import Surrogate
from bnnlab.nn.layers import Sign
from broken import found_by, right
from broken.models import Fine, FineTokens

DECIDES = "test_every_parameter_changes_an_output"
GRADIENT = "test_every_parameter_gets_a_gradient"
REAL = "test_its_real_weights_are_named"
ALONE = "test_at_test_an_example_is_judged_by_itself"
LOGITS = "test_its_outputs_are_no_probabilities"
SURROGATES = "test_surrogates_have_gradients_of_their_own"
CAUSAL = "test_no_position_knows_later_ones_if_it_is_causal"


@found_by(DECIDES, "no output depends on segments.1.idle")
class TimesZero(Fine):
    """Has a parameter that it multiplies by 0, so that a gradient reaches it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments[1].idle = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * self.segments[1].get_parameter("idle").sum()


class Gate(nn.Module):
    """Adds a layer's output times a number, which is 0 at first (Bachlechner et al., 2021)."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))
        self.gain = nn.Parameter(torch.rand(16, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * self.gain * x.roll(1, 1)


@right(DECIDES, GRADIENT, REAL)
class BeginsWithAClosedGate(Fine):
    """Has a residual branch that is without effect before the first step."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=generator, **given)
        self.segments.insert(1, Gate(generator))


@right(GRADIENT, DECIDES)
class KeepsItsHead(Fine):
    """Does not learn its last layer (Hoffer, Hubara, Soudry, 2018)."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments[1].requires_grad_(False)


class Flat(nn.Module):
    """A linear layer whose weights are in one row, or in a buffer."""

    def __init__(self, generator: torch.Generator, *, is_learned: bool) -> None:
        super().__init__()
        weight = torch.randn(256, generator=generator) / 4
        if is_learned:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight.view(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.view(16, 16))


@found_by(REAL, "real weights that `real` does not excuse: segments.1.weight")
class HidesRealWeights(Fine):
    """Has a real layer whose weights have one dimension."""

    is_learned = True

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=generator, **given)
        self.segments.insert(1, Flat(generator, is_learned=self.is_learned))


@found_by(REAL, "real weights that `real` does not excuse: segments.1.weight")
class HidesAProjection(HidesRealWeights):
    """Has a real layer that is drawn, and does not learn."""

    is_learned = False


class Scaled(nn.Module):
    """A gain and a fixed shift for each of 64 inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(64))
        self.register_buffer("positions", torch.linspace(-1, 1, 64).view(8, 8).sin())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain.view(8, 8) + self.positions


@right(REAL)
class ScalesItsInputs(Fine):
    """Has as many gains as inputs, and a table that is no weight."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.insert(0, Scaled())


@found_by(ALONE, "test batches are looked at")
class RoundsByTheLargest(Fine):
    """Has inputs of 8 bits, in units of the largest of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        step = x.detach().abs().amax() / 127
        return super().forward((x / step).round() * step)


@found_by(LOGITS, "its outputs are probabilities: return logits")
class TakesTheSoftmax(Fine):
    """Returns probabilities."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.append(nn.Softmax(-1))


@right(SURROGATES, "test_no_option_is_ignored")
class HasSurrogates(Fine):
    """Has the gradient that is named."""

    declared = (
        "Option('surrogate', Literal['saturating', 'identity', 'polynomial'], 'saturating', 'Which"
        " gradient.'),"
    )

    def __init__(self, *, surrogate: Surrogate = "saturating", **given: Any) -> None:
        super().__init__(**given)
        self.segments[0][2] = Sign(self.used(surrogate))

    def used(self, surrogate: Surrogate) -> Surrogate:
        """Return the surrogate to use; the wrong one returns another."""
        return surrogate


@found_by(SURROGATES, "surrogate='saturating' and 'identity' have the same gradients")
class DoesNotClip(HasSurrogates):
    """Lets all gradients pass where it should clip."""

    def used(self, surrogate: Surrogate) -> Surrogate:
        return "identity" if surrogate == "saturating" else surrogate


@right(CAUSAL)
class SumsWhatCameBefore(FineTokens):
    """Adds to each position a mean over those before, or over all."""

    declared = "Option('causal', bool, True, 'Whether no position knows later ones.'),"
    told = {"tokens": 11, "input_shape": (6,), "objective": ClassPerPosition()}

    def __init__(self, *, tokens: int, causal: bool = True, **given: Any) -> None:
        super().__init__(tokens=tokens, **given)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + self.mean(y)

    def mean(self, y: Tensor) -> Tensor:
        """Return a mean over positions; the wrong one is of all."""
        return y.cumsum(1) / y.shape[1] if self.causal else y.mean(1, keepdim=True)


@found_by(CAUSAL, "positions before 1 depend on what comes from there on")
class KnowsWhatComes(SumsWhatCameBefore):
    """Adds half of the mean over all positions where it is causal."""

    def mean(self, y: Tensor) -> Tensor:
        return y.mean(1, keepdim=True) / (2 if self.causal else 1)
