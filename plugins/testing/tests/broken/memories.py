"""Rules that hear of tasks, or learn from the past."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnnlab.families.around import RuleAround
from bnnlab.families.draws import backpropagate
from bnnlab.interfaces.batch import Batch, TaskLoss, joined
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.memory import Memory
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Draws
from bnnlab_testing import toy
from broken import found_by, right

CHECKS = (
    "test_what_it_learned_is_in_its_state",
    "test_its_logits_are_of_the_batchs_own_rows",
    "test_its_memory_is_declared",
    "test_what_it_keeps_does_not_grow",
    "test_it_remembers_a_batch_once",
    "test_an_interrupted_run_goes_on_bit_for_bit",
    "test_it_works_on_every_device",
    "test_a_step_waits_for_the_device_as_often_as_declared",
    "test_draws_at_once_are_those_one_by_one",
    "test_what_it_draws_follows_its_seed",
    "test_no_graph_is_kept",
    "test_a_loss_that_recall_changes_is_declared",
    "test_its_memory_holds_no_more_than_its_size",
    "test_what_it_remembers_has_its_own_target",
    "test_nothing_is_learned_from_the_test_part",
)


class Replays(RuleAround):
    """Learns ten past rows beside each batch."""

    def __init__(self) -> None:
        super().__init__(toy.ToyRule())

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.memory = Memory(30, generator=generator, logits=True)

    def recall(self, model: Model, batch: Batch) -> Batch:
        past = self.memory.draw(10, batch)
        return batch if past is None else joined([batch, past.batch])


right(*CHECKS)(Replays)


@found_by("test_that_it_recalls_is_declared", "does not provide 'recalls', and chooses")
class KeepsQuiet(Replays):
    """Does not say that it chooses what a step learns from."""


@right("test_that_it_recalls_is_declared")
class Says(Replays):
    """Says so."""

    provides = ["recalls"]


@found_by("test_that_it_recalls_is_declared", "provides 'recalls', and does not choose")
class SaysTooMuch(toy.ToyRule):
    """Says so, and learns from each batch as it is."""

    provides = ["recalls"]


@found_by("test_an_interrupted_run_goes_on_bit_for_bit", "a run goes another way")
@found_by("test_what_it_learned_is_in_its_state", "gives other gradients")
class RemembersInAList(toy.ToyRule):
    """Learns the batch before once more, which it keeps in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Batch] = []

    def recall(self, model: Model, batch: Batch) -> Batch:
        return joined([batch, *self.kept[-1:]])

    def remember(self, batch: Batch, logits: Tensor) -> None:
        self.kept.append(batch)


@found_by("test_an_interrupted_run_goes_on_bit_for_bit", "a run goes another way")
class CountsTasksInAnAttribute(toy.ToyRule):
    """Learns more slowly after each task, and forgets it when a run is interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def task_ended(self, context: TaskContext) -> None:
        self.factor /= 2

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            parameter.grad.mul_(self.factor)
        return answer


@found_by("test_an_interrupted_run_goes_on_bit_for_bit", "a run goes another way")
@found_by("test_what_it_learned_is_in_its_state", "gives other gradients")
class SlowsDownLater(toy.ToyRule):
    """Halves gradients from the fifth step on; an attribute counts."""

    steps = 0

    def step_started(self) -> None:
        self.steps += 1

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            parameter.grad.mul_(0.5 if self.steps > 4 else 1.0)
        return answer


@found_by("test_its_logits_are_of_the_batchs_own_rows", "own rows come first")
class PutsThePastFirst(Replays):
    """Joins the rows in the wrong order."""

    def recall(self, model: Model, batch: Batch) -> Batch:
        past = self.memory.draw(10, batch)
        return batch if past is None else joined([past.batch, batch])


@found_by("test_its_memory_is_declared", "a Memory that is not rule.memory")
class HidesItsMemory(Replays):
    """Calls its memory otherwise, so that no protocol has it."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.hidden, self.memory = self.memory, None

    def recall(self, model: Model, batch: Batch) -> Batch:
        past = self.hidden.draw(10, batch)
        return batch if past is None else joined([batch, past.batch])

    def remember(self, batch: Batch, logits: Tensor) -> None:
        self.hidden.add(batch, logits)


@found_by("test_its_memory_is_declared", "10 past rows, and rule.memory is None")
class KeepsABuffer(toy.ToyRule):
    """Keeps past rows in buffers of its own."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("inputs", torch.zeros(10, *toy.INPUT_SHAPE))
        self.register_buffer("targets", torch.zeros(10, dtype=torch.int64))

    def recall(self, model: Model, batch: Batch) -> Batch:
        past = Batch(self.get_buffer("inputs"), self.get_buffer("targets"), batch.loss)
        return joined([batch, past])

    def remember(self, batch: Batch, logits: Tensor) -> None:
        self.get_buffer("inputs").copy_(batch.inputs[:10])
        self.get_buffer("targets").copy_(batch.targets[:10])


@found_by("test_what_it_keeps_does_not_grow", "it keeps .* numbers after 192 steps, .* after 384")
class KeepsAllLabels(toy.ToyRule):
    """Keeps the labels of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = torch.zeros(20)

    def remember(self, batch: Batch, logits: Tensor) -> None:
        self.labels = torch.cat([self.labels, batch.targets])

    def get_extra_state(self) -> Tensor:
        return self.labels

    def set_extra_state(self, state: Tensor) -> None:
        self.labels = state


class Boundless(Memory):
    """Has more room than it says."""

    def __init__(self, size: int, **given: Any) -> None:
        super().__init__(4 * size, **given)
        self.size = size

    def add(self, batch: Batch, logits: Tensor) -> None:
        self.size *= 4
        super().add(batch, logits)
        self.size //= 4


@found_by("test_its_memory_holds_no_more_than_its_size", "its memory of 10 holds 40 examples")
class HasMoreRoom(Replays):
    """Has a memory with more rows than its size."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.memory = Boundless(10, generator=generator)


@found_by("test_it_remembers_a_batch_once", "called three times, its memory is other")
class RemembersAtEveryCall(Replays):
    """Remembers a batch whenever it is asked for gradients."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().differentiate(model, batch)
        self.memory.add(batch, logits.detach())
        return loss, logits


@found_by("test_it_remembers_a_batch_once", "asked at three draws, its memory is other")
class RecallsAtDraws(Replays):
    """Draws other past rows where it is asked at draws."""

    def differentiate_draws(self, model: Model, batch: Batch, draws: Any) -> None:
        self.memory.draw(1, batch)


@found_by("test_it_remembers_a_batch_once", "it keeps other logits")
class KeepsLogProbabilities(Replays):
    """Gives logarithms of probabilities for logits where it is asked at draws."""

    def differentiate_draws(self, model: Model, batch: Batch, draws: Any) -> Draws | None:
        found = backpropagate(model, batch, draws)
        return found and found._replace(logits=found.logits.log_softmax(-1))


@found_by("test_nothing_is_learned_from_the_test_part", "task.test.raw is read")
class PeeksAtTheStart(toy.ToyRule):
    """Looks at the test data as a task begins."""

    def task_started(self, context: TaskContext) -> None:
        context.task.test.raw(torch.arange(3))


@found_by("test_hearing_of_tasks_leaves_the_model_alone", "task_ended.. changes .*training")
class LeavesItEvaluating(toy.ToyRule):
    """Evaluates the model when a task ends, and leaves it so."""

    def task_ended(self, context: TaskContext) -> None:
        context.model.eval()


@found_by("test_nothing_is_learned_from_the_test_part", "it learns something else: .*factor")
class CountsAllLabels(toy.ToyRule):
    """Weighs by labels that are not all of the training part."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def task_ended(self, context: TaskContext) -> None:
        self.factor = (context.task.train.labels == 0).float().mean()


@found_by(
    "test_what_it_draws_follows_its_seed", "the same for two seeds: memory.*Give a Memory, or what"
)
class SeedsItsMemory(Replays):
    """Remembers and recalls by a seed of its own, the same in every run."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.memory = Memory(30, generator=torch.Generator().manual_seed(7))


class Mixed(Memory):
    """Keeps the target of the row before for each row."""

    def add(self, batch: Batch, logits: Tensor) -> None:
        super().add(batch._replace(targets=batch.targets.roll(1)), logits)


@found_by("test_what_it_remembers_has_its_own_target", "rows have another target")
class MixesTargets(Replays):
    """Learns past inputs with the targets of others."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.memory = Mixed(30, generator=generator)


class Untold(Memory):
    """Knows one task alone."""

    def add(self, batch: Batch, logits: Tensor) -> None:
        super().add(batch._replace(loss=TaskLoss(batch.objective, batch.mask, 0)), logits)


@found_by("test_what_it_remembers_has_its_own_target", "or another task")
class TakesAllForTheFirstTask(Replays):
    """Says of every past row that it is of the first task."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.memory = Untold(30, generator=generator)


@dataclass(frozen=True, eq=False)
class Doubled(TaskLoss):
    """Twice the loss of a task."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 2 * super().__call__(outputs, targets)


@found_by("test_a_loss_that_recall_changes_is_declared", "set changes_loss = True")
class DoublesTheLoss(Replays):
    """Learns from another loss, and says nothing of it."""

    def recall(self, model: Model, batch: Batch) -> Batch:
        return batch._replace(loss=Doubled(batch.objective, batch.mask, batch.tasks))


@right("test_a_loss_that_recall_changes_is_declared")
class SaysThatItDoubles(DoublesTheLoss):
    """Says so."""

    changes_loss = True
