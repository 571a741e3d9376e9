"""Rules that learn from the past, and rules around another rule."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from remembering import Replay
from torch import Tensor, nn
from torch.func import functional_call

import bnnlab
from bnnlab import BatchNorm
from bnnlab.errors import RunError, UsageError
from bnnlab.families.around import OptimizerAround, RuleAround
from bnnlab.families.draws import backpropagate
from bnnlab.interfaces.batch import Batch, joined
from bnnlab.interfaces.batch_checks import expect_one_path
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.memory import Memory
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Draws, LearningRule, Loss
from bnnlab_testing import toy


class AtOnce(toy.ToyRule):
    """Differentiates at all draws in one pass."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        return backpropagate(model, batch, draws)


def replay(base: LearningRule | None = None) -> tuple[Model, Replay]:
    """Return a model and a rule that has a past: one batch of another task."""
    model, rule = toy.make_model(), Replay(base or toy.ToyRule())
    rule.attach(model, torch.Generator().manual_seed(0))
    rule.closure(model, batch(1))()
    rule.recalled, rule.remembered = 0, []
    return model, rule


def batch(index: int = 0) -> Batch:
    task = toy.make_task(index)
    return Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)


def test_a_step_learns_from_the_own_rows_and_from_past_ones() -> None:
    model, rule = replay()
    own = batch()
    closure = rule.closure(model, own)
    loss = closure()
    learned = closure.batch
    assert len(learned.targets) == toy.BATCH_SIZE + 6
    assert torch.equal(learned.inputs[: toy.BATCH_SIZE], own.inputs)
    assert isinstance(learned.tasks, Tensor)
    assert learned.tasks.tolist() == [0] * toy.BATCH_SIZE + [1] * 6
    logits = model(learned.inputs)
    expected = torch.nn.functional.cross_entropy(logits, learned.targets)
    grads = torch.autograd.grad(expected, list(model.parameters()))
    assert torch.equal(loss, expected.detach())
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert torch.equal(parameter.grad, grad)  # type: ignore[arg-type]
    assert closure.batch_size == toy.BATCH_SIZE
    assert torch.equal(closure.logits, logits[: toy.BATCH_SIZE].detach())  # type: ignore[arg-type]


@pytest.mark.parametrize("base", [toy.ToyRule, AtOnce])
def test_past_rows_are_drawn_and_kept_once_per_step_for_all_weight_draws(
    base: type[toy.ToyRule],
) -> None:
    model, rule = replay(base())
    own = batch()
    closure = rule.closure(model, own)
    weights = {
        parameter: torch.stack([parameter.detach(), -parameter.detach()])
        for parameter in model.binary_parameters().values()
    }
    closure.at(weights)
    assert closure.logits is not None
    assert closure.logits.shape == (toy.BATCH_SIZE, toy.CLASSES)
    names = {parameter: name for name, parameter in model.named_parameters()}
    outputs = [
        functional_call(model, {names[p]: drawn[s] for p, drawn in weights.items()}, own.inputs)
        for s in range(2)
    ]
    closure.at(weights)
    closure()
    assert rule.recalled == 1
    ((kept, logits),) = rule.remembered
    assert kept.inputs is own.inputs
    torch.testing.assert_close(logits, (outputs[0] + outputs[1]).detach() / 2)
    assert rule.memory is not None
    assert len(rule.memory) == 30


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("base", [toy.ToyRule, AtOnce])
def test_with_bfloat16_what_is_kept_is_float32(base: type[toy.ToyRule], count: int) -> None:
    """So steps with weight draws and steps without can follow one another."""
    model, rule = replay(base())
    rule.precision = torch.bfloat16
    weights = model.binary_parameters().values()
    closure = rule.closure(model, batch())
    closure.at({each: torch.stack([each.detach()] * count) for each in weights})
    assert closure.logits is not None
    assert closure.logits.dtype == torch.float32
    rule.closure(model, batch())()
    assert [logits.dtype for _, logits in rule.remembered] == [torch.float32] * 2


def test_a_batch_that_is_never_evaluated_is_not_remembered() -> None:
    model, rule = replay()
    rule.closure(model, batch())
    assert not rule.remembered


@pytest.mark.parametrize(
    "wrong", [lambda batch: batch[:2], lambda batch: Batch(*(x[:3] for x in batch[:2]))]
)
def test_what_does_not_begin_with_the_own_rows_is_refused(wrong: Any) -> None:
    class Wrong(toy.ToyRule):
        """Recalls something else."""

        def recall(self, model: Model, batch: Batch) -> Any:
            return wrong(batch)

    with pytest.raises(RunError, match=r"Wrong\.recall\(\) must return a Batch that begins with"):
        Wrong().closure(toy.make_model(), batch())


# -------------------------------------------------------------------- around another rule


class Full(AtOnce):
    """Overrides all that a rule can."""

    any_loss = True
    whole_segments = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, TaskContext]] = []
        self.steps = 0

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("drawn", torch.rand(3, generator=generator))

    def objective(self, batch: Batch) -> Loss:
        return lambda outputs, targets: 2 * batch.loss(outputs, targets)

    def diagnostics(self) -> dict[str, float]:
        return {"size": 3.0}

    def step_started(self) -> None:
        self.steps += 1

    def task_started(self, context: TaskContext) -> None:
        self.told.append(("start", context))

    def task_ended(self, context: TaskContext) -> None:
        self.told.append(("end", context))


def test_a_rule_around_another_one_is_that_one_in_all_it_does_not_change() -> None:
    base, alone, model = Full(), Full(), toy.make_model()
    rule = RuleAround(base)
    rule.attach(model, torch.Generator().manual_seed(3))
    alone.attach(model, torch.Generator().manual_seed(3))
    assert torch.equal(rule.state_dict()["base.drawn"], alone.state_dict()["drawn"])
    assert (rule.any_loss, rule.whole_segments, rule.precision) == (True, True, None)
    rule.precision = torch.bfloat16
    assert base.precision == torch.bfloat16
    context = toy.context(toy.make_task(), model, rule, 1)
    rule.task_started(context)
    rule.task_ended(context)
    assert base.told == [("start", context), ("end", context)]
    assert rule.diagnostics() == {"size": 3.0}
    own = batch()
    assert rule.objective(own)(torch.eye(3), torch.arange(3)) == 2 * own.loss(
        torch.eye(3), torch.arange(3)
    )
    alone.precision = torch.bfloat16
    losses = [each.closure(model, own)() for each in (rule, alone)]
    assert torch.equal(*losses)
    weights = {p: torch.stack([p.detach()] * 2) for p in model.binary_parameters().values()}
    losses = [each.closure(model, own).at(weights)[0] for each in (rule, alone)]
    assert torch.equal(*losses)
    assert base.steps == alone.steps == 2


def test_another_loss_is_for_a_base_that_learns_from_the_loss_alone() -> None:
    class OtherLoss(RuleAround):
        """Changes the loss."""

        changes_loss = True

    class LearnsFromLabels(toy.ToyRule):
        """Learns from more than the loss."""

        any_loss = False

    OtherLoss(Full())
    with pytest.raises(UsageError, match=r"LearnsFromLabels learns from more than the loss of a"):
        OtherLoss(LearnsFromLabels())


class HasAMemory(toy.ToyRule):
    """Keeps what it does not use."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.memory = Memory(3, generator=generator)


class Head(nn.Linear):
    """Goes by the task."""

    def select_task(self, task: int) -> None:
        pass


class Remembers(toy.ToyRule):
    """Has a memory, and no base."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.memory = Memory(5, generator=generator)


class Watches(RuleAround):
    """Learns from each batch as it is."""


def test_a_head_per_task_is_refused_by_rules_that_mix_tasks() -> None:
    head = Model([nn.Sequential(nn.Flatten(), Head(64, 10))], (1, 8, 8))
    norms = (BatchNorm(10, each) for each in ("running", "recalibrated"))
    alike = Model([nn.Flatten(), nn.Linear(64, 10), *norms, Model([nn.Identity()])], (1, 8, 8))
    message = (
        r"several tasks at once, and the model's part segments\.0\.1 \(Head\) goes by the task"
    )
    stream = {"name": "split-digits", "incremental": "task"}
    for rule in (Replay, Remembers):
        with pytest.raises(UsageError, match=f"{rule.__name__} learns from {message}"):
            bnnlab.run(rule=rule(), model=head, optimizer="adam", stream=stream)
        expect_one_path(rule(), alike)
    with pytest.raises(UsageError, match=message):
        Replay().attach(head, torch.Generator())
    Watches(toy.ToyRule()).attach(head, torch.Generator())


def test_of_two_rules_that_say_what_is_learned_from_one_would_not_be_asked() -> None:
    with pytest.raises(UsageError, match=r"rule\.base: Replay itself says what a step learns from"):
        RuleAround(Replay(toy.ToyRule()))
    with pytest.raises(UsageError, match=r"as it is, or let Watches be the base of Replay$"):
        Watches(Replay(toy.ToyRule()))
    with pytest.raises(UsageError, match=r"a base that learns from the batch as it is$"):
        Replay(Replay(toy.ToyRule()))
    around = RuleAround(HasAMemory())
    with pytest.raises(UsageError, match=r"rule\.base: HasAMemory itself says"):
        around.attach(toy.make_model(), torch.Generator())


def test_an_optimizer_around_one_with_a_posterior_draws_as_it_does() -> None:
    model = toy.make_model()
    base = bnnlab.create("optimizer", "bimu", model)
    around = OptimizerAround(model, base)
    weight = next(iter(model.binary_parameters().values()))
    before = base.generator(weight.device).get_state()
    drawn = around.draw(weight)
    base.generator(weight.device).set_state(before)
    assert torch.equal(drawn, base.draw(weight))
    assert around.test_draws == base.test_draws > 0


class PastFirst(Replay):
    """Puts its past rows before the batch's own."""

    def recall(self, model: Model, batch: Batch) -> Batch:
        assert self.memory is not None
        past = self.memory.draw(6, batch)
        return batch if past is None else joined([past.batch, batch])


def test_past_rows_before_the_own_ones_are_found_in_the_first_step_after_a_look() -> None:
    model, rule = toy.make_model(), PastFirst()
    rule.attach(model, torch.Generator().manual_seed(0))
    optimizer = toy.make_optimizer(model)
    optimizer.step(rule.closure(model, batch(1)))
    optimizer.look()
    with pytest.raises(RunError, match=r"PastFirst.recall\(\) returned other targets .* first"):
        optimizer.step(rule.closure(model, batch(0)))


class Rewrites(toy.ToyRule):
    """Rewrites targets where they lie."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        batch.targets.copy_(batch.targets.roll(1))
        return super().differentiate(model, batch)


def test_a_rule_that_writes_into_the_targets_is_refused() -> None:
    model, own = toy.make_model(), batch()
    with pytest.raises(RunError, match="Rewrites wrote into the targets"):
        Rewrites().closure(model, own)()
