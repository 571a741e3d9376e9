"""What the parts of `OptimizerContract` share: an optimizer to check, and how to compare."""

from torch import Tensor

from bnnlab.engine import building
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import LearningRule
from bnnlab.registry.components import Kind
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.partners import partner
from bnnlab_testing.toy_checks import ToyChecks

TOY_RULE = frozenset({"gradients", "reevaluable", "any-loss"})
"""What `toy.ToyRule` provides."""


class OptimizerChecks(ToyChecks):
    """A part of `OptimizerContract`."""

    kind = Kind.OPTIMIZER
    given = frozenset({"model", "generator"})

    def make_rule(self, model: Model) -> LearningRule:
        """Return the rule that gives the gradients of a model, attached to it.

        They are exact ones, unless it requires what another rule provides.
        """
        rule = partner(self.host, self.choice, Kind.RULE, TOY_RULE)
        return toy.ToyRule() if rule is None else building.make_rule(self.host, rule, model, seed=0)

    def make(
        self, seed: int = 0, model: Model | None = None, choice: Choice | None = None
    ) -> Optimizer:
        """Make the optimizer for a model."""
        model = self.make_model() if model is None else model
        choice = self.choice if choice is None else choice
        return building.make_optimizer(self.host, choice, model, seed=seed)

    def trained(self, steps: int = 3, seed: int = 0) -> tuple[Model, Optimizer]:
        """Return a model that was trained for some steps of a task, and its optimizer."""
        model = self.make_model()
        optimizer = self.make(seed, model)
        toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=steps)
        return model, optimizer

    def go_on(self, model: Model, optimizer: Optimizer, steps: int = 1) -> None:
        """Make more steps of the task in which `trained` made three."""
        toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=steps, done=3)

    def shown(self, model: Model, optimizer: Optimizer) -> list[Tensor]:
        """Return copies of the deployed weights, and of two draws where there is a posterior."""
        found = copy_of(model)
        for _ in optimizer.predictive(2 if self.provides("posterior") else 0):
            found += copy_of(model)
        return found

    def used(
        self, seed: int = 0, choice: Choice | None = None
    ) -> tuple[Model, Optimizer, list[Tensor]]:
        """Learn two tasks and evaluate after each; return also the weights evaluated at."""
        model, seen = self.make_model(), list[Tensor]()
        optimizer, rule = self.make(seed, model, choice), self.make_rule(model)
        for index in range(2):
            toy.train(model, rule, optimizer, toy.make_task(index), steps=2, end=True)
            draws = (optimizer.test_draws or 3) if self.provides("posterior") else 0
            for _ in optimizer.predictive(draws):
                seen += copy_of(model)
        return model, optimizer, seen

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Learn two tasks, with an evaluation after each."""
        model, _, seen = self.used(seed)
        return [*seen, *copy_of(model)]


def copy_of(model: Model) -> list[Tensor]:
    """Return copies of a model's parameters."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def tensors_of(optimizer: Optimizer, parameter: Tensor) -> list[Tensor]:
    """Return a parameter and the tensors of its state."""
    state = optimizer.state[parameter]
    return [parameter.detach(), *(v for v in state.values() if isinstance(v, Tensor))]


def assert_signs(model: Model) -> None:
    """Check that every binary parameter is -1 or +1."""
    for name, parameter in model.binary_parameters().items():
        assert bool((parameter.abs() == 1).all()), f"{name} holds more than -1 and +1"
