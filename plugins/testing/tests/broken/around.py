"""Rules and optimizers around another one, and what they keep from it."""

from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.engine.making import Maker
from bnnlab.families.around import RuleAround
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.markers import AtLeast, Part
from bnnlab_backprop.optimizers import LatentSGD
from bnnlab_backprop.rule import Backpropagation
from bnnlab_testing import toy
from broken import found_by, parts, right

HEARS = "test_its_base_hears_what_it_hears"
SAYS = "test_its_base_is_heard_in_its_diagnostics"
OWN = "test_no_part_comes_from_another_plugin"
IGNORED = "test_no_option_is_ignored"
PASSED = ("gradients", "reevaluable", "any-loss")
Base = Annotated[Maker | str, Part("rule", passes=PASSED, refuses=("recalls",))]

right(HEARS, SAYS, OWN)(parts.AroundAround)


@right(HEARS, SAYS, OWN, IGNORED, "test_a_loss_that_recall_changes_is_declared")
class Around(RuleAround):
    """Multiplies the gradients of another rule.

    Args:
        base: The other rule.
        factor: Of the gradients.
    """

    declared = None

    def __init__(self, *, base: Base = "bp", factor: Annotated[float, AtLeast(0)] = 1.0) -> None:
        super().__init__(Maker.of("rule", base)())
        self.factor = factor

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer: tuple[Tensor, Tensor] = super().differentiate(model, batch)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self.factor)
        return answer

    def differentiate_draws(self, model: Model, batch: Batch, draws: Any) -> None:
        """Do it draw by draw."""

    def diagnostics(self) -> dict[str, float]:
        return {**super().diagnostics(), "factor": self.factor}


@right(HEARS, SAYS)
class Holds(LearningRule):
    """Passes everything on, as no class derived from RuleAround; its base's numbers have a prefix.

    Args:
        base: The other rule.
    """

    declared = None
    any_loss = True

    def __init__(self, *, base: Base = "bp") -> None:
        super().__init__()
        self.inner = Maker.of("rule", base)()

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.inner.attach(model, generator)

    def task_started(self, context: TaskContext) -> None:
        self.inner.task_started(context)

    def task_ended(self, context: TaskContext) -> None:
        self.inner.task_ended(context)

    def step_started(self) -> None:
        self.inner.step_started()

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer: tuple[Tensor, Tensor] = self.inner.differentiate(model, batch)
        return answer

    def diagnostics(self) -> dict[str, float]:
        return {f"inner_{name}": each for name, each in self.inner.diagnostics().items()}


@found_by(HEARS, r"rule.base does not hear of task_started\(\), .*super\(\).task_started\(\.\.\.\)")
class IsDeaf(Around):
    """Counts tasks, and tells nobody."""

    tasks = 0

    def task_started(self, context: TaskContext) -> None:
        self.tasks += 1


@found_by(HEARS, r"does not hear of step_started\(\)")
class CountsSteps(Around):
    """Counts steps, and tells nobody."""

    steps = 0

    def step_started(self) -> None:
        self.steps += 1


@found_by(HEARS, r"does not hear of attach\(\)")
class AttachesItself(Around):
    """Attaches itself alone."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Draw nothing."""


@found_by(SAYS, "leave out those of rule.base: add super")
class IsMute(Around):
    """Says what it has to say itself."""

    def diagnostics(self) -> dict[str, float]:
        return {"factor": self.factor}


@found_by(IGNORED, "no effect: factor")
class ForgetsItsFactor(Around):
    """Has a factor, and leaves the gradients as they are."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.base.differentiate(model, batch)

    def diagnostics(self) -> dict[str, float]:
        return {}


@found_by(OWN, "it makes a Backpropagation of the plugin bnnlab_backprop itself")
class ImportsItsBase(RuleAround):
    """Goes around a rule of another plugin, which nobody can choose."""

    def __init__(self) -> None:
        super().__init__(Backpropagation())


@found_by(HEARS, r"optimizer.base does not hear of task_started\(\), task_ended\(\)")
@found_by(SAYS, "leave out those of optimizer.base")
class IsDeafAndMute(parts.Around):
    """Keeps tasks to itself, and says nothing."""

    def task_started(self, context: TaskContext) -> None:
        """Tell nobody."""

    def task_ended(self, context: TaskContext) -> None:
        """Tell nobody."""

    def diagnostics(self) -> dict[str, float]:
        return {}


@found_by(OWN, "it makes a LatentSGD of the plugin bnnlab_backprop itself")
class ImportsItsOptimizer(parts.Around):
    """Has a base of another plugin, whatever it is told."""

    def make_base(self, base: Maker | str, model: Model, generator: torch.Generator) -> Optimizer:
        return LatentSGD(model, generator=generator)


@right(OWN)
class MakesAHelper(toy.ToyRule):
    """Asks a rule of its own for gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.helper = toy.ToyRule()

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.helper.differentiate(model, batch)
