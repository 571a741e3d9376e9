"""Optimizers that are made around another one."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import made_of_parts
import torch
from torch import Tensor

import bnnlab
from bnnlab.engine.making import Maker
from bnnlab.errors import UsageError
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Probe, Run
from bnnlab.markers import Part
from bnnlab_testing import toy
from broken import found_by, right
from broken.optimizers import GOES_ON, Fine

OF_ITS_RUN = "test_what_it_is_made_of_comes_from_its_run"
IGNORED = "test_no_option_is_ignored"
OWN_NAMES = "test_its_state_has_names_that_no_base_uses"
Base = Annotated[Maker | str, Part("optimizer")]
Latent = Annotated[Maker | str, Part("optimizer", needs=("latent-weights",))]


@right(
    OF_ITS_RUN,
    IGNORED,
    GOES_ON,
    "test_copies_go_on_as_the_original",
    "test_torchs_schedulers_work_or_are_refused",
    "test_its_options_are_its_constructors_keywords",
    "test_weights_that_are_loaded_are_learned_from",
    "test_a_frozen_parameter_is_left_alone",
    "test_the_lr_of_every_group_is_read_at_each_step",
)
class Around(made_of_parts.Around):
    """Multiplies gradients."""

    declared = None


class AroundAFew(Around):
    """Goes around one with latent weights, which few have of all that are installed here."""

    def __init__(self, model: Model, *, base: Latent = "bnnlab-backprop/sgd", **rest: Any) -> None:
        super().__init__(model, base=base, **rest)


@right(OF_ITS_RUN, GOES_ON, IGNORED)
class AroundAround(Around):
    """Goes around one that goes around another."""

    def __init__(
        self, model: Model, *, base: Base = "acme-all/broken.parts.around", **rest: Any
    ) -> None:
        super().__init__(model, base=base, **rest)


@right(
    OF_ITS_RUN,
    GOES_ON,
    "test_drawn_weights_are_put_back",
    "test_draws_come_from_the_seed",
    "test_evaluation_changes_no_state",
)
class AroundAPosterior(Around):
    """Goes around one with a posterior."""

    provides = ["posterior"]
    fields = {"requires": frozenset({"gradients", "reevaluable"})}

    def __init__(self, model: Model, *, base: Base = "bnnlab-bayesbinn/bayesbinn", **rest: Any):
        super().__init__(model, base=base, **rest)


@found_by(OF_ITS_RUN, "looks for plugins itself")
class CreatesItsBase(Around):
    """Takes its base from all plugins that are installed."""

    def make_base(self, base: Maker | str, model: Model, generator: torch.Generator) -> Optimizer:
        name = base if isinstance(base, str) else base.name
        made: Optimizer = bnnlab.create("optimizer", name, model)
        return made


@found_by(OF_ITS_RUN, "looks for plugins itself")
class FindsItsBase(Around):
    """Takes the base of this name from all plugins that are installed, without its options."""

    def make_base(self, base: Maker | str, model: Model, generator: torch.Generator) -> Optimizer:
        assert isinstance(base, Maker)
        return super().make_base(base.name, model, generator)


@found_by(OF_ITS_RUN, "looks for plugins itself")
class HasAHiddenBase(Fine):
    """Is made around another one without saying so."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        bnnlab.create("optimizer", "bnnlab-backprop/sgd", model)


@found_by(OF_ITS_RUN, "does not make its base by the maker")
@found_by(IGNORED, "no effect: base .tried: ")
class HasItsOwnBase(AroundAFew):
    """Has a base of its own, whatever it is told."""

    def make_base(self, base: Maker | str, model: Model, generator: torch.Generator) -> Optimizer:
        return toy.make_optimizer(model)


@found_by(GOES_ON, "a run goes another way")
class ForgetsItsBase(Around):
    """Does not save what its base has beside groups and state."""

    def make_base(self, base: Maker | str, model: Model, generator: torch.Generator) -> Optimizer:
        return Drawing(model, generator=generator)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "base": {}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        inner = self.base.state_dict()
        super().load_state_dict({**state_dict, "base": inner})


class Drawing(Fine):
    """Adds noise to gradients."""

    def __init__(self, model: Model, *, generator: torch.Generator) -> None:
        super().__init__(model, generator=generator)
        self._generator = generator

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        noise = torch.randn(grad.shape, generator=self.generator(grad.device), device=grad.device)
        return grad + 0.1 * noise


@found_by(
    "test_its_capabilities_are_those_of_its_kind", "'gradients' is provided by a rule, not optim"
)
class PassesWhatIsNoneOfIts(Around):
    """Says that it passes on what no optimizer has."""

    def __init__(
        self,
        model: Model,
        *,
        base: Annotated[Maker | str, Part("optimizer", passes=("gradients",))] = "sgd",
        **rest: Any,
    ) -> None:
        super().__init__(model, base=base, **rest)


@right(OWN_NAMES)
class Smooths(AroundAFew):
    """Keeps a running mean of the gradients."""

    mean = "smooths_mean"

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        return self.base.step(lambda: self.smoothed(closure))

    def smoothed(self, closure: Callable[[], Tensor]) -> Tensor:
        """Compute gradients, and note their mean."""
        loss = closure()
        for parameter in [each for group in self.param_groups for each in group["params"]]:
            state = self.state[parameter]
            if self.mean not in state:
                state[self.mean] = torch.zeros_like(parameter)
            if parameter.grad is not None:
                state[self.mean].lerp_(parameter.grad, 0.1)
        return loss


@found_by(OWN_NAMES, r"with base=\S+sgd, both write or read state\[p\] at velocity: begin")
class SmoothsItsBasesState(Smooths):
    """Calls the mean as its base calls a velocity."""

    mean = "velocity"


@right("test_its_capabilities_are_those_of_its_kind")
class PassesAPosterior(Around):
    """Says that it has a posterior where its base has one."""

    def __init__(
        self,
        model: Model,
        *,
        base: Annotated[Maker | str, Part("optimizer", passes=("posterior",))] = "sgd",
        **rest: Any,
    ) -> None:
        super().__init__(model, base=base, **rest)


class Scored(toy.ToyRule):
    """A rule that some optimizers ask for."""


class AsksForItsRule(Fine):
    """Works with one rule alone, as its plugin says by a capability of its own."""

    def task_started(self, context: TaskContext) -> None:
        super().task_started(context)
        if not isinstance(context.rule, Scored):
            raise UsageError("it needs a rule that scores")


@right(OF_ITS_RUN)
class AsksARule(Probe):
    """Makes a rule as it hears of the run."""

    declared = None

    def __init__(self, *, base: Annotated[Maker | str, Part("rule")] = "bp") -> None:
        self.maker = Maker.of("rule", base)

    def attach(self, run: Run) -> None:
        self.maker()


@found_by(OF_ITS_RUN, "does not make its base by the maker")
class AsksNoRule(AsksARule):
    """Makes none."""

    def attach(self, run: Run) -> None:
        """Do nothing."""
