"""What a learning rule owes: gradients at the weights that the model holds now."""

import pickle
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab.engine.learner import Learner
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
from bnnlab_testing.around_checks import AroundChecks
from bnnlab_testing.asserting import assert_close, tensors_in
from bnnlab_testing.closure_checks import ClosureChecks
from bnnlab_testing.draw_checks import DrawChecks
from bnnlab_testing.effect_checks import EffectChecks
from bnnlab_testing.gradient_checks import GradientChecks
from bnnlab_testing.keeping_checks import KeepingChecks
from bnnlab_testing.life_checks import LifeChecks
from bnnlab_testing.logit_checks import LogitChecks
from bnnlab_testing.loss_checks import LossChecks
from bnnlab_testing.option_checks import OptionChecks
from bnnlab_testing.recall_checks import RecallChecks
from bnnlab_testing.recording_checks import RecordingChecks
from bnnlab_testing.rule_checks import (
    Training,
    generators_of,
    gradients_of,
    train,
)
from bnnlab_testing.stack_checks import StackChecks
from bnnlab_testing.trace_checks import TraceChecks

_TRAINED: dict[object, list[Training]] = {}
"""The trainings that were made last, by the contract and the component."""


class LearningRuleContract(
    GradientChecks,
    ClosureChecks,
    LogitChecks,
    LossChecks,
    TraceChecks,
    RecallChecks,
    AroundChecks,
    KeepingChecks,
    LifeChecks,
    EffectChecks,
    OptionChecks,
    DrawChecks,
    StackChecks,
    RecordingChecks,
):
    """Checks a learning rule. Override `make_model` where it needs a model of another make.

    Attributes:
        steps: Training steps within which the loss on each of three separable toys must fall.
        falls_to: To which part of its first value, in the mean.
    """

    steps: ClassVar[int] = 60
    falls_to: ClassVar[float] = 0.7

    def learner(self, device: torch.device, seed: int = 0) -> Learner:
        """Make the rule, and a plain optimizer."""
        model = self.make_model().to(device)
        return Learner(model, self.make(seed, model), toy.make_optimizer(model))

    def stackable(self, seed: int) -> Learner:
        """Make a smooth network, the rule and a plain optimizer."""
        model = toy.make_smooth_model()
        return Learner(model, self.make(seed, model), toy.make_optimizer(model))

    def work_on(self, device: torch.device) -> None:
        """Learn; and be asked at several weight draws at once, where it can be."""
        super().work_on(device)
        if self.provides("reevaluable"):
            learner, task = self.learner(device), toy.to(toy.make_task(), device)
            batch = next(task.train.batches(toy.BATCH_SIZE))
            weights = learner.model.binary_parameters().values()
            closure = learner.rule.closure(learner.model, batch)
            closure.at({each: torch.stack([each.detach(), -each.detach()]) for each in weights})

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Train for three steps."""
        model = self.make_model()
        rule = self.make(seed, model)
        toy.train(model, rule, toy.make_optimizer(model), toy.make_task(), steps=3)
        return [*tensors_in(rule.state_dict()).values(), *gradients_of(model)]

    def test_what_the_model_infers_are_logits_with_a_graph(self) -> None:
        """It maps inputs to (B, K), also when saved; the objective of that is a scalar."""
        model, batch = self.make_model().eval(), self.batch()
        rule = self.make(0, model)
        if model.inference is None:
            pytest.skip("the model infers by the composition of its segments")
        with torch.no_grad():
            logits = model(batch.inputs)
            again = pickle.loads(pickle.dumps(model))(batch.inputs)
        assert logits.shape == (toy.BATCH_SIZE, toy.CLASSES), f"it infers {tuple(logits.shape)}"
        assert_close([logits], [again], "model.inference is other when pickled")
        loss = rule.objective(batch)(model(batch.inputs), batch.targets)
        assert loss.ndim == 0, "objective() of the logits is no scalar"
        assert loss.requires_grad, "autograd does not go through model.inference or objective()"

    def test_its_default_model_is_there(self) -> None:
        """`default_model` is an installed model's name."""
        if self.component.default_model is None:
            pytest.skip("it has no default_model")
        self.host.resolve(Kind.MODEL, self.component.default_model)

    def test_what_it_draws_follows_its_seed(self) -> None:
        """Where it holds unequal numbers, as random matrices, some are others with another seed.

        So is the state of each random generator that it holds, as a memory does.
        """
        rules = [self.make(seed) for seed in range(2)]
        one, other = map(generators_of, rules)
        fixed = [name for name in one if name in other and torch.equal(one[name], other[name])]
        assert not fixed, (
            f"seeded the same for two seeds: {', '.join(fixed)}. Give a Memory, or what else "
            "draws, the generator that attach() is given"
        )
        states = [tensors_in(rule.state_dict()) for rule in rules]
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

    @pytest.mark.rounding
    def test_the_loss_falls_on_separable_data(self) -> None:
        """With plain descent on latent weights, toys are learned.

        A single short training goes one way or another as the sums of a processor are rounded; over
        the rules of this project, that moves the mean of three by at most a tenth.
        """
        ends = [sum(losses[-10:]) / 10 / losses[0] for losses, _ in self.trainings()]
        mean = sum(ends) / 3
        assert mean < self.falls_to, f"the loss goes to {mean:.2f} of its first value, in the mean"

    def test_the_batch_is_left_as_it_is_to_the_end(self) -> None:
        """Inputs and targets are the same after a training, in which the model gets sure of itself.

        What a rule changes late, as once it trusts the model more than the labels, it changes for
        all who look at the batch: the log, probes and a memory. Change a copy, `targets.clone()`.
        """
        written = sorted(set[str]().union(*(each.written for each in self.trainings())))
        what = " and ".join(written)
        assert not written, f"after {self.steps} steps, {what} are changed in place"

    def trainings(self) -> list[Training]:
        """Return trainings on three toys; made once for the checks of a class that ask for them."""
        key = type(self), self.component.target, repr(self.choice.table)
        if key not in _TRAINED:
            found = [
                train(model := self.make_model(), self.make(seed, model), seed, self.steps)
                for seed in range(3)
            ]
            _TRAINED.clear()
            _TRAINED[key] = found
        return _TRAINED[key]
