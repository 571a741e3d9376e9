"""What a rule owes to a batch as a whole: it learns from the mean over its rows, of any number."""

from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from bnnlab.engine.policies import expect_separate_rows
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, flat
from bnnlab_testing.rule_checks import (
    RuleChecks,
    assert_gradients,
    called,
    generators_of,
    gradients_of,
)


class BatchChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about the rows of a batch.

    Attributes:
        own_objective: Whether it minimises something of its own, not the batch's mean loss.
    """

    own_objective: ClassVar[bool] = False

    def test_gradients_are_those_of_the_batch_mean(self) -> None:
        """Every example twice in the batch gives the same gradients.

        So it is after the start of a task, which says how large batches are as a rule. Where a step
        leaves a trace in the state, as a count or a random generator does, each row may have noise
        of its own: then gradients are compared in their size. A rule is left out if it says both
        `own_objective = True` and, in its class, `whole_batch = True`.
        """
        self._needs_rows_that_count_alike()
        models = self.make_model(), self.make_model()
        inputs, targets, loss = self.batch()
        doubled = Batch(torch.cat([inputs, inputs]), torch.cat([targets, targets]), loss)
        for model, batch in zip(models, (self.batch(), doubled), strict=True):
            rule = self._started(model)
            before = flat(rule.state_dict())
            rule.closure(model, batch)()
        once, twice = map(gradients_of, models)
        if flat(rule.state_dict()) != before:
            sizes = [float(torch.cat([g.flatten() for g in each]).norm()) for each in (once, twice)]
            assert max(sizes) < 1.4 * min(sizes), (
                f"with the same examples twice, gradients have the norm {sizes[1]:.3g} in place of "
                f"{sizes[0]:.3g}"
            )
            return
        message = "the same examples twice change the gradients"
        assert_close(once, twice, message, rtol=1e-4, atol=1e-6)

    def test_the_batch_size_that_is_told_changes_no_gradient(self) -> None:
        """Told at a task's start of batches of 20 or of 7, it has one gradient for one batch.

        Divide by the rows that there are, `len(batch.targets)`.
        """
        found = []
        for size in (toy.BATCH_SIZE, 7):
            model = self.make_model()
            self._started(model, size).closure(model, self.batch())()
            found.append(gradients_of(model))
        message = "told of batches of another size, gradients of the same batch are others"
        assert_close(found[0], found[1], message, rtol=1e-4, atol=1e-6)

    def test_pieces_of_a_batch_have_its_gradient(self) -> None:
        """In three pieces, as by the setting `accumulate`, loss and mean gradients are the same.

        A rule that compares the examples of a batch, is not linear in gradients, or draws something
        for each row in `step_started()`, says `whole_batch = True` in its class: the setting is
        then refused. A rule that draws whenever it is called is left out.
        """
        found = []
        for pieces in (1, 3):
            model = self.make_model()
            rule = self.make(0, model)
            try:
                expect_separate_rows(rule, model)
            except UsageError as refusal:
                pytest.skip(str(refusal))
            closure = rule.closure(model, self.batch())
            first = [closure(), *gradients_of(model)]
            if flat([closure(), *gradients_of(model)]) != flat(first):
                pytest.skip("called again, its closure gives something else")
            closure.pieces = pieces
            found.append([closure(), *gradients_of(model)])
        message = (
            "in three pieces, the batch has another loss or gradient: say `whole_batch = True`, if "
            "the rule compares the rows of a batch, or draws for each of them in step_started()"
        )
        assert_close(found[0], found[1], message, rtol=1e-3, atol=1e-6)

    def test_whole_batch_is_declared_as_it_is(self) -> None:
        """The capability 'whole-batch' says what the attribute `whole_batch` says."""
        declared, has = self.provides("whole-batch"), self.make().whole_batch
        said = f"it {'provides' if declared else 'does not provide'} 'whole-batch'"
        assert declared == has, f"{said}, and whole_batch is {has}"

    def _started(self, model: Model, batch_size: int = toy.BATCH_SIZE) -> LearningRule:
        """Return a rule that has heard of the start of a task."""
        rule = self.make(0, model)
        told = toy.context(toy.make_task(), model, rule, toy.GOES_ON)
        rule.task_started(replace(told, batch_size=batch_size))
        return rule

    def test_the_order_of_examples_does_not_matter(self) -> None:
        """With the rows of a batch in reverse, the loss and all gradients are the same.

        The mean loss knows no order, and a stream shuffles. Use each row alike. A rule that draws
        in a step is left out, and one that says `own_objective = True` and `whole_batch = True`.
        """
        self._needs_rows_that_count_alike()
        model, turned = self.make_model(), self.make_model()
        rule, batch = self.make(0, model), self.batch()
        before = flat(generators_of(rule))
        loss = rule.closure(model, batch)()
        if not self.provides("reevaluable") or flat(generators_of(rule)) != before:
            pytest.skip("what it draws may follow the order")
        reverse = batch._replace(inputs=batch.inputs.flip(0), targets=batch.targets.flip(0))
        other = self.closure(turned, batch=reverse)()
        message = "with the rows in another order,"
        assert_close([loss], [other], f"{message} the loss is another", rtol=1e-3)
        grads = gradients_of(model), gradients_of(turned)
        assert_close(*grads, f"{message} gradients are others", rtol=1e-3, atol=1e-6)

    def _needs_rows_that_count_alike(self) -> None:
        if self.own_objective and self.make().whole_batch:
            pytest.skip("its own objective compares the examples of a batch")

    def test_a_last_batch_of_another_size_is_learned_from(self) -> None:
        """After 20 examples, 7 give finite gradients, and not all of them are zero; one alone, too.

        If the 20 have left no trace in its state, those of the 7 are as if these came first: the
        last batch of an epoch is learned like the others. Ask each batch for its size; that of one
        example keeps its first dimension, and has no spread. It may have a gradient of zero, or be
        refused by a UsageError.
        """
        model, other = self.make_model(), self.make_model()
        rule, batch = self._started(model), self.batch()
        before = flat(rule.state_dict())
        first, last = (
            batch._replace(inputs=batch.inputs[:rows], targets=batch.targets[:rows])
            for rows in (1, 7)
        )
        with suppress(UsageError):
            self._learned_from(rule, model, first)
        for each in (batch, last):
            self._learned_from(rule, model, each)
        found = gradients_of(model)
        assert any(bool(each.any()) for each in found), (
            "of 7 examples, after 20, all gradients are zero"
        )
        if self.provides("reevaluable") and flat(rule.state_dict()) == before:
            self._started(other).closure(other, last)()
            message = "of 7 examples, after 20, gradients are others than of these 7 alone"
            assert_close(found, gradients_of(other), message, rtol=1e-4, atol=1e-6)

    def _learned_from(self, rule: LearningRule, model: Model, batch: Batch) -> None:
        """Check the logits and gradients of a batch."""
        size, rows = len(batch.targets), len(called(rule.closure(model, batch))[1])
        assert rows == size, f"for {size} examples there are {rows} rows of logits"
        assert_gradients(model)
