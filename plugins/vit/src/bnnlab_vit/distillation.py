"""Distillation: a student learns from the labels and from the logits of a trained teacher.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015; as Touvron
et al., "Training data-efficient image transformers & distillation through attention", ICML 2021,
eq. 2.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.engine.loading import load
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model, segment_shapes
from bnnlab.interfaces.rule import Batch, LearningRule, Loss
from bnnlab.markers import AtLeast, AtMost, FilePath, Positive, Search
from bnnlab.nn.normalization import BatchNorm


class Distillation(LearningRule):
    """Backpropagation of the task's loss and of the distance to a teacher's predictions.

    With student logits z, teacher logits z_T, the task's loss L(z, y) and p_tau = softmax(z / tau),
    the loss is

        (1 - lambda) L(z, y) + lambda tau^2 KL(p_tau(z_T) || p_tau(z))

    The second term is over all classes, also in tasks that mask some.

    Args:
        teacher: Folder of the teacher's run; needed. The teacher takes inputs of the same shape,
            has as many classes, and runs in evaluation mode.
        share: lambda, the weight of the teacher's term in the loss; 0: no distillation.
        temperature: tau, the temperature of both softmaxes.

    Raises:
        UsageError: If no teacher is given.
    """

    whole_segments = True
    capturable = True

    def __init__(
        self,
        *,
        teacher: FilePath = "",
        share: Annotated[float, AtLeast(0), AtMost(1), Search(0.1, 0.9)] = 0.5,
        temperature: Positive = 3.0,
    ) -> None:
        super().__init__()
        if not teacher:
            raise UsageError(
                "rule.teacher: say which run trained the teacher, by its folder: "
                "--set rule.teacher=runs/NAME"
            )
        self.share, self.temperature = share, temperature
        self._run = teacher

    def attach(self, model: Model, generator: torch.Generator) -> None:  # noqa: ARG002
        """Load the teacher.

        Raises:
            UsageError: If it cannot be loaded, has inputs of another shape, another number of
                classes, or statistics per task.
        """
        try:
            teacher = load(self._run)
        except UsageError as error:
            raise UsageError(f"rule.teacher: {error}") from error
        shape = teacher.input_shape if model.input_shape is None else model.input_shape
        assert shape is not None
        classes = segment_shapes(model, shape)[-1], segment_shapes(teacher, shape)[-1]
        if teacher.input_shape != shape or classes[0] != classes[1]:
            raise UsageError(
                f"rule.teacher: {self._run} maps inputs {teacher.input_shape} to {classes[1][0]} "
                f"classes, and here inputs are {shape} and classes {classes[0][0]}"
            )
        if any(isinstance(m, BatchNorm) and len(m.mean) > 1 for m in teacher.modules()):
            raise UsageError(
                f"rule.teacher: {self._run} has statistics per task, and a teacher is not told the "
                "task: train one with model.statistics=running"
            )
        # A function: a module would become a part of the rule, and of its saved state.
        self._teach = teacher.to(next(model.parameters()).device).forward

    def objective(self, batch: Batch) -> Loss:
        """Return the loss above, of the batch's inputs."""
        with torch.no_grad():
            soft = (self._teach(batch.inputs) / self.temperature).log_softmax(-1)

        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            student = (logits / self.temperature).log_softmax(-1)
            distance = F.kl_div(student, soft, reduction="batchmean", log_target=True)
            of_labels, of_teacher = 1 - self.share, self.share * self.temperature**2
            return of_labels * batch.loss(logits, targets) + of_teacher * distance

        return loss

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the teacher forward, the student forward and backward."""
        logits = model(batch.inputs)
        loss = self.objective(batch)(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits
