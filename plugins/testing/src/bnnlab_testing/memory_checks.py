"""What a rule owes that hears of tasks, or learns from the past: it is saved, small and honest."""

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnnlab.engine.learner import Learner
from bnnlab.families.around import recalls
from bnnlab.interfaces.memory import Memory
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Closure, LearningRule
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, assert_same, flat
from bnnlab_testing.rule_checks import RuleChecks, called, gradients_of, switches_of


class MemoryChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about tasks and about a memory of the past."""

    def lived(self, steps: int = 3) -> tuple[Model, LearningRule]:
        """Return a model that has learned two tasks, and the rule that taught it."""
        model = self.make_model()
        rule, optimizer = self.make(0, model), toy.make_optimizer(model)
        for index in range(2):
            toy.train(model, rule, optimizer, toy.make_task(index), steps=steps, end=True)
        return model, rule

    def test_what_it_learned_is_in_its_state(self) -> None:
        """After two tasks, one made anew that loads its state gives the same gradients."""
        model, rule = self.lived()
        other, saved = self.make(1, model), io.BytesIO()
        torch.save(rule.state_dict(), saved)
        saved.seek(0)
        other.load_state_dict(torch.load(saved, weights_only=True))
        found = []
        for each in (rule, other):
            loss = each.closure(model, self.batch())()
            found.append(flat([loss, gradients_of(model)]))
        assert_same("a rule that loads its state_dict() gives other gradients at", *found)

    def test_its_logits_are_of_the_batchs_own_rows(self) -> None:
        """Whatever it learns from beside them, they come first."""
        model, rule = self.lived()
        batch = self.batch()
        closure = rule.closure(model.eval(), batch)
        with torch.no_grad():
            inferred = model(batch.inputs)
        _, logits = called(closure)
        assert_close([logits], [inferred], "recall() puts the past first", rtol=1e-3)

    def test_its_memory_is_declared(self) -> None:
        """Past rows come from `rule.memory`: the protocol says how many it holds."""
        model, rule = self.lived()
        held = [each for each in rule.modules() if isinstance(each, Memory)]
        assert all(each is rule.memory for each in held), "it has a Memory that is not rule.memory"
        batch = self.batch()
        more = len(rule.closure(model, batch).batch.targets) - len(batch.targets)
        assert not more or rule.memory is not None, f"{more} past rows, and rule.memory is None"

    def test_that_it_recalls_is_declared(self) -> None:
        """The capability 'recalls' says whether it chooses itself what a step learns from."""
        declared, does = self.provides("recalls"), recalls(self.make())
        said = f"it {'provides' if declared else 'does not provide'} 'recalls'"
        what = "chooses" if does else "does not choose"
        assert declared == does, f"{said}, and {what} what a step learns from"

    def steps_until_full(self, learner: Learner) -> int:
        """Return after how many steps its memory is full; three without one."""
        memory = learner.rule.memory
        return 3 if memory is None else math.ceil(memory.size / toy.BATCH_SIZE)

    def test_it_remembers_a_batch_once(self) -> None:
        """However often the closure is called in a step, the memory is the same afterwards."""
        if self.make().memory is None or not self.provides("reevaluable"):
            pytest.skip("it has no memory, or its closure is called once")

        def thrice(closure: Closure) -> None:
            for _ in range(3):
                closure()

        def at_draws(closure: Closure) -> None:
            weights = [each for each in closure.model.parameters() if each.ndim > 1]
            closure.at({each: torch.stack([each.detach()] * 3) for each in weights})

        once, again, drawn = map(self._remembered, (Closure.__call__, thrice, at_draws))
        assert_same("called three times, its memory is other at", flat(once), flat(again))
        first, others = ([each["columns"].pop("logits", torch.zeros(0))] for each in (once, drawn))
        assert_same("asked at three draws, its memory is other at", flat(once), flat(drawn))
        message = "asked at three equal draws, it keeps other logits"
        assert_close(first, others, message, rtol=1e-3)

    def _remembered(self, call: Callable[[Closure], Any]) -> dict[str, Any]:
        """Return what the memory holds after two steps in which a closure is used by `call`."""
        model, batch = self.make_model(), self.batch()
        rule = self.make(0, model)
        for _ in range(2):
            call(rule.closure(model, batch))
        assert rule.memory is not None
        return rule.memory.get_extra_state()

    def test_hearing_of_tasks_leaves_the_model_alone(self) -> None:
        """Weights, buffers, modes and `requires_grad` are as before a task's start and end."""
        model, task = self.make_model(), toy.make_task()
        rule = self.make(0, model)
        rule.closure(model, self.batch())()
        context = toy.context(task, model, rule, 3)
        before = _held_by(model)
        for told in (rule.task_started, rule.task_ended):
            told(context)
            assert_same(f"{told.__name__}() changes the model's", before, _held_by(model))


def _held_by(model: Model) -> dict[str, Any]:
    return {**flat(model.state_dict()), **switches_of(model)}
