"""What the methods here share: another optimizer, whose gradients get a penalty."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine.making import Maker
from bnnlab.errors import UsageError
from bnnlab.families.posterior import PosteriorOptimizer
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.markers import AtLeast, Part, Positive
from bnnlab.settings.text import parse_value

log = logging.getLogger("bnnlab.consolidation")


class Consolidation(Optimizer):
    """A base optimizer that is held back where earlier tasks need the weights as they are.

    What is consolidated, theta, is the latent weight of a binary parameter, and a real parameter
    itself. The gradient of a quadratic penalty in theta is added to the loss's gradient, and the
    base steps on the sum: what it does to gradients, clipping included, it does to the penalty too.
    `step` returns the loss without the penalty.

    The end of a task must be told (`task_ended`); until the first one the base learns as it would
    alone. No example of an earlier task is kept.

    Parameter groups and state are the base's own: schedulers act on the base, and what is kept per
    parameter here lies in the same `state[p]`, under names that begin with the method's.

    Args:
        generator: Seeds the base, and draws what a method draws at a task's end.
        strength: Factor on the penalty; 0: none.
        base: The optimizer that makes the steps. It must keep latent weights.
        base_options: Deprecated: options of the base, each as name=value.
        lr: Learning rate of the base. None: that of its own options.

    Attributes:
        base: The optimizer that makes the steps.

    Raises:
        UsageError: If the base is unknown, has no such option or has it set already, samples its
            weights, has no latent weights for the model's binary parameters, or consolidates
            already.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        strength: Annotated[float, AtLeast(0)],
        base: Annotated[Maker | str, Part("optimizer")] = "sgd",
        base_options: Sequence[str] = (),
        lr: Positive | None = None,
    ) -> None:
        given = _parse(base_options)
        if lr is not None and "lr" in given:
            raise UsageError("optimizer.base_options: 'lr' is given by optimizer.lr already")
        if lr is not None:
            given["lr"] = lr
        maker = Maker.of("optimizer", base, **given)
        seed = int(torch.randint(2**62, (), generator=generator))
        self.base: Optimizer = maker(model, generator=seeds.generator(seed, "optimizer"))
        self._refuse_unsuitable(maker.name, model)
        super().__init__(model, lr=self.base.param_groups[0]["lr"], generator=generator)
        self._share(self.base.param_groups, self.base.state)
        # What a group has that is added later, and what torch's schedulers ask for.
        self.defaults = {**self.base.defaults, "consolidation_strength": strength}
        for group in self.param_groups:
            group["consolidation_strength"] = strength

    def _refuse_unsuitable(self, name: str, model: Model) -> None:
        if isinstance(self.base, Consolidation):
            raise UsageError(
                f"optimizer.base: {name!r} consolidates already; name its own base instead"
            )
        if isinstance(self.base, PosteriorOptimizer):
            raise UsageError(
                f"optimizer.base: {name!r} draws its weights from a posterior, and a penalty needs "
                "one value per weight; bases that work are, for example, adam, sgd and meta"
            )
        state = self.base.state
        if any("latent" not in state[p] for p in model.binary_parameters().values()):
            raise UsageError(
                f"optimizer.base: {name!r} keeps no latent weights, and a penalty cannot hold "
                "signs back; bases that work are, for example, adam, sgd and meta"
            )

    def _share(self, groups: list[Group], state: Any) -> None:
        """Let the base and this optimizer have the same groups, state and watch."""
        self.param_groups = self.base.param_groups = groups
        self.state = self.base.state = state
        self.base._watch = self._watch

    def theta(self, parameter: Tensor) -> Tensor:
        """Return what is consolidated: the latent weight, or the real parameter; not a copy."""
        latent: Tensor = self.state[parameter].get("latent", parameter.data)
        return latent

    @abstractmethod
    def penalty(self, parameter: Tensor) -> Tensor | None:
        """Return the gradient by theta of the penalty with strength 1; None before a task's end."""

    @abstractmethod
    def consolidate(self, context: TaskContext) -> None:
        """Take into the penalty what the task that ends has taught; called without gradients."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Let the base make one step with the penalised gradients."""
        return self.base.step(lambda: self._penalised(closure))

    def _penalised(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        for group in self.param_groups:
            strength = group["consolidation_strength"]
            for parameter in group["params"]:
                if not strength or parameter.grad is None:
                    continue
                penalty = self.penalty(parameter)
                if penalty is not None:
                    parameter.grad = torch.add(parameter.grad, penalty, alpha=strength)
        return loss

    def task_started(self, context: TaskContext) -> None:
        """Tell the base."""
        self.base.task_started(context)

    def task_ended(self, context: TaskContext) -> None:
        """Tell the base, then consolidate what it leaves."""
        self.base.task_ended(context)
        with torch.no_grad():
            self.consolidate(context)

    def latent(self, parameter: Tensor) -> Tensor | None:
        """Return what the base keeps."""
        return self.base.latent(parameter)

    def adopt(self, parameter: Tensor) -> None:
        """Let the base take over a weight that others wrote."""
        self.base.adopt(parameter)

    def diagnostics(self) -> dict[str, float]:
        """Return the base's."""
        return self.base.diagnostics()

    def state_dict(self) -> dict[str, Any]:
        """Return the shared state, this generator's, and what else the base saves."""
        shared = ("state", "param_groups")
        own = {key: each for key, each in self.base.state_dict().items() if key not in shared}
        return {**super().state_dict(), "base": own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        shared = {key: state_dict[key] for key in ("state", "param_groups")}
        self.base.load_state_dict({**shared, **state_dict["base"]})
        self._share(self.param_groups, self.state)


def _parse(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `["momentum=0.5"]` into `{"momentum": 0.5}`, with a warning; values are TOML."""
    given: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals:
            raise UsageError(f"optimizer.base_options: {text!r} is not name=value, as momentum=0.5")
        if name in given:
            raise UsageError(f"optimizer.base_options: {name!r} is given twice")
        given[name] = parse_value(value)
    if given:
        instead = ", ".join(f"optimizer.base.{text.replace(' ', '')}" for text in assignments)
        log.warning("optimizer.base_options is deprecated. Set in its place: %s", instead)
    return given
