"""What the parts of the rule's contract share, and what a rule owes whatever it is asked at."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine import building
from bnnlab.errors import explain
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Closure, LearningRule, evaluate_draws
from bnnlab.interfaces.signs import random_signs
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, assert_numbers
from bnnlab_testing.device_checks import LearnerChecks
from bnnlab_testing.optimizer_checks import differing, flat


class RuleChecks(LearnerChecks):
    """The part of `LearningRuleContract` about draws, batches, frozen weights and diagnostics."""

    kind = Kind.RULE

    def make_model(self) -> Model:
        """Return the model to learn with, for inputs (B, 1, 6, 6) of three classes."""
        return toy.make_model()

    def make(self, seed: int = 0, model: Model | None = None) -> LearningRule:
        """Make the rule and attach it to a model."""
        model = self.make_model() if model is None else model
        return building.make_rule(self.host, self.choice, model, seed=seed)

    def batch(self) -> Batch:
        """Return a batch of 20 examples."""
        task = toy.make_task()
        return Batch(*next(task.train.batches(toy.BATCH_SIZE)), task.loss)

    def closure(self, model: Model, seed: int = 0, batch: Batch | None = None) -> Closure:
        """Return the closure of a fresh rule on the batch."""
        return self.make(seed, model).closure(model, self.batch() if batch is None else batch)

    def test_a_reevaluable_closure_repeats_itself(self) -> None:
        """Called again at the same weights it gives the same, also after others."""
        if not self.provides("reevaluable"):
            pytest.skip("it does not provide 'reevaluable'")
        model = self.make_model()
        closure = self.closure(model)
        first, gradients = closure(), gradients_of(model)
        negate(model)
        closure()
        negate(model)
        for loss in (closure(), closure()):
            assert_close([first], [loss], "called again, the closure gives another loss")
            assert_close(gradients, gradients_of(model), "called again, other gradients")

    def test_draws_at_once_are_those_one_by_one(self) -> None:
        """What `differentiate_draws` finds, if it is there, is what `differentiate` finds."""
        model = self.make_model()
        rule = self.make(0, model)
        if type(rule).differentiate_draws is LearningRule.differentiate_draws:
            pytest.skip("it does not implement differentiate_draws()")
        batch, draws = self.batch()._replace(loss=other_loss), _draws_of(model)
        closure = rule.closure(model, batch)
        logits = []

        def call() -> Tensor:
            loss, found = called(closure)
            logits.append(found)
            return loss

        losses, each = evaluate_draws(call, draws, model.parameters())
        loss, at_once = closure.at(draws)
        assert closure.logits is not None, "closure.logits is not set"
        mean = torch.stack(logits).softmax(-1).mean(0)
        where = "differentiate_draws() against one draw after another"
        assert_close([loss], [losses.mean()], f"{where}: the loss", rtol=1e-3)
        assert_close([closure.logits.exp()], [mean], f"{where}: the probabilities", rtol=1e-3)
        for name, parameter in model.named_parameters():
            one = at_once.get(parameter) if parameter in draws else parameter.grad
            assert one is not None, f"{where}: {name} has no gradient"
            other = each[parameter] if parameter in draws else each[parameter].mean(0)
            assert_close([one], [other], f"{where}: gradients of {name}", rtol=1e-3)

    def test_the_logits_know_no_labels(self) -> None:
        """With other labels they are the same: accuracy in training is counted from them."""
        batch, found = self.batch(), list[Tensor]()
        for targets in (batch.targets, (batch.targets + 1) % toy.CLASSES):
            closure = self.closure(self.make_model(), batch=batch._replace(targets=targets))
            found.append(called(closure)[1])
        assert_close(found[:1], found[1:], "with other labels of the batch, the logits are others")

    def test_what_it_draws_follows_its_seed(self) -> None:
        """Where it holds unequal numbers, as random matrices, some are others with another seed."""
        states = [self.make(seed).state_dict() for seed in range(2)]
        held = {
            name
            for name, value in states[0].items()
            if value.is_floating_point() and bool((value != value.flatten()[:1]).any())
        }
        if not held:
            pytest.skip("it holds nothing that it may have drawn")
        same = all(torch.equal(*(state[name] for state in states)) for name in held)
        assert not same, (
            f"the same for two seeds: {', '.join(sorted(held))}. Draw from the generator that "
            "attach() is given; if nothing is drawn, say so in `xfail`"
        )

    def test_no_hook_is_left_behind(self) -> None:
        """A hook that stays is there in evaluations, under the next rule and in `result.model`."""
        model = self.make_model()
        before = _hooks_of(model)
        self.closure(model)()
        left = sorted(_hooks_of(model) - before)
        assert not left, f"left in the model: {', '.join(left)}"

    def test_the_batch_is_left_as_it_is(self) -> None:
        """In training mode, inputs of any size and targets are the same after the closure."""
        model = self.make_model().train()
        inputs, targets, loss = self.batch()
        batch = Batch(3 * inputs, targets.clone(), loss)
        self.closure(model, batch=batch)()
        assert torch.equal(batch.inputs, 3 * inputs), "the batch's inputs are changed in place"
        assert torch.equal(batch.targets, targets), "the batch's targets are changed in place"

    def test_a_last_batch_of_another_size_is_learned_from(self) -> None:
        """After 20 examples, 7 give finite gradients, and not all of them are zero."""
        model = self.make_model()
        rule = self.make(0, model)
        inputs, targets, loss = self.batch()
        for size in (toy.BATCH_SIZE, 7):
            closure = rule.closure(model, Batch(inputs[:size], targets[:size], loss))
            rows = len(called(closure)[1])
            assert rows == size, f"for {size} examples there are {rows} rows of logits"
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{name} has no gradient of 7 examples"
            assert bool(parameter.grad.isfinite().all()), f"{name}: the gradient is not finite"
        assert any(bool(each.any()) for each in gradients_of(model)), (
            "of 7 examples, after 20, all gradients are zero"
        )

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

    def test_its_diagnostics_are_numbers_by_name(self) -> None:
        """After a step each is a Python number, under a name that the core does not use itself."""
        model = self.make_model()
        rule = self.make(0, model)
        rule.closure(model, self.batch())()
        assert_numbers(rule.diagnostics())

    def test_its_diagnostics_change_nothing(self) -> None:
        """Whether they are asked for or not, it learns the same weights from there, bit for bit."""
        ends = []
        for asked in (False, True):
            model, task = self.make_model(), toy.make_task()
            rule, optimizer = self.make(0, model), toy.make_optimizer(model)
            toy.train(model, rule, optimizer, task, steps=1)
            if asked:
                rule.diagnostics()
            toy.train(model, rule, optimizer, task, steps=2, done=1)
            ends.append(flat([model.state_dict(), gradients_of(model)]))
        places = differing(*ends)
        assert not places, f"diagnostics() changes what is learned at {', '.join(places[:5])}"


def called(closure: Closure) -> tuple[Tensor, Tensor]:
    """Call a closure, and return its loss and logits."""
    loss = closure()
    assert closure.logits is not None, "closure.logits is not set"
    return loss, closure.logits


def other_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return a mean loss that no rule expects."""
    return 3 * F.cross_entropy(logits / 2, (targets + 1) % toy.CLASSES)


def gradients_of(model: Model) -> list[Tensor]:
    """Return copies of the gradients that there are."""
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _hooks_of(model: Model) -> set[str]:
    """Return every hook of a module or parameter, by its place."""
    return {
        f"{name or 'model'}.{kind}[{key}]"
        for name, part in (*model.named_modules(), *model.named_parameters())
        for kind in dir(part)
        if kind.endswith("_hooks") and isinstance(hooks := getattr(part, kind), dict)
        for key in hooks
    }


@torch.no_grad()
def negate(model: Model) -> None:
    """Turn every binary weight around."""
    for parameter in model.binary_parameters().values():
        parameter.neg_()


def _draws_of(model: Model) -> dict[Tensor, Tensor]:
    """Return three draws of every binary weight, or of every matrix where none is binary."""
    generator = seeds.generator(0, "draws")
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    return {
        weight: weight.detach() * random_signs((3, *weight.shape), generator)
        for weight in (model.binary_parameters().values() or matrices)
    }
