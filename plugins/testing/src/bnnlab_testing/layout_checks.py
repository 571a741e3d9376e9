"""What an optimizer owes whatever the way in which its tensors lie in memory."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.interfaces import elementwise
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.optimizer_checks import OptimizerChecks, tensors_of


class LayoutChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about memory."""

    @pytest.mark.rounding
    def test_updating_in_chunks_changes_nothing(self) -> None:
        """Tensors that `bnnlab.interfaces.elementwise.chunks` cuts are updated like whole ones."""
        whole = self._after_three_steps()
        with patch.object(elementwise, "CPU_CHUNK", 100):
            cut = self._after_three_steps()
        assert_close(whole, cut, "updated in chunks of 100, tensors differ", rtol=1e-5)

    @pytest.mark.rounding
    def test_the_layout_in_memory_changes_nothing(self) -> None:
        """Weights whose dimensions lie in another order, as in `channels_last`, learn the same."""
        usual, turned = self._after_three_steps(), self._after_three_steps(turned=True)
        assert_close(usual, turned, "with another layout in memory, tensors differ", rtol=1e-5)

    def _after_three_steps(self, turned: bool = False) -> list[Tensor]:
        """Return weights and state after steps by gradients that depend on no layout."""
        model = self.make_model()
        for parameter in model.parameters() if turned else ():
            if parameter.ndim > 1:
                parameter.data = parameter.data.mT.contiguous().mT
        optimizer, generator = self.make(0, model), seeds.generator(0, "gradients")
        optimizer.task_started(toy.context(toy.make_task(), model, self.make_rule(model), 3))

        def closure() -> Tensor:
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter)
            return torch.zeros(())

        for _ in range(3):
            optimizer.step(closure)
        return [each for p in model.parameters() for each in tensors_of(optimizer, p)]
