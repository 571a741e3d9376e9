"""Learning without forgetting: the model before the task teaches what it knew."""

import copy
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.engine.evaluation import calibration
from bnnlab.engine.making import Maker
from bnnlab.families.around import RuleAround
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.markers import AtLeast, Positive, Search
from bnnlab.nn.normalization import needs_recalibration, recalibrate
from bnnlab_rehearsal.losses import cross_entropy_to, summed
from bnnlab_rehearsal.rehearsal import ByTheLoss, classes_of


class LearningWithoutForgetting(RuleAround):
    """Learns each batch, and what the model before the task answers to it.

    With the task's loss L, logits z, the logits z_o of the model as the last task left it, and
    p_T = softmax(z / T) over the classes of earlier tasks, the loss is

        L(z, y) - lambda_o sum_k p_T(z_o)_k log p_T(z)_k

    No example is kept, but a copy of the deployed model. Statistics that are recalibrated are those
    of the last task's images. Source: Li and Hoiem, "Learning without Forgetting", ECCV 2016, eqs.
    1-5, which has a head per task; here, as in class-incremental use, one softmax is over the
    classes of all earlier tasks. The last layer does not learn alone first.

    Args:
        base: The rule that gives the gradients.
        strength: lambda_o, the weight of what the earlier model answers; 0: none.
        temperature: T, of both softmaxes.

    Raises:
        UsageError: If the base has a memory of its own; from `attach`, if it refuses the model, or
            a part of the model goes by the task.
    """

    name = "lwf"
    any_loss = False  # it is about classes
    changes_loss = True
    old: Tensor

    def __init__(
        self,
        *,
        base: ByTheLoss = "bp",
        strength: Annotated[float, AtLeast(0), Search(0.3, 30.0)] = 1.0,
        temperature: Annotated[Positive, Search(1.0, 4.0)] = 2.0,
    ) -> None:
        super().__init__(Maker.of("rule", base)())
        self.strength, self.temperature = strength, temperature
        self.tasks = 0

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Attach the base, and make room for the model of before."""
        super().attach(model, generator)
        self.teacher = copy.deepcopy(model).eval().requires_grad_(False)
        device = next(model.parameters()).device
        old = torch.zeros(classes_of(model, self.name), dtype=torch.bool, device=device)
        self.register_buffer("old", old)

    def recall(self, model: Model, batch: Batch) -> Batch:  # noqa: ARG002
        """Return the batch with the loss above, from the second task on."""
        if not self.tasks:
            return batch
        answer = self.teacher(batch.inputs)
        distillation = cross_entropy_to(answer, self.old, self.temperature)

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return batch.loss(outputs, targets) + self.strength * distillation(outputs, targets)

        return summed(batch, (len(batch.targets), 1.0, loss))

    def task_ended(self, context: TaskContext) -> None:
        """Copy the model, which the optimizer has left as it is deployed."""
        super().task_ended(context)
        train = context.task.train
        self.teacher.load_state_dict(context.model.state_dict())
        if needs_recalibration(self.teacher):
            recalibrate(self.teacher, calibration([context.task]))
        self.old.index_fill_(0, torch.unique(train.labels[train.rows]), True)
        self.tasks += 1

    def get_extra_state(self) -> dict[str, Any]:
        """Return how many tasks have ended."""
        return {"tasks": self.tasks}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.tasks = state["tasks"]
