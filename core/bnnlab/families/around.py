"""Rules and optimizers around another one: they change what it learns from, and it learns."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.batch_checks import expect_one_path
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.interfaces.rule import Batch, LearningRule

_SHARED = ("state", "param_groups")


def of_base(name: str) -> Any:
    """Return a method that calls the method of this name of `self.base`."""

    def method(self: Any, *arguments: Any, **given: Any) -> Any:
        return getattr(self.base, name)(*arguments, **given)

    method.__name__ = name
    return method


def set_in_base(name: str) -> Any:
    """Return an attribute that is `self.base`'s; what is set here is set there."""
    return property(
        lambda self: getattr(self.base, name),
        lambda self, value: setattr(self.base, name, value),
        doc="As the base; what is set here is set there.",
    )


def recalls(rule: LearningRule) -> bool:
    """Return whether a rule chooses itself what a step learns from; then it provides "recalls"."""
    own = ("recall", "remember", "closure")
    is_own = any(getattr(type(rule), name) is not getattr(LearningRule, name) for name in own)
    return is_own or rule.memory is not None


class RuleAround(LearningRule):
    """A rule that leaves the gradients to another one.

    A subclass overrides `recall`, which may add past rows to a batch and give it another loss;
    `remember`; and `task_started` or `task_ended`, which begin with `super()`. Everything else is
    the other rule's.

    Args:
        base: The rule that learns; it is attached with this one.

    Attributes:
        changes_loss: Whether `recall` gives a batch another loss. Then the base must learn from
            that loss alone (`any_loss`), or the change has no effect on a part of what is learned.

    Raises:
        UsageError: If the base itself chooses what a step learns from: of two that do, one would
            not be asked. Or if the loss is changed, and the base learns from more than that.
    """

    changes_loss = False

    def __init__(self, base: LearningRule) -> None:
        super().__init__()
        self._expect_plain(base)
        if self.changes_loss and not base.any_loss:
            raise UsageError(
                f"rule.base: {type(base).__name__} learns from more than the loss of a batch, "
                f"which {type(self).__name__} changes: take a rule that provides 'any-loss', such "
                "as bp"
            )
        self.base = base

    def _expect_plain(self, base: LearningRule) -> None:
        if recalls(base):
            inner, outer = type(base).__name__, type(self).__name__
            swapped = "" if recalls(self) else f", or let {outer} be the base of {inner}"
            raise UsageError(
                f"rule.base: {inner} itself says what a step learns from, and only the outermost "
                f"rule is asked: take a base that learns from the batch as it is{swapped}"
            )

    @property
    def any_loss(self) -> bool:  # type: ignore[override]
        """As the base, but for a memory that goes by classes."""
        return self.base.any_loss and not (self.memory is not None and self.memory.reads_classes)

    @property
    def whole_segments(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.whole_segments

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """As the base, and where the loss is changed: it is of all rows together."""
        return self.changes_loss or self.base.whole_batch

    @property
    def waits(self) -> int:  # type: ignore[override]
        """As the base, and once for a memory that goes by classes: it reads the targets."""
        return self.base.waits + (self.memory is not None and self.memory.reads_classes)

    if not TYPE_CHECKING:  # checkers know them from `LearningRule`
        precision = set_in_base("precision")
        rate_factor = set_in_base("rate_factor")
        clip_value = set_in_base("clip_value")

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Attach the base, which draws first: what it draws is what it draws alone.

        Raises:
            UsageError: If the base refuses the model, or keeps a memory of its own; or if a part of
                the model goes by the task, and `recall` is overridden.
        """
        if type(self).recall is not LearningRule.recall:
            expect_one_path(self, model)
        self.base.attach(model, generator)
        self._expect_plain(self.base)

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Let the base differentiate."""
        return self.base.differentiate(model, batch)

    if not TYPE_CHECKING:  # checkers know them from `LearningRule`
        autocast = of_base("autocast")
        differentiate_draws = of_base("differentiate_draws")
        step_started = of_base("step_started")
        check_rates = of_base("check_rates")
        objective = of_base("objective")
        task_started = of_base("task_started")
        task_ended = of_base("task_ended")
        diagnostics = of_base("diagnostics")


class OptimizerAround(Optimizer):
    """An optimizer that leaves the steps to another one, its base.

    A subclass overrides `step`, as `return self.base.step(lambda: changed(closure))`; and
    `task_started` or `task_ended`, which begin with `super()`. Everything else is the base's.

    Groups and state are the base's own: schedulers act on the base, and what is kept per parameter
    here lies in the same `state[p]`, under names that the base does not use.

    Args:
        model: The model that the base was made for.
        base: The optimizer that makes the steps.
        settings: Settings of this one that are kept in each group, like `lr`.
        generator: Source of random numbers of this one; None if it draws none.
    """

    takes_scales = True  # if the base does, which was asked before

    def __init__(
        self,
        model: Model,
        base: Optimizer,
        *,
        settings: Mapping[str, Any] = MappingProxyType({}),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(model, lr=base.param_groups[0]["lr"], generator=generator)
        self.base = base
        self._share(base.param_groups, base.state, self._watch)
        # What a group has that is added later, and what torch's schedulers ask for.
        self.defaults = {**base.defaults, **settings}
        for group in self.param_groups:
            group.update(settings)

    def _share(self, groups: list[Group], state: Any, watch: Any) -> None:
        """Let this optimizer and all inside it have the same groups, state and watch."""
        each: Optimizer | None = self
        while each is not None:
            each.param_groups, each.state, each._watch = groups, state, watch
            each = each.base if isinstance(each, OptimizerAround) else None

    @property
    def test_draws(self) -> int:  # type: ignore[override]
        """As the base."""
        return self.base.test_draws

    @property
    def waits(self) -> int:  # type: ignore[override]
        """As the base."""
        return self.base.waits

    @property
    def rates(self) -> Sequence[str]:  # type: ignore[override]
        """As the base."""
        return self.base.rates

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Let the base make a step."""
        return self.base.step(closure)

    if not TYPE_CHECKING:  # checkers know them from `Optimizer`
        task_started = of_base("task_started")
        task_ended = of_base("task_ended")
        check_rates = of_base("check_rates")
        predictive = of_base("predictive")
        predicts_by = of_base("predicts_by")
        draw = of_base("draw")
        latent = of_base("latent")
        adopt = of_base("adopt")
        diagnostics = of_base("diagnostics")

    def state_dict(self) -> dict[str, Any]:
        """Return the shared state, this generator's, and what else the base saves."""
        inner = self.base.state_dict()
        own = {key: each for key, each in inner.items() if key not in _SHARED}
        return {**super().state_dict(), "base": own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        shared = {key: state_dict[key] for key in _SHARED}
        self.base.load_state_dict({**shared, **state_dict["base"]})
        self._share(self.param_groups, self.state, self._watch)
