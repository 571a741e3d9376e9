"""Distillation: a trained network says what a batch's logits should be like.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015; as Touvron
et al., "Training data-efficient image transformers & distillation through attention", ICML 2021,
eq. 2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.loading import load
from bnnlab.local import output_shapes
from bnnlab.model import Model
from bnnlab.rule import Batch, LearningRule, Loss


class Distillation(LearningRule):
    """Backpropagation of the labels' loss and of the distance to a teacher's logits.

    With student logits z, teacher logits z_T, the task's loss L(z, y) and p_tau = softmax(z / tau):

        (1 - lambda) L(z, y) + lambda tau^2 KL(p_tau(z_T) || p_tau(z))

    The second term is over all classes, also where a task masks some.

    Args:
        teacher: Folder of the run that trained the teacher, on inputs of the same shape and with as
            many classes. It is run in evaluation mode.
        share: lambda, in [0, 1].
        temperature: tau, above 0.
    """

    def __init__(self, *, teacher: str = "", share: float = 0.5, temperature: float = 3.0) -> None:
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
            UsageError: If it cannot be loaded, or takes other inputs or has other classes.
        """
        self.teacher = load(self._run).requires_grad_(False)
        here, there = (
            (each.input_shape, *output_shapes(each, "distill")[-1])
            for each in (model, self.teacher)
        )
        if here != there:
            raise UsageError(
                f"rule.teacher: {self._run} maps inputs {there[0]} to {there[1]} classes, and "
                f"here inputs are {here[0]} and classes {here[1]}"
            )

    def objective(self, batch: Batch) -> Loss:
        """Return the loss above, of the batch's inputs."""
        with torch.no_grad():
            soft = (self.teacher.eval()(batch.inputs) / self.temperature).log_softmax(-1)

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
