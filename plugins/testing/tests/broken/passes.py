"""Models: what they ignore, keep, and change as they are run or copied."""

from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.interfaces.signs import random_signs
from bnnlab.nn.layers import BinaryLinear
from broken import found_by, right
from broken.models import Fine, FineStatistics, FineTokens

IGNORED = "test_no_option_is_ignored"
AGAIN = "test_an_evaluation_repeated_gives_the_same"
CHANGES = "test_a_pass_changes_no_weight_and_no_mode"
KEEPS = "test_it_keeps_nothing_of_a_batch"
COPIES = "test_copies_are_models_of_their_own"
RUN = (AGAIN, CHANGES, KEEPS, "test_all_that_learns_is_a_parameter", COPIES)


@right(IGNORED, *RUN)
class Statistics(FineStatistics):
    """Normalises, with statistics per task if it is asked to."""


@right(IGNORED)
class Gains(Fine):
    """Learns gains of its norm, if it has one: one option shows beside the other alone."""

    declared = """Option('norm', bool, False, 'Whether to normalise.'),
        Option('gain', bool, False, 'Whether the norm learns a gain.'),"""

    def __init__(self, *, norm: bool = False, gain: bool = False, **given: Any) -> None:
        super().__init__(**given)
        if norm:
            self.segments.append(nn.LayerNorm(given["classes"], elementwise_affine=gain))


@found_by(IGNORED, "no effect: width .tried: .*. Use each, or say in `without_effect`")
class IgnoresAWidth(Fine):
    """Has sixteen units, whatever it is told."""

    declared = "Option('width', int, 16, 'Units.', minimum=1),"

    def __init__(self, *, width: int = 16, **given: Any) -> None:
        super().__init__(**given)
        self.width = width


@found_by(IGNORED, "names what is no option: lr")
class ExcusesNothing(Fine):
    """Is said to have an option without effect that it does not have."""

    told = {"without_effect": {"lr": "gone"}}


class Drops(nn.Module):
    """Turns some activations around, in evaluation, too."""

    def __init__(self, generator: torch.Generator | None) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.randint(0, 2, x.shape[1:], generator=self.generator).mul(2).sub(1)


@found_by(AGAIN, "two evaluations of the same inputs differ")
class DrawsAtTest(Fine):
    """Draws as it is evaluated, from a generator of its own."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.insert(1, Drops(torch.Generator().manual_seed(0)))


@found_by(AGAIN, "an evaluation changes torch's random generator")
class DrawsInVain(Fine):
    """Draws from torch's generator in evaluation, and makes nothing of it."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            torch.rand(1)
        return super().forward(x)


@found_by(CHANGES, "a forward pass changes .*'parameter'")
class Scales(Fine):
    """Rescales its real weights in each pass."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.append(nn.LayerNorm(given["classes"]))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.segments[2].get_parameter("weight").data.mul_(0.99)
        return super().forward(x)


@found_by(CHANGES, "a forward pass changes .*'training'")
class LeavesTraining(Fine):
    """Is in evaluation mode after its first pass."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.eval()
        return y


@found_by(KEEPS, "it keeps more of a larger batch, at .*last")
class KeepsItsActivations(Fine):
    """Keeps what its first segment computed, without the graph."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.segments[0](x).detach()
        return super().forward(x)


@found_by(KEEPS, "the graph of a pass is kept")
@found_by(COPIES, "deepcopy cannot copy it: .*deepcopy")
class KeepsItsGraph(Fine):
    """Keeps the mean of its logits, with all that it was computed from."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.mean = y.mean()
        return y


@found_by("test_all_that_learns_is_a_parameter", "no parameter of the model, of shape .5,.")
class HasALooseScale(Fine):
    """Multiplies its logits by numbers that only look like a weight."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.scale = torch.ones(given["classes"], requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


class Listed(nn.Module):
    """Layers in a plain list."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = [*layers]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@found_by("test_all_that_learns_is_a_parameter", "no parameter of the model, of shape .16, 16.")
class ListsALayer(Fine):
    """Has a hidden layer where neither optimizer nor checkpoint find it."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=generator, **given)
        self.segments.insert(1, Listed(BinaryLinear(16, 16, generator=generator)))


class Calls(nn.Module):
    """Calls a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(x)
        return y


@found_by(COPIES, "the original.s weights decide a deepcopy's logits")
class CallsAFunction(Fine):
    """Runs its last layer by a function that knows the original."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        last = self.segments[1]
        self.segments[1] = Calls(lambda x: last(x))
        self.segments[1].last = last


@found_by(COPIES, "pickle cannot copy it: .*lambda")
class HoldsALambda(Fine):
    """Has a part that no other process can read."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.append(Calls(lambda x: 2 * x))


@found_by("test_the_same_seed_gives_the_same", "two uses with the same seed differ")
class SeedsByTheClock(Fine):
    """Draws its weights from a seed that the machine chooses."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        drawn = torch.Generator()
        drawn.seed()
        super().__init__(generator=drawn, **given)


@found_by("test_it_fits_other_inputs_and_classes", "made for 14 token ids, it has fewer")
class KnowsElevenTokens(FineTokens):
    """Has rows for eleven token ids, however many there are."""

    declared = ""
    told = {"tokens": 11, "input_shape": (6,)}

    def __init__(self, *, tokens: int, **given: Any) -> None:
        super().__init__(tokens=11, **given)


@found_by("test_it_works_on_every_device", "float64 does not exist on every device")
class Precise(Fine):
    """Computes its logits in double precision, and rounds them."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).double().mul(2).float()


class Redrawn(nn.Module):
    """A layer that is drawn anew for each task."""

    def __init__(self, layer: BinaryLinear) -> None:
        super().__init__()
        self.layer, self.draws = layer, torch.Generator().manual_seed(0)

    def select_task(self, task: int) -> None:
        self.layer.weight.data = random_signs(tuple(self.layer.weight.shape), self.draws)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


@found_by("test_a_task_that_is_selected_again_is_as_before", "task 0 has other logits")
class DrawsItsHeadAnew(Fine):
    """Begins with a new head at each task, also where it goes back to one."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments[1] = Redrawn(self.segments[1])
