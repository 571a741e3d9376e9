"""The learning-rule interface: a batch becomes gradients at the model's present weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from bnnlab.interfaces import batch_checks
from bnnlab.interfaces.batch import Batch as Batch
from bnnlab.interfaces.batch import Loss as Loss
from bnnlab.interfaces.closure import Closure as Closure
from bnnlab.interfaces.closure import Draws as Draws
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.draw_by_draw import evaluate_draws as evaluate_draws
from bnnlab.interfaces.memory import Memory
from bnnlab.interfaces.model import Model


class LearningRule(nn.Module, ABC):
    """Turns a batch into gradients. It does not know the optimizer that uses them.

    A rule is a module, so that what it registers in `attach` (feedback matrices, for example) is in
    `state_dict()` and moves with `to(device)`.

    Attributes:
        memory: Past examples that the rule learns from again; None if it keeps none. It is made in
            `attach`. The checkpoint has it, and the protocol says its size and policy.
        any_loss: Whether the rule learns from the batch's loss alone, whatever its targets are and
            whatever shape its outputs have. What provides the capability "any-loss" says so here.
        class_losses: Whether it takes any loss of a class per input; it provides "class-losses".
        whole_batch: Whether the gradient of a batch is another than the mean of those of its pieces
            (each example apart), since the rule compares examples, draws for each of them before a
            step, or is not linear in gradients: it cannot accumulate, and provides "whole-batch".
        whole_segments: Whether the rule runs each segment as a whole, so that segments may be
            compiled. A rule with hooks on the layers inside must leave this False.
        stackable: Whether `differentiate` does the same for a stack of S models, each with a batch
            of its own: inputs `(S, B, ...)`, outputs `(S, B, K)`, parameters of the model and
            buffers of the rule `(S, ...)`, and a loss that is the sum of S losses. Such a rule
            learns from the loss alone, recalls nothing, and keeps in buffers what its runs do not
            share. A subclass that changes a method says it again.
        waits: How often, at most, the host waits for the device in a step, as at `.item()`.
        capturable: Whether `differentiate` may be recorded on an accelerator (as a CUDA graph) and
            repeated: what changes on the host does so in `step_started`, and all else in tensors.
        exact: Whether a step of the rule is the gradient of the batch's loss and nothing else, so
            that compiled loops may make it. A subclass that changes a method says it again.
        rate_factor: Factor of the optimizer's learning rates in a step, by the schedule of a run;
            it is set before `step_started`. For rules that learn at rates of their own.
        clip_value: Each number of the gradients is clipped to this size once the rule has left
            them, by the run; None: no bound.
        precision: The dtype to which `torch.autocast` casts products in forward and backward
            passes, for example `torch.bfloat16`; None for no casting. Parameters and gradients stay
            float32.
    """

    any_loss = class_losses = whole_batch = whole_segments = False
    stackable = capturable = exact = False
    waits = 0
    rate_factor = 1.0
    clip_value: float | None = None
    precision: torch.dtype | None = None

    def __init__(self) -> None:
        super().__init__()
        self.memory: Memory | None = None

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Prepare the rule for a model. Register here what it draws, such as feedback matrices.

        Change nothing in the model but its `inference`.

        Args:
            model: The model that is to learn.
            generator: Source of random numbers, on the CPU.

        Raises:
            UsageError: If the rule cannot work on this model, with the reason.
        """

    @abstractmethod
    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Leave the gradient of the batch-mean loss in `.grad`; return loss and logits.

        When it is called, gradients are enabled and every `.grad` is None.

        Args:
            model: The model, at the weights to differentiate at.
            batch: Inputs, targets and loss.

        Returns:
            The batch-mean loss, a scalar; and the logits `(B, K)`, or `(B, ..., K)`.
        """

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        """Do the same at S weight draws in one pass; None, as by default, if it cannot.

        The closure then calls `differentiate` once per draw. The gradients are returned, not left
        in `.grad`. The `draws` are the values of each drawn parameter by name, `(S, *shape)`.
        """

    def task_started(self, context: TaskContext) -> None:
        """Prepare for a task before its first step, before the optimizer does; by default nothing.

        What it changes is in `state_dict()`. Do not read `context.task.test`.
        """

    def task_ended(self, context: TaskContext) -> None:
        """Finish a task after its last step, after the optimizer did; by default nothing."""

    def step_started(self) -> None:
        """Hear that a step begins, as its closure is made; by default nothing."""

    def check_rates(self, factor: float) -> None:
        """Refuse a `rate_factor` that takes a rate of the rule's own beyond its bounds.

        By default there is none.

        Raises:
            UsageError: If a rate, times the factor, is too large; with the bound.
        """

    def recall(self, model: Model, batch: Batch) -> Batch:  # noqa: ARG002
        """Return what a step learns from: the batch's own rows first, then past ones.

        It is called once per step, after `step_started`, without gradients; `differentiate`
        gets what it returns. The loss may be another one, too. By default the batch as it is.
        """
        return batch

    def remember(self, batch: Batch, logits: Tensor) -> None:
        """Keep what is to be learned from again; by default in `memory`, if there is one.

        It is called once per step, after the closure was first evaluated, without gradients. The
        batch has the step's own rows, as `recall` was given them; logits are the model's outputs
        for them, after S weight draws the mean over the draws.
        """
        if self.memory is not None:
            self.memory.add(batch, logits)

    def objective(self, batch: Batch) -> Loss:
        """Return the loss that the rule minimises: its exact gradient is compared with the rule's.

        By default the batch's loss.
        """
        return batch.loss

    def diagnostics(self) -> dict[str, float]:
        """Return numbers for the metrics, by name. A run calls it after every epoch."""
        return {}

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context in which the rule's passes run, see `precision`."""
        return torch.autocast(device.type, self.precision) if self.precision else nullcontext()

    def closure(self, model: Model, batch: Batch | tuple[Tensor, Tensor]) -> Closure:
        """Return the closure that `optimizer.step` calls, once or once per weight draw.

        Args:
            model: The model that learns.
            batch: `(inputs, targets)`, or a `Batch` with a loss of its own.

        Raises:
            UsageError: If the model is no bnnlab model, the batch is not inputs with targets, or
                the rule cannot learn from such targets.
        """
        return Closure(self, model, batch_checks.checked(self, model, batch))
