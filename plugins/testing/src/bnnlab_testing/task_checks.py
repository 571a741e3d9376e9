"""What an optimizer owes from one task to the next: nothing is lost, and nothing left behind."""

from typing import Any

from torch import Tensor

from bnnlab.nn.normalization import BatchNorm
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, flat
from bnnlab_testing.optimizer_checks import OptimizerChecks, assert_signs
from bnnlab_testing.rule_checks import switches_of


class TaskChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about several tasks, and saving within them."""

    def test_a_tasks_end_leaves_the_model_fit_to_go_on(self) -> None:
        """Binary weights are signs, and modes and requires_grad as before; after a step, too."""
        model = self.make_model()
        optimizer, rule = self.make(0, model), self.make_rule(model)
        before = switches_of(model)
        for index in range(2):
            task = toy.make_task(index)
            toy.train(model, rule, optimizer, task, steps=2)
            assert_same("a step does not put back", before, switches_of(model))
            toy.train(model, rule, optimizer, task, steps=1, done=2, end=True)
            assert_signs(model)
            assert_same("task_ended() does not put back", before, switches_of(model))

    def test_what_the_model_measures_is_left_alone(self) -> None:
        """Batch statistics, and other buffers, change as the closure is called, and no further."""
        model, task = self.make_model(), toy.make_task()
        rule = self.make_rule(model)
        model.segments.append(BatchNorm(toy.CLASSES, affine=False))
        optimizer, context = self.make(0, model), toy.context(task, model, rule, 2)

        def measured() -> dict[str, Any]:
            return flat(dict(model.named_buffers()))

        def check(when: str) -> None:
            assert_same(f"{when} changes the model's buffers at", seen[-1], measured())

        def evaluated() -> Tensor:
            loss = rule.closure(model, next(task.train.batches(toy.BATCH_SIZE)))()
            seen.append(measured())
            return loss

        seen = [measured()]
        optimizer.task_started(context)
        check("task_started()")
        for _ in range(2):
            optimizer.step(evaluated)
            check("step()")
        optimizer.task_ended(context)
        check("task_ended()")
        self.shown(model, optimizer)
        check("predictive()")
