"""Rules around another rule: they change what it learns from, and it learns."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Draws, LearningRule, Loss


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
        UsageError: If the base itself says what a step learns from: of two that do, one would not
            be asked. Or if the loss is changed, and the base learns from more than that.
    """

    changes_loss = False

    def __init__(self, base: LearningRule) -> None:
        super().__init__()
        own = ("recall", "remember", "closure")
        if any(getattr(type(base), name) is not getattr(LearningRule, name) for name in own):
            raise self._refused(base)
        if self.changes_loss and not base.any_loss:
            raise UsageError(
                f"rule.base: {type(base).__name__} learns from more than the loss of a batch, "
                f"which {type(self).__name__} changes: take a rule that provides 'any-loss', such "
                "as bp"
            )
        self.base = base

    def _refused(self, base: LearningRule) -> UsageError:
        return UsageError(
            f"rule.base: {type(base).__name__} itself says what a step learns from, and so does "
            f"{type(self).__name__}: take a base that learns from the batch as it is"
        )

    @property
    def any_loss(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.any_loss

    @property
    def whole_segments(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.whole_segments

    @property
    def precision(self) -> torch.dtype | None:
        """As the base; what is set here is set there."""
        return self.base.precision

    @precision.setter
    def precision(self, dtype: torch.dtype | None) -> None:
        self.base.precision = dtype

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the base's context."""
        return self.base.autocast(device)

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Attach the base, which draws first: what it draws is what it draws alone.

        Raises:
            UsageError: If the base refuses the model, or keeps a memory of its own.
        """
        self.base.attach(model, generator)
        if self.base.memory is not None:
            raise self._refused(self.base)

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Let the base do it."""
        return self.base.differentiate(model, batch)

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        """Let the base do it."""
        return self.base.differentiate_draws(model, batch, draws)

    def step_started(self) -> None:
        """Tell the base."""
        self.base.step_started()

    def objective(self, batch: Batch) -> Loss:
        """Return the base's."""
        return self.base.objective(batch)

    def task_started(self, context: TaskContext) -> None:
        """Tell the base."""
        self.base.task_started(context)

    def task_ended(self, context: TaskContext) -> None:
        """Tell the base."""
        self.base.task_ended(context)

    def diagnostics(self) -> dict[str, float]:
        """Return the base's."""
        return self.base.diagnostics()
