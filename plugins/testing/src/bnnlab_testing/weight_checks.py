"""What a model's weights owe: binary ones are drawn signs, real ones are named, and all learn."""

import pytest
import torch

from bnnlab.errors import BnnlabError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from bnnlab_testing.model_checks import ModelChecks
from bnnlab_testing.optimizer_checks import assert_signs


class WeightChecks(ModelChecks):
    """The part of `ModelContract` that is about weights."""

    def test_its_binary_weights_are_exactly_signs(self) -> None:
        """Every one is -1 or +1, and there are some exactly if it provides 'binary-weights'."""
        model = self.make()
        binary = model.binary_parameters()
        assert bool(binary) == self.provides("binary-weights"), (
            f"it has {len(binary)} binary parameters, against what it declares"
        )
        assert_signs(model)

    def test_its_real_weights_are_named(self) -> None:
        """Beside binary weights, a real parameter of two dimensions or more is in `real`."""
        if not self.provides("binary-weights"):
            pytest.skip("it does not provide 'binary-weights'")
        model = self.make()
        binary = model.binary_parameters()
        found = {n for n, p in model.named_parameters() if p.ndim >= 2 and n not in binary}
        unnamed, gone = sorted(found - self.real.keys()), sorted(self.real.keys() - found)
        assert not unnamed, f"real weights that `real` does not excuse: {', '.join(unnamed)}"
        assert not gone, f"`real` names what is no real weight: {', '.join(gone)}"

    def test_every_parameter_gets_a_gradient(self) -> None:
        """Autograd reaches them all; in a model with a head per task, by the batches of its task.

        Tasks are tried, one after another, as long as each reaches further parameters.
        """
        model, batch = self.make().train(), self.batch()
        missing = [name for name, _ in model.named_parameters()]
        for task in range(len(missing)):
            before, reached = len(missing), _reached(model, batch, task)
            missing = [name for name in missing if name not in reached]
            if len(missing) in (0, before):
                break
        assert torch.equal(batch.inputs, self.inputs()), "it changes its inputs in place"
        assert not missing, f"no gradient reaches {', '.join(missing)}"

    def test_another_seed_gives_other_weights(self) -> None:
        """The initial weights are drawn from the generator that is passed."""
        one, other = (torch.cat([p.flatten() for p in self.make(s).parameters()]) for s in (0, 1))
        assert not torch.equal(one, other), "two seeds give the same weights"

    def test_every_binary_weight_is_drawn(self) -> None:
        """Among five seeds, each binary parameter has more than one value."""
        first = self.make(0).binary_parameters()
        same = list(first)
        for seed in range(1, 5):
            if not same:
                break
            other = self.make(seed).binary_parameters()
            same = [name for name in same if torch.equal(first[name], other[name])]
        assert not same, f"for every seed the same: {', '.join(same)}"


def _reached(model: Model, batch: Batch, task: int) -> set[str]:
    """Return which parameters get a gradient of a task's batch; none if there is no such task."""
    try:
        model.select_task(task)
        toy.ToyRule().closure(model, batch)()
    except (LookupError, BnnlabError):
        if not task:
            raise
        return set()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}
