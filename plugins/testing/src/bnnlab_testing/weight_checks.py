"""What a model's weights owe: binary ones are drawn signs, real ones are named, and all learn."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine import building
from bnnlab.errors import BnnlabError
from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.model import Model, segment_shapes
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES
from bnnlab.interfaces.rule import Batch
from bnnlab.registry.components import Kind
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.device_checks import CPU, DeviceChecks
from bnnlab_testing.optimizer_checks import assert_signs


class WeightChecks(DeviceChecks):
    """The part of `ModelContract` that is about weights, and how to make the model.

    Attributes:
        input_shape: Shape of one input to make it for.
        tokens: Number of token ids, for a model that takes these.
        classes: Number of classes to make it for, or of real numbers.
        objective: What it learns; a class per input by default.
        real: Weights that are not binary in a model with binary ones, each with the reason.
    """

    kind = Kind.MODEL
    given = frozenset({"input_shape", "classes", "tokens", "generator"})
    input_shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    tokens: ClassVar[int | None] = None
    classes: ClassVar[int] = 5
    objective: ClassVar[Objective] = CLASSES
    real: ClassVar[Mapping[str, str]] = {}

    def make(self, seed: int = 0, choice: Choice | None = None) -> Model:
        """Make the model."""
        return building.make_model(
            self.host,
            self.choice if choice is None else choice,
            input_shape=self.input_shape,
            classes=self.classes,
            tokens=self.tokens,
            seed=seed,
        )

    def inputs(self, count: int = 16) -> Tensor:
        """Return inputs (count, *input_shape): normal numbers, or token ids."""
        shape, draws = (count, *self.input_shape), seeds.generator(0, "inputs")
        if self.tokens is not None:
            return torch.randint(0, self.tokens, shape, generator=draws)
        return torch.randn(shape, generator=draws)

    def others(self) -> Tensor:
        """Return inputs of another distribution: larger numbers, or other token ids."""
        x = self.inputs()
        return 3 * x if self.tokens is None else (x + 1) % self.tokens

    def targets(self, count: int = 16) -> Tensor:
        """Return targets (count, ...)."""
        if self.objective.is_of_classes:
            return torch.arange(count) % self.classes
        outputs = torch.zeros(count, *segment_shapes(self.make(), self.input_shape)[-1])
        return self.objective.sample(outputs, seeds.generator(0, "targets"))

    def batch(self, count: int = 16) -> Batch:
        """Return inputs with their targets."""
        return Batch(self.inputs(count), self.targets(count), TaskLoss(self.objective))

    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return a step by a plain rule and optimizer."""
        return self._step(self.make().to(device))

    def work_on(self, device: torch.device) -> None:
        """Learn, save and load on a device; move to the CPU and back, and learn at each."""
        model, other = self.make(0).to(device), self.make(1).to(device)
        self._step(model)()
        other.load_state_dict({name: each.cpu() for name, each in model.state_dict().items()})
        x = self.inputs(4).to(device)
        assert torch.equal(model.eval()(x), other.eval()(x)), "loaded, it gives other logits"
        for place in (CPU, device):
            self._step(other.to(place))()

    def _step(self, model: Model) -> Callable[[], Tensor]:
        rule, optimizer = toy.ToyRule(), toy.make_optimizer(model)
        device, (inputs, targets, loss) = next(model.parameters()).device, self.batch(4)
        batch = Batch(inputs.to(device), targets.to(device), loss)
        return lambda: optimizer.step(rule.closure(model.train(), batch))

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Train for three steps."""
        model = self.make(seed)
        step = self._step(model)
        for _ in range(3):
            step()
        return list(model.state_dict().values())

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
