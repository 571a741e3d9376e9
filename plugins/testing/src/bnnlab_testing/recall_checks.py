"""What a rule owes to what it learns from beside a batch: right targets, a size, an honest loss."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bnnlab.families.around import RuleAround
from bnnlab.interfaces.batch import TaskLoss
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.memory_checks import MemoryChecks


class RecallChecks(MemoryChecks):
    """The part of `LearningRuleContract` that is about past rows and their loss."""

    def test_a_loss_that_recall_changes_is_declared(self) -> None:
        """Where `changes_loss` is False, the loss of what is recalled is the mean over its rows.

        A base that learns from more than the loss would follow another one than is reported. Set
        `changes_loss = True` in a `RuleAround` whose `recall` gives a batch another loss.
        """
        model, rule = self.lived(1)
        if not isinstance(rule, RuleAround) or rule.changes_loss:
            pytest.skip("it goes around no rule, or says that it changes the loss")
        learned = rule.closure(model, self.batch()).batch
        usual = TaskLoss(learned.objective, learned.mask, learned.tasks)
        with torch.no_grad():
            outputs = model.eval()(learned.inputs)
            losses = [loss(outputs, learned.targets) for loss in (learned.loss, usual)]
        message = "recall() gives the batch another loss: set changes_loss = True, where the losses"
        assert_close(losses[:1], losses[1:], message, rtol=1e-3)

    def test_its_memory_holds_no_more_than_its_size(self) -> None:
        """Offered more examples than it has room for, `rule.memory` holds `size` of them.

        The protocol says this size, and methods are compared at equal sizes. Derive from `Memory`,
        and leave its `size` alone.
        """
        memory, batch = self.make().memory, self.batch()
        if memory is None:
            pytest.skip("it has no memory")
        with torch.no_grad():
            logits = self.make_model().eval()(batch.inputs)
        for _ in range(memory.size // toy.BATCH_SIZE + 2):
            memory.add(batch, logits)
        held, size = len(memory), memory.size
        assert held <= size, f"its memory of {size} holds {held} examples"

    def test_what_it_remembers_has_its_own_target(self) -> None:
        """A row of the memory whose input was learned has the target and the task of this input.

        With others a rule learns what is wrong, and a run is only somewhat worse. Choose all that
        belongs to a row by one index.
        """
        _, rule = self.lived(1)
        if rule.memory is None:
            pytest.skip("it has no memory")
        learned: dict[bytes, tuple[Any, int]] = {}
        for index in range(2):
            for inputs, labels in toy.make_task(index).train.batches(toy.BATCH_SIZE):
                pairs = zip(map(_key, inputs), labels.tolist(), strict=True)
                learned |= {x: (label, index) for x, label in pairs}
        past = rule.memory.draw(rule.memory.size, self.batch())
        if past is None:
            pytest.skip("its memory is empty after two short tasks")
        tasks, targets = past.batch.tasks, past.batch.targets.tolist()
        told = tasks.tolist() if isinstance(tasks, Tensor) else [tasks] * len(targets)
        wrong = 0
        for x, target, task in zip(map(_key, past.batch.inputs), targets, told, strict=True):
            right, index = learned.get(x, (target, task))  # what it made itself is its own
            wrong += target != right or task not in (None, index)
        assert not wrong, f"{wrong} of {len(targets)} rows have another target, or another task"


def _key(inputs: Tensor) -> bytes:
    return inputs.numpy().tobytes()
