"""Rules that change what is others', or show it to others."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from broken import found_by, right
from broken.rules import Scales

SWITCHES = "test_a_step_leaves_modes_and_requires_grad_alone"


@found_by("test_the_weights_are_left_to_the_optimizer", "the rule changes weights")
class Meddles(toy.ToyRule):
    """Changes the weights itself."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        with torch.no_grad():
            next(model.parameters()).neg_()
        return answer


@found_by("test_the_batch_is_left_as_it_is", "inputs are changed in place")
class ClampsTheBatch(toy.ToyRule):
    """Clamps inputs in place."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        batch.inputs.clamp_(-2, 2)
        return super().differentiate(model, batch)


@found_by("test_running_averages_see_a_batch_once", "after one forward pass")
class LooksTwice(toy.ToyRule):
    """Runs forward twice."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        model(batch.inputs)
        return super().differentiate(model, batch)


@found_by("test_attaching_leaves_the_model_alone", "attaching changes it")
class TriesOut(toy.ToyRule):
    """Sends a batch through the model, in training mode, to see its sizes."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        model(torch.randn(4, *model.input_shape, generator=generator))


@found_by("test_attaching_leaves_the_model_alone", "changes the model's mode")
class PutsInTraining(toy.ToyRule):
    """Puts the model into training mode."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        model.train()


@found_by("test_what_the_model_infers_are_logits_with_a_graph", "it infers .20,.")
class InfersLabels(toy.ToyRule):
    """Lets the model infer the number of the class."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        model.inference = _most_likely


def _most_likely(model: Model, inputs: Tensor) -> Tensor:
    for segment in model.segments:
        inputs = segment(inputs)
    return inputs.argmax(1)


@found_by("test_the_same_seed_gives_the_same", "with the same seed differ")
@found_by("test_the_global_state_is_left_alone", "generator")
class DrawsAnywhere(toy.ToyRule):
    """Draws its matrix from torch's global generator."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("B", torch.randn(3))


@found_by("test_the_global_state_is_left_alone", "default dtype")
class SetsTheDtype(toy.ToyRule):
    """Sets a default of torch's for everybody."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_default_dtype(torch.float64)


@found_by("test_the_global_state_is_left_alone", "benchmark")
class SetsAFlag(toy.ToyRule):
    """Sets a flag of torch's in every step."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        torch.backends.cudnn.benchmark = True
        return super().differentiate(model, batch)


@found_by("test_the_logits_know_no_labels", "with other labels of the batch")
class Tells(toy.ToyRule):
    """Puts the labels into the logits."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch.inputs) + F.one_hot(batch.targets, toy.CLASSES)
        loss = batch.loss(logits, batch.targets)
        loss.backward()
        return loss, logits


@found_by("test_what_it_draws_follows_its_seed", "the same for two seeds: drawn")
class DrawsTheSame(Scales):
    """Draws factors from a generator of its own."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("drawn", torch.rand(3, generator=torch.Generator().manual_seed(0)))

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return self.get_buffer("drawn")[0]


@found_by("test_no_hook_is_left_behind", "segments.1._forward_hooks")
class Watches(toy.ToyRule):
    """Hooks into a segment when it is attached."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        model.segments[1].register_forward_hook(lambda *_: None)


@found_by("test_no_hook_is_left_behind", "segments.0.0.weight._backward_hooks")
class Clips(toy.ToyRule):
    """Clips a gradient by a hook, anew in each step."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        weight = next(model.parameters())
        if weight.requires_grad:
            weight.register_hook(lambda grad: grad.clamp(-1, 1))
        return super().differentiate(model, batch)


@found_by(SWITCHES, "a step changes the model's.*training")
class StaysInEvaluation(toy.ToyRule):
    """Looks at the model in evaluation mode, and leaves it so."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        model.eval()
        return answer


@found_by(SWITCHES, "segments.0.0.weight.requires_grad")
class FreezesTheFirst(toy.ToyRule):
    """Freezes the first weights after a step."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        next(model.parameters()).requires_grad_(False)
        return answer


@found_by("test_it_holds_no_part_of_the_model", "net.segments.0.0.weight.*: use the model that")
class HoldsTheModel(toy.ToyRule):
    """Has the model as a module of its own."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.net = model


@right("test_it_holds_no_part_of_the_model", "test_what_it_keeps_does_not_grow")
class KnowsTheLayers(toy.ToyRule):
    """Has a list of the model's segments, which is none of its modules, and a copy of the last."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.layers = [*model.segments]
        self.teacher = copy.deepcopy(model.segments[-1])
