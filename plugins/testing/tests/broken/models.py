"""Models."""

from typing import Any

import torch
from objective_streams import WordNet
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.signs import random_signs
from bnnlab.nn.layers import BinaryLinear, Scale, Sign
from bnnlab.nn.normalization import BatchNorm, Statistics
from broken import found_by, right


class Fine(Model):
    """Does all that is asked."""

    def __init__(
        self, *, input_shape: tuple[int, ...], classes: int, generator: torch.Generator
    ) -> None:
        size = torch.Size(input_shape).numel()
        super().__init__(
            [
                nn.Sequential(nn.Flatten(), BinaryLinear(size, 16, generator=generator), Sign()),
                BinaryLinear(16, classes, generator=generator),
            ],
            input_shape,
        )


class Grey(nn.Module):
    """Takes one channel of an image, or their mean."""

    def __init__(self, *, mean: bool) -> None:
        super().__init__()
        self.mean = mean

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) if self.mean else x[:, 0]


CHANNELS = "test_every_channel_of_an_image_is_read"
HAS = "test_what_it_has_with_each_value_is_declared"
TURNED = "test_no_layer_turns_the_gradient_around"


@found_by(CHANNELS, r"of inputs \(3, 8, 8\) it does not read channel \[1, 2\]")
class ReadsTheFirstChannel(Fine):
    """Classifies the first channel."""

    mean = False

    def __init__(self, *, input_shape: tuple[int, ...], **given: Any) -> None:
        super().__init__(input_shape=input_shape[1:], **given)
        self.segments[0] = nn.Sequential(Grey(mean=self.mean), self.segments[0])
        self.input_shape = input_shape


@right(CHANNELS)
class ReadsTheMeanOfTheChannels(ReadsTheFirstChannel):
    """Classifies their mean."""

    mean = True


@right(CHANNELS)
class TakesGreyImages(Fine):
    """Refuses images of several channels."""

    def __init__(self, *, input_shape: tuple[int, ...], **given: Any) -> None:
        if input_shape[0] > 1:
            raise UsageError("it takes images of one channel.")
        super().__init__(input_shape=input_shape, **given)


@right(CHANNELS, "test_every_parameter_changes_an_output")
class IsSilentAtFirst(Fine):
    """Begins with logits of 0 for most inputs."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return torch.where(logits.abs() > 13, logits, 0)


class FineTokens(WordNet):
    """Takes token ids, and has logits at each of their positions."""

    declared = None
    provides = ["token-inputs"]


@found_by("test_its_binary_weights_are_exactly_signs", "holds more than -1 and")
class Blurred(Fine):
    """Begins with weights between the signs."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.binary_parameters()["segments.1.weight"].data[0, 0] = 0.5


@found_by("test_its_segments_compose_to_it", "one by one are not the model")
class Doubles(Fine):
    """Computes more than its segments."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Heads(nn.Module):
    """An output layer for each task, which chooses one of them."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers, self.task = nn.ModuleList(layers), 0

    def select_task(self, task: int) -> None:
        self.task = task

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers[self.task](x)
        return y


@right("test_every_parameter_gets_a_gradient")
class HasHeads(Fine):
    """Has a head for each of three tasks, as docs/plugins/model.md shows."""

    def __init__(self, *, classes: int, generator: torch.Generator, **given: Any) -> None:
        super().__init__(classes=classes, generator=generator, **given)
        heads = [BinaryLinear(16, classes, generator=generator) for _ in range(3)]
        self.segments[1] = Heads([*heads])


@found_by(HAS, "with its defaults it does not require 'task-ids', which its part segments.1 needs")
class DoesNotSayThatItGoesByTheTask(HasHeads):
    """Has heads, and requires nothing."""


@found_by("test_every_parameter_gets_a_gradient", "no gradient reaches segments.1.idle\n")
class HasAnIdleHead(HasHeads):
    """Has a parameter beside its heads that does nothing."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments[1].idle = nn.Parameter(torch.zeros(3))


@found_by("test_every_parameter_gets_a_gradient", "no gradient reaches idle")
class Idle(Fine):
    """Has a parameter that does nothing."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.idle = nn.Parameter(torch.zeros(3))


@found_by("test_at_test_an_example_is_judged_by_itself", "test batches are looked at")
class Peeks(Fine):
    """Normalises with the test batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


@found_by("test_it_knows_the_shape_of_an_input")
class Shapeless(Fine):
    """Does not say its inputs' shape."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.input_shape = None


@found_by("test_logits_have_a_row_per_example_and_a_column_per_class")
class TooWide(Fine):
    """Has a logit too many."""

    def __init__(self, *, classes: int, **given: Any) -> None:
        super().__init__(classes=classes + 1, **given)


@found_by("test_it_fits_other_inputs_and_classes", "7 classes have logits .1, 5")
class HasFiveClasses(Fine):
    """Has five logits, whatever the number of classes."""

    def __init__(self, *, classes: int, **given: Any) -> None:
        super().__init__(classes=5, **given)


@found_by("test_it_fits_other_inputs_and_classes", "shapes cannot be multiplied")
class HasEightPixels(Fine):
    """Is made for eight pixels by eight, whatever the inputs are."""

    def __init__(self, *, input_shape: tuple[int, ...], **given: Any) -> None:
        super().__init__(input_shape=(1, 8, 8), **given)


@found_by(
    "test_logits_have_a_row_per_example_and_a_column_per_class", "an evaluation changes .*seen"
)
class LearnsAtTest(Fine):
    """Measures in evaluation, too, what it uses in training."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.lerp_(x.mean().detach(), 0.1)
        return super().forward(x - self.seen if self.training else x)


@found_by("test_another_seed_gives_other_weights", "two seeds give the same weights")
class AlwaysTheSame(Fine):
    """Does not use the generator."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=torch.Generator().manual_seed(0), **given)


@found_by("test_the_global_state_is_left_alone", "generator")
class Elsewhere(Fine):
    """Draws from torch's global generator."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=torch.default_generator, **given)


@found_by("test_an_interrupted_run_goes_on_bit_for_bit", "a run goes another way")
class Unsaved(Fine):
    """Has a random factor that its state does not hold."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=generator, **given)
        self.signs = random_signs((given["classes"],), generator)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.signs


@found_by("test_its_segments_compose_to_it", "changes its input")
class ClampsItsInput(Fine):
    """Clamps its inputs in place, in training alone."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.insert(0, _Clamp())


@found_by("test_every_parameter_gets_a_gradient", "changes its inputs in place")
class ClampsAsAWhole(Fine):
    """Clamps its inputs in place, in training alone, in a method of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp_(-2, 2) if self.training else x)


class _Clamp(nn.Module):
    """Clamps in place, in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(-3, 3) if self.training else x.clamp(-3, 3)


@found_by("test_its_real_weights_are_named", "segments.2.weight")
class PartlyReal(Fine):
    """Has a real layer among its binary ones, without saying so."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.append(nn.Linear(given["classes"], given["classes"]))
        nn.init.eye_(self.segments[-1].get_parameter("weight"))


@found_by("test_every_binary_weight_is_drawn", "for every seed the same")
class PartlyDrawn(Fine):
    """Draws its first layer alone."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.get_parameter("segments.1.weight").data.fill_(1)


@found_by("test_an_interrupted_run_goes_on_bit_for_bit", "a run goes another way")
class Centres(Fine):
    """Subtracts a running average of its logits, which is no buffer."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.average = torch.zeros(given["classes"])

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        if self.training:
            self.average = 0.9 * self.average + 0.1 * logits.detach().mean(0)
        return logits - self.average


@right(
    "test_a_task_keeps_what_was_measured_in_it",
    "test_logits_have_a_row_per_example_and_a_column_per_class",
    "test_an_interrupted_run_goes_on_bit_for_bit",
)
class FineStatistics(Fine):
    """Normalises, with statistics per task if it is asked to."""

    declared = """Option('statistics', Literal['running', 'per-task'], 'running', 'At test.',
        requires={'per-task': ('task-ids',)}),"""

    def __init__(self, *, statistics: Statistics = "running", **given: Any) -> None:
        super().__init__(**given)
        self.segments.insert(1, BatchNorm(16, self.used(statistics)))

    def used(self, statistics: Statistics) -> Statistics:
        """Return the statistics to use; the wrong one returns others."""
        return statistics


@found_by("test_a_task_keeps_what_was_measured_in_it", "task 1 changes task 0's logits")
class Mixes(FineStatistics):
    """Has statistics per task in name alone."""

    def used(self, statistics: Statistics) -> Statistics:
        return "running"


@right("test_every_parameter_gets_a_gradient")
class HasAFixedHead(Fine):
    """Learns all but its last layer."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        [*self.parameters()][-1].requires_grad_(False)


@right(HAS)
class MayBeReal(Fine):
    """Has real weights if it is asked to, and says so."""

    declared = """Option('weights', Literal['binary', 'real'], 'binary', 'Of its layers.',
        provides={'binary': ('binary-weights',), 'real': ('real-weights',)}),"""
    provides = ()
    fields = {"provides": frozenset({"segments"})}

    def __init__(self, *, weights: str = "binary", **given: Any) -> None:
        super().__init__(**given)
        if weights == "real":
            self.segments[0][1] = nn.Linear(self.segments[0][1].in_features, 16)
            self.segments[1] = nn.Linear(16, given["classes"])


@found_by(
    HAS, "with weights='real' it has 0 binary parameters, and provides 'binary-weights'.*CHAIN"
)
class DoesNotSayThatItIsReal(MayBeReal):
    """Has real weights if it is asked to, and does not say so."""

    declared = "Option('weights', Literal['binary', 'real'], 'binary', 'Of its layers.'),"
    fields = {}


@found_by(HAS, "with latent=True it does not require 'latent-weights', which its part segments.1 n")
class DoesNotSayThatAScaleIsLatent(Fine):
    """Has a scale that the optimizer writes if it is asked to, and does not say so."""

    declared = "Option('latent', bool, False, 'Whether the scale is.'),"

    def __init__(self, *, latent: bool = False, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=generator, **given)
        scale: Scale = "latent" if latent else "fan-in"
        self.segments[1] = BinaryLinear(16, given["classes"], scale=scale, generator=generator)


class _Turning(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return -grads[0]


class _Turn(nn.Module):
    """Passes its input on, or its sign, and turns the gradient."""

    def __init__(self, *, sign: bool) -> None:
        super().__init__()
        self.sign = Sign() if sign else nn.Identity()
        self.sign.register_forward_hook(lambda _module, _x, y: _Turning.apply(y))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.sign(x)
        return y


@found_by(TURNED, r"backwards, segments\.0\.3\.sign turns the gradient around")
class TurnsTheGradient(Fine):
    """Has a layer that turns the gradient around."""

    signs = False

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments[0].append(_Turn(sign=self.signs))


@found_by(TURNED, r"backwards, segments\.0\.3\.sign turns the gradient around")
class TurnsTheGradientOfSigns(TurnsTheGradient):
    """Has signs whose surrogate gradient has the other sign."""

    signs = True
