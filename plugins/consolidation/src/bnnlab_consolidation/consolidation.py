"""What the methods here share: another optimizer, whose gradients get a penalty."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.deprecation import warn_of_setting
from bnnlab.engine.making import Maker
from bnnlab.errors import UsageError
from bnnlab.families.around import OptimizerAround
from bnnlab.families.posterior import PosteriorOptimizer
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.markers import AtLeast, Part, Positive
from bnnlab.settings.text import parse_value


class Consolidation(OptimizerAround):
    """A base optimizer that is held back where earlier tasks need the weights as they are.

    What is consolidated, theta, is the latent weight of a binary parameter, and a real parameter
    itself. The gradient of a quadratic penalty in theta is added to the loss's gradient, and the
    base steps on the sum: what it does to gradients, clipping included, it does to the penalty too.
    `clip_value` of a run comes before, and does not clip the penalty.
    `step` returns the loss without the penalty.

    The end of a task must be told (`task_ended`); until the first one the base learns as it would
    alone. No example of an earlier task is kept.

    What is kept per parameter lies in the base's `state[p]`, under names that begin with the
    method's.

    Args:
        generator: Seeds the base, and draws what a method draws at a task's end.
        strength: Factor on the penalty; 0: none.
        base_options: Deprecated: options of the base, each as name=value.
        lr: Learning rate of the base. None: that of its own options.

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
        base: Annotated[Maker | str, Part("optimizer", needs=("latent-weights",))] = "sgd",
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
        made = maker(model, generator=seeds.generator(seed, "optimizer"))
        _refuse_unsuitable(maker.name, made, model)
        settings = {"consolidation_strength": strength}
        super().__init__(model, made, settings=settings, generator=generator)

    @property
    def capturable(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.capturable

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

    def task_ended(self, context: TaskContext) -> None:
        """Tell the base, then consolidate what it leaves."""
        super().task_ended(context)
        with torch.no_grad():
            self.consolidate(context)


def _refuse_unsuitable(name: str, base: Optimizer, model: Model) -> None:
    inner = base
    while isinstance(inner, OptimizerAround):
        if isinstance(inner, Consolidation):
            raise UsageError(
                f"optimizer.base: {name!r} consolidates already; name its own base instead"
            )
        inner = inner.base
    if isinstance(inner, PosteriorOptimizer):
        raise UsageError(
            f"optimizer.base: {name!r} draws its weights from a posterior, and a penalty needs one "
            "value per weight; bases that work are, for example, adam, sgd and meta"
        )
    if any("latent" not in base.state[p] for p in model.binary_parameters().values()):
        raise UsageError(
            f"optimizer.base: {name!r} keeps no latent weights, and a penalty cannot hold signs "
            "back; bases that work are, for example, adam, sgd and meta"
        )


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
        warn_of_setting("optimizer.base_options", f"set {instead}", "bnnlab-consolidation 0.4")
    return given
