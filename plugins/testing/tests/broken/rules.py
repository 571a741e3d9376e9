"""Rules: their gradients, losses and closures."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.families.draws import backpropagate
from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Closure, Draws
from bnnlab.markers import Positive
from bnnlab_testing import toy
from broken import found_by, right


class Fine(toy.ToyRule):
    """Does all that is asked."""


@found_by("test_its_class_loads_and_is_documented", "has no docstring")
class Undocumented(toy.ToyRule):
    pass


@found_by("test_its_constructor_reads_every_option", "Optional.__init__ does not read strength")
class Optional(toy.ToyRule):
    """Has a keyword and no use for it."""

    declared = "Option('strength', float, 1.0, 'How much.'),"

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()


class Indirect(Optional):
    """Passes its keywords on."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)


class Signed(toy.ToyRule):
    """Says its option in its signature and here.

    Args:
        strength: Factor on the gradient.
    """

    declared = None

    def __init__(self, strength: Positive = 1.0) -> None:
        super().__init__()
        self.strength = strength


right(  # with a decorator, its source would not say what it is
    "test_its_options_are_its_constructors_keywords",
    "test_its_options_are_read_without_importing_it",
    "test_its_constructor_reads_every_option",
)(Signed)


class Explained(Signed):
    """Explains what it does not take.

    Args:
        strenght: Factor on the gradient.
    """

    declared = None


class Tabled(toy.ToyRule):
    """Has a keyword that cannot be typed."""

    def __init__(self, table: Mapping[str, float] = MappingProxyType({})) -> None:
        super().__init__()
        self.table = table


@found_by("test_its_default_model_is_there", "acme-none")
class NamesNoModel(toy.ToyRule):
    """Has a default model that nobody offers."""

    fields = {"default_model": "acme-none"}


# -------------------------------------------------------------------- gradients


class Scales(toy.ToyRule):
    """Multiplies gradients by a factor: the wrong ones by a wrong one."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self.factor(parameter, batch))
        return answer

    def factor(self, parameter: Tensor, batch: Batch) -> Any:
        """Return what to multiply a parameter's gradient by."""
        raise NotImplementedError


@found_by("test_the_logits_are_those_that_the_model_infers", "not those of the model")
class Louder(toy.ToyRule):
    """Learns a network whose logits are twice those of the model."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = 2 * model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits


@found_by("test_the_loss_falls_on_separable_data")
class Climbs(Scales):
    """Goes uphill."""

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return -1.0


@found_by("test_gradients_are_those_of_the_batch_mean", "twice change the gradients")
class Sums(Scales):
    """Leaves the gradient of the batch's sum."""

    def factor(self, parameter: Tensor, batch: Batch) -> int:
        return len(batch.targets)


@found_by("test_gradients_are_those_of_the_batch_mean", "twice change the gradients")
class SumsItsOwn(Sums):
    """Does so, and says that it minimises something of its own."""

    told = {"own_objective": True}


@found_by("test_an_exact_rule_leaves_the_gradient_of_the_loss", "do not say `exact`")
class SaysExact(Scales):
    """Scales gradients, and says that they are exact."""

    exact = True

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return 2.0


@found_by("test_a_last_batch_of_another_size_is_learned_from", "all gradients are zero")
class CountsOnFullBatches(Scales):
    """Learns nothing from a batch that is not full."""

    def factor(self, parameter: Tensor, batch: Batch) -> bool:
        return len(batch.targets) % 10 == 0


@found_by("test_a_reevaluable_closure_repeats_itself", "called again")
class Wavers(Scales):
    """Says that it is reevaluable, and draws other factors at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return torch.rand(parameter.shape, generator=self.generator)


@found_by("test_an_interrupted_run_goes_on_bit_for_bit", "a run goes another way")
class Forgets(Scales):
    """Keeps its random factor where `state_dict` does not look."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.drawn = torch.rand((), generator=generator)

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return self.drawn


@found_by("test_its_diagnostics_change_nothing", "it learns something else")
class LearnsAsItSays(Scales):
    """Doubles its gradients each time it is asked for diagnostics."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("size", torch.ones(()))

    def diagnostics(self) -> dict[str, float]:
        return {"size": float(self.get_buffer("size").mul_(2))}

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return self.get_buffer("size")


@found_by("test_its_diagnostics_are_numbers_by_name", "not a Python number")
class SaysTensors(toy.ToyRule):
    """Has a tensor among its diagnostics."""

    def diagnostics(self) -> dict[str, Any]:
        return {"size": torch.ones(())}


@found_by("test_a_frozen_parameter_does_no_harm", "with segments.0.0.weight frozen")
class FreezesNothing(toy.ToyRule):
    """Takes the sign of every gradient, those that are not there as well."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            parameter.grad.sign_()
        return answer


@found_by("test_gradients_are_finite_and_fit_their_parameters", "has no gradient")
class LeavesOut(toy.ToyRule):
    """Gives the first parameter no gradient."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        next(model.parameters()).grad = None
        return answer


@found_by("test_no_gradient_is_all_zero", "the gradient is all zero")
class Zeroes(toy.ToyRule):
    """Gives the first parameter a gradient of zero."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        next(model.parameters()).grad.zero_()
        return answer


@found_by("test_the_loss_is_the_batchs_own", "is not batch.loss of the logits")
class Usual(toy.ToyRule):
    """Minimises the cross-entropy, whatever the batch's loss."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().differentiate(model, batch._replace(loss=F.cross_entropy))


@found_by("test_the_loss_is_the_batchs_own", "with another batch.loss the gradient is the same")
@found_by("test_another_loss_of_classes_is_learned", "another gradient than that of batch.loss")
class UsualWithin(Usual):
    """Returns the batch's loss, and minimises the cross-entropy."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        _, logits = super().differentiate(model, batch)
        return batch.loss(logits, batch.targets), logits


@right("test_the_loss_is_the_batchs_own", "test_a_masked_class_is_not_learned")
class UsualOfItsOwn(toy.ToyRule):
    """Computes the cross-entropy itself, and takes no other loss."""

    any_loss = False

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch.inputs)
        loss = F.cross_entropy(batch.masked(logits), batch.targets)
        torch.autograd.backward(loss)
        return loss, logits


@found_by("test_any_loss_is_declared_as_it_is", "provides 'any-loss', and any_loss is False")
@found_by("test_another_loss_of_classes_is_learned", "and class_losses is False")
class HidesWhatItCan(toy.ToyRule):
    """Declares a capability that it denies."""

    any_loss = False


@found_by("test_real_numbers_are_learned_from", "is not batch.loss of the logits")
class TakesTheLargest(toy.ToyRule):
    """Learns the largest of several numbers as if it were a class."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.targets.is_floating_point():
            batch = Batch(batch.inputs, batch.targets.argmax(1))
        return super().differentiate(model, batch)


@found_by("test_a_class_per_position_is_learned_from", "another gradient than that of batch.loss")
class LearnsTheFirstPosition(toy.ToyRule):
    """Takes the gradient of what is first in a sequence."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.targets.ndim == 1 or batch.targets.is_floating_point():
            return super().differentiate(model, batch)
        logits = model(batch.inputs)
        torch.autograd.backward(F.cross_entropy(logits[:, 0], batch.targets[:, 0]))
        return batch.loss(logits, batch.targets), logits


@found_by("test_a_masked_class_is_not_learned", "is not batch.loss of the logits")
class ForgetsTheMask(toy.ToyRule):
    """Computes the loss that the objective has, for all classes."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.mask is not None:
            batch = batch._replace(loss=batch.objective.loss)
        return super().differentiate(model, batch)


@found_by("test_a_masked_class_is_not_learned", "another gradient than that of batch.loss")
class ForgetsTheMaskWithin(ForgetsTheMask):
    """Returns the task's loss, and learns from that of all classes."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        _, logits = super().differentiate(model, batch)
        return batch.loss(logits, batch.targets), logits


@found_by("test_rows_of_several_tasks_have_the_mean_of_their_losses", "is not batch.loss")
class MasksAllAlike(toy.ToyRule):
    """Takes the mask of the first row for that of all."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.mask is not None and batch.mask.ndim == 2:
            batch = batch._replace(loss=TaskLoss(batch.objective, batch.mask[0]))
        return super().differentiate(model, batch)


# -------------------------------------------------------------------- closures


class Called(Closure):
    """A closure that is not the core's."""

    def __init__(self, call: Callable[[], Tensor], logits: Tensor | None = None) -> None:
        self.call, self.logits = call, logits

    def __call__(self) -> Tensor:
        return self.call()


@found_by("test_the_closure_overwrites_gradients", "gradients are added to old ones")
class Accumulates(toy.ToyRule):
    """Adds to what is in `.grad`."""

    def closure(self, model: Model, batch: Any) -> Closure:
        return Called(lambda: self.differentiate(model, Batch(*batch))[0].detach())


@found_by("test_the_closure_evaluates_at_the_weights_as_they_are", "remembers older weights")
class Remembers(toy.ToyRule):
    """Evaluates at the weights there were when the closure was made."""

    def closure(self, model: Model, batch: Any) -> Closure:
        made = super().closure(model, batch)
        loss = made()
        return Called(lambda: loss, made.logits)


@found_by("test_the_closure_returns_the_loss_and_keeps_the_logits", "the loss holds the graph")
class KeepsTheGraph(toy.ToyRule):
    """Returns a loss that autograd still knows."""

    def closure(self, model: Model, batch: Any) -> Closure:
        made = super().closure(model, batch)
        loss = made()
        return Called(lambda: loss * next(model.parameters()).mean(), made.logits)


class FineDraws(toy.ToyRule):
    """Differentiates at all draws in one go."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        return backpropagate(model, batch, draws)


@found_by("test_draws_at_once_are_those_one_by_one", "the loss")
class LearnsTheFirstDraw(FineDraws):
    """Has the first draw's gradients for all."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        first = {name: drawn[:1].expand_as(drawn) for name, drawn in draws.items()}
        return super().differentiate_draws(model, batch, first)


@found_by("test_draws_at_once_are_those_one_by_one", "gradients of")
class ScalesDraws(FineDraws):
    """Has gradients that are too large at draws alone."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        found = super().differentiate_draws(model, batch, draws)
        return found._replace(grads={name: 7 * grad for name, grad in found.grads.items()})


@found_by("test_draws_at_once_are_those_one_by_one", "the loss")
class DrawsTheUsual(FineDraws):
    """Minimises the cross-entropy at draws, whatever the batch's loss."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        return super().differentiate_draws(model, batch._replace(loss=F.cross_entropy), draws)


@found_by("test_a_reevaluable_closure_repeats_itself", "called again")
class AveragesCalls(toy.ToyRule):
    """Leaves the average of the gradients of all its calls, whatever the batch and the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.means: dict[int, Tensor] = {}

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for number, parameter in enumerate(model.parameters()):
            mean = self.means.get(number, parameter.grad).lerp(parameter.grad, 0.5)
            self.means[number] = parameter.grad = mean
        return answer


# -------------------------------------------------------------------- batches and options


@found_by("test_the_order_of_examples_does_not_matter", "in another order, the loss is another")
class WeighsTheFirst(toy.ToyRule):
    """Weighs the first rows of a batch more than the last."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch.inputs)
        weights = torch.linspace(1.5, 0.5, len(logits))
        loss = (F.cross_entropy(logits, batch.targets, reduction="none") * weights).mean()
        torch.autograd.backward(loss)
        return loss, logits


@found_by("test_the_order_of_examples_does_not_matter", "in another order, the loss is another")
class WeighsTheFirstOfItsOwn(WeighsTheFirst):
    """Does so, and says that it minimises something of its own."""

    told = {"own_objective": True}


WHOLE = "test_whole_batch_is_declared_as_it_is"
PIECES = "test_pieces_of_a_batch_have_its_gradient"


@found_by(PIECES, "in three pieces, the batch has another loss or gradient")
class ComparesExamples(Scales):
    """Scales by how much the examples of a batch differ, and does not say so."""

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return batch.inputs.std(0, correction=0).mean()


@right(PIECES, "test_gradients_are_those_of_the_batch_mean")
class SaysThatItComparesExamples(ComparesExamples):
    """Says so."""

    whole_batch = True


@right(WHOLE)
class DeclaresThatItComparesExamples(SaysThatItComparesExamples):
    """Declares it, too."""

    provides = ("whole-batch",)


@found_by(WHOLE, "does not provide 'whole-batch', and whole_batch is True")
class DeclaresNothingOfIt(SaysThatItComparesExamples):
    """Does not."""


@found_by("test_a_stack_learns_as_each_alone", "in a stack of three")
class CountsTheRowsOfAStack(Scales):
    """Takes the first dimension of what it is given for the rows of a batch, and says stackable."""

    stackable = True

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return len(batch.targets) / batch.targets.numel()


@found_by("test_a_last_batch_of_another_size_is_learned_from", "others than of these 7 alone")
class DividesByTheFirstSize(Scales):
    """Takes the size of the first batch for that of all."""

    size = 0

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        self.size = self.size or len(batch.targets)
        return len(batch.targets) / self.size


TO_THE_END = "test_the_batch_is_left_as_it_is_to_the_end"


class Waits(toy.ToyRule):
    """Begins with something else, the wrong ones with something wrong, once the loss has fallen."""

    first = 0.0

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().differentiate(model, batch)
        now = float(loss.detach())
        self.first = self.first or now
        if now < 0.9 * self.first:
            self.begin(batch, logits.detach())
        return loss, logits

    def begin(self, batch: Batch, logits: Tensor) -> None:
        """Look at the answers to the batch."""


@found_by(TO_THE_END, "after 60 steps, inputs are changed in place")
class BlursLate(Waits):
    """Makes inputs harder in place, once they have become easy."""

    def begin(self, batch: Batch, logits: Tensor) -> None:
        batch.inputs.mul_(0.9)


@found_by(TO_THE_END, "wrote into the targets of its batch")
class BelievesItselfLate(Waits):
    """Takes its own answers for targets, once it is sure."""

    def begin(self, batch: Batch, logits: Tensor) -> None:
        batch.targets.copy_(logits.argmax(-1))


@found_by("test_no_option_is_ignored", "no effect: strength")
class ReadsAndForgets(Optional):
    """Keeps its option, and has no use for it."""

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        self.strength = strength


@found_by("test_its_options_stay_as_they_are_given", "what it was given for scales: copy the list")
class AppendsToItsScales(Scales):
    """Divides its gradients by more from step to step, in the list that it was given."""

    declared = "Option('scales', list[float], [1.0], 'Of gradients.'),"

    def __init__(self, scales: list[float] = [1.0]) -> None:  # noqa: B006 - this is its fault
        super().__init__()
        self.scales = scales

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        self.scales.append(0.9 * self.scales[-1])
        return super().differentiate(model, batch)

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return self.scales[-1]


@right("test_its_options_stay_as_they_are_given", "test_no_option_is_ignored")
class CopiesItsScales(AppendsToItsScales):
    """Does so in a list of its own."""

    def __init__(self, scales: list[float] = [1.0]) -> None:  # noqa: B006
        super().__init__([*scales])


TURNED = "test_no_gradient_is_turned_around"


@found_by(TURNED, "segments.1.1.weight: the gradient has the other sign")
class TurnsALayerAround(Scales):
    """Has the sign wrong in one layer."""

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return -1.0 if parameter.shape == (32, 64) else 1.0


@found_by(TURNED, "segments.1.1.weight: the gradient has the other sign")
class TurnsTheSignsOfALayer(toy.ToyRule):
    """Has the sign alone of the gradient of one layer, and has it wrong."""

    whole_batch = True

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            if parameter.grad is not None and parameter.shape == (32, 64):
                parameter.grad.sign_().mul_(-0.01)
        return answer


@right(TURNED)
class TurnsAFewAround(Scales):
    """Has the sign wrong in a few rows, as an approximation may."""

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        signs = torch.ones_like(parameter)
        signs[: len(signs) // 3] = -1
        return signs


@found_by("test_a_last_batch_of_another_size_is_learned_from", "not finite")
class DividesByTheSpread(Scales):
    """Divides by the standard deviation of the inputs, which one example has not."""

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        apart = batch.inputs - batch.inputs.mean(0)
        return 1 / (apart.square().sum(0) / (len(apart) - 1)).sqrt().mean()


@found_by("test_the_loss_falls_on_separable_data", "not finite")
class DividesByWhatIsLeft(Waits):
    """Scales by how far the loss has to fall, over itself: that is 0/0 in the end."""

    ended = False

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters() if self.ended else ():
            parameter.grad.mul_(0.0).div_(0.0)
        return answer

    def begin(self, batch: Batch, logits: Tensor) -> None:
        self.ended = True


BATCH_MEAN = "test_gradients_are_those_of_the_batch_mean"
ITS_NUMBERS = "test_a_batch_is_known_by_its_numbers"


@found_by(BATCH_MEAN, "twice change the gradients")
class DividesByTheUsualSize(Scales):
    """Divides by the batch size of the task, whatever a batch has."""

    size = 0

    def task_started(self, context: TaskContext) -> None:
        self.size = context.batch_size

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return len(batch.targets) / (self.size or len(batch.targets))


@found_by("test_the_batch_size_that_is_told_changes_no_gradient", "told of batches of another")
class ComparesByTheUsualSize(DividesByTheUsualSize):
    """Does so, and compares the examples of a batch."""

    told = {"own_objective": True}
    whole_batch = True


@found_by(PIECES, "draws for each of them in step_started")
@right(BATCH_MEAN, "test_the_order_of_examples_does_not_matter", ITS_NUMBERS)
class HasNoisyErrors(toy.ToyRule):
    """Adds noise to the error of each row."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.draws, self.seed = generator, 0

    def get_extra_state(self) -> Tensor:
        return self.draws.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        self.draws.set_state(state.cpu())

    def step_started(self) -> None:
        self.seed = int(torch.randint(2**31, (), generator=self.draws))

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        (error,) = torch.autograd.grad(loss, logits, retain_graph=True)
        noise = torch.randn(error.shape, generator=torch.Generator().manual_seed(self.seed))
        logits.backward(self.scale(batch) * (error + 0.1 * noise / len(noise)))
        return loss, logits

    def scale(self, batch: Batch) -> int:
        """Return what to multiply the errors by."""
        return 1


@found_by(BATCH_MEAN, "twice, gradients have the norm")
class SumsNoisyErrors(HasNoisyErrors):
    """Adds them up."""

    def scale(self, batch: Batch) -> int:
        return len(batch.targets)


@found_by(ITS_NUMBERS, "of a batch in the memory of an earlier one, loss or gradients are others")
class RemembersAnAddress(Scales):
    """Computes a factor once for each tensor of inputs."""

    key = 0

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        if self.key != id(batch.inputs):
            self.key, self.size = id(batch.inputs), batch.inputs.abs().mean()
        return self.size


@found_by("test_the_closure_evaluates_at_the_weights_as_they_are", "remembers older weights")
class RemembersScales(toy.ToyRule):
    """Computes with the learned scales of the beginning."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        named = model.named_parameters()
        self.scales = {n: each.detach().clone() for n, each in named if n.endswith("scale")}

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        now = {name: model.get_parameter(name).data for name in self.scales}
        for name, scale in self.scales.items():
            model.get_parameter(name).data = scale
        answer = super().differentiate(model, batch)
        for name, scale in now.items():
            model.get_parameter(name).data = scale
        return answer


@found_by("test_no_gradient_is_all_zero", "in a second task, the gradient is all zero")
class LearnsOneTask(Scales):
    """Is done when a task ends."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("left", torch.ones(()))

    def task_ended(self, context: TaskContext) -> None:
        self.get_buffer("left").zero_()

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return self.get_buffer("left")
