"""What a rule owes to the model and the batch: it leaves them as they are."""

import pytest
import torch

from bnnlab.errors import UsageError, explain
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, assert_same
from bnnlab_testing.rule_checks import RuleChecks, switches_of


class TraceChecks(RuleChecks):
    """The part of `LearningRuleContract` that is about what a rule leaves behind."""

    def make_normalised_model(self) -> Model:
        """Return a model for the same inputs, with batch normalisation by running averages."""
        return toy.make_normalised_model()

    def test_the_weights_are_left_to_the_optimizer(self) -> None:
        """Neither attaching nor evaluating changes a parameter."""
        model, untouched = self.make_model(), self.make_model()
        self.closure(model)()
        assert_close([*model.parameters()], [*untouched.parameters()], "the rule changes weights")

    def test_attaching_leaves_the_model_alone(self) -> None:
        """Its mode, parameters and buffers are as before."""
        model, untouched = self.make_normalised_model(), self.make_normalised_model()
        for each in (model, untouched):
            each.segments[-1].eval()
        self._attach(model)
        _assert_same_state(model, untouched, "attaching changes it")
        modes = [[module.training for module in each.modules()] for each in (model, untouched)]
        assert modes[0] == modes[1], "attaching changes the model's mode"

    def test_running_averages_see_a_batch_once(self) -> None:
        """They move as in a single forward pass in training mode."""
        model, plain = self.make_normalised_model().train(), self.make_normalised_model().train()
        batch = self.batch()
        self._attach(model).closure(model, batch)()
        with torch.no_grad():
            plain(batch.inputs)
        _assert_same_state(model, plain, "other than after one forward pass in training mode")
        assert all(module.training for module in model.modules()), "it changes the model's mode"

    def _attach(self, model: Model) -> LearningRule:
        try:
            return self.make(0, model)
        except UsageError as error:
            pytest.skip(f"make_normalised_model() does not suit it: {error}")

    def test_a_step_leaves_modes_and_requires_grad_alone(self) -> None:
        """In training mode and out of it, all modules and parameters are as before a step.

        In another mode, batch normalisation and dropout of all later steps are others. A pass that
        needs another mode puts it back: `with in_mode(model, training=False)` of
        `bnnlab.guards.modes`.
        """
        for training in (True, False):
            model = self.make_model().train(training)
            rule = self.make(0, model)
            before = switches_of(model)
            rule.closure(model, self.batch())()
            assert_same("a step changes the model's", before, switches_of(model))

    def test_it_holds_no_part_of_the_model(self) -> None:
        """No parameter or buffer of the model is one of the rule.

        It would be in the rule's state, too, and moved and loaded twice. Use the model that each
        call is given; a copy for later, as of a teacher, is `copy.deepcopy(model)`.
        """
        model = self.make_model()
        rule = self.make(0, model)
        rule.closure(model, self.batch())()
        its = {id(each) for each in (*model.parameters(), *model.buffers())}
        own = *rule.named_parameters(), *rule.named_buffers()
        held = [name for name, each in own if id(each) in its]
        assert not held, (
            f"it holds parts of the model as its own, {', '.join(held[:3])}: use the model that "
            "each call is given"
        )

    def test_no_hook_is_left_behind(self) -> None:
        """A hook that stays is there in evaluations, under the next rule and in `result.model`."""
        model = self.make_model()
        before = hooks_of(model)
        self.closure(model)()
        left = sorted(hooks_of(model) - before)
        assert not left, f"left in the model: {', '.join(left)}"

    def test_the_batch_is_left_as_it_is(self) -> None:
        """In training mode, inputs of any size and targets are the same after the closure."""
        model = self.make_model().train()
        inputs, targets, loss = self.batch()
        batch = Batch(3 * inputs, targets.clone(), loss)
        self.closure(model, batch=batch)()
        assert torch.equal(batch.inputs, 3 * inputs), "the batch's inputs are changed in place"
        assert torch.equal(batch.targets, targets), "the batch's targets are changed in place"

    def test_a_frozen_parameter_does_no_harm(self) -> None:
        """Where some need no gradient, the others have one, the same as ever or not."""
        names = [name for name, _ in self.make_model().named_parameters()]
        for frozen in (names[:1], names[-1:], names[: len(names) // 2]):
            model = self.make_model()
            rule = self.make(0, model)
            for name in frozen:
                model.get_parameter(name).requires_grad_(False)
            try:
                rule.closure(model, self.batch())()
            except Exception as error:
                raise AssertionError(
                    f"with {', '.join(frozen)} frozen (requires_grad=False): {explain(error)}"
                ) from error
            for name, parameter in model.named_parameters():
                found = name in frozen or parameter.grad is not None
                assert found, f"{name} has no gradient with {', '.join(frozen)} frozen"


def hooks_of(model: Model) -> set[str]:
    """Return every hook of a module or parameter, by its place."""
    return {
        f"{name or 'model'}.{kind}[{key}]"
        for name, part in (*model.named_modules(), *model.named_parameters())
        for kind in dir(part)
        if kind.endswith("_hooks") and isinstance(hooks := getattr(part, kind), dict)
        for key in hooks
    }


def _assert_same_state(model: Model, other: Model, message: str) -> None:
    states = model.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys(), (
        "the model's parameters or buffers are not the same"
    )
    for name, value in states[0].items():
        assert_close([value], [states[1][name]], f"{name}: {message}")
