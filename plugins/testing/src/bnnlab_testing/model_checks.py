"""What the parts of `ModelContract` share: a model to check, and what it is given."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine import building
from bnnlab.errors import UsageError, explain, kind_of
from bnnlab.guards.module_state import undisturbed
from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.model import Model, segment_shapes
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES, ClassPerPosition
from bnnlab.interfaces.rule import Batch
from bnnlab.registry.components import Kind
from bnnlab.settings.run import Choice
from bnnlab_testing import toy, toy_models
from bnnlab_testing.device_checks import CPU, HINT, DeviceChecks

_TAKES: set[tuple[object, ...]] = set()
"""Test classes and models that take the inputs of the tests: each is tried once."""

SILENT = "untrained, it has the same outputs for most inputs"


@torch.no_grad()
def is_silent(model: Model, some: Tensor, others: Tensor) -> bool:
    """Return whether a model has the same outputs for most pairs of some and other inputs."""
    return float((model(others) != model(some)).flatten(1).any(1).float().mean()) < 0.5


class ModelChecks(DeviceChecks):
    """A part of `ModelContract`.

    Attributes:
        input_shape: Shape of one input to make it for.
        tokens: Number of token ids. By default, where the model takes nothing else, there are 11,
            and six in an input.
        classes: Number of classes to make it for, or of real numbers.
        objective: What it learns; by default a class per input, or per position if a model of
            token ids has logits there.
        real: Weights that are not binary in a model with binary ones, each with the reason.
    """

    kind = Kind.MODEL
    given = frozenset({"input_shape", "classes", "tokens", "generator"})
    input_shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    tokens: ClassVar[int | None] = None
    classes: ClassVar[int] = 5
    objective: ClassVar[Objective] = CLASSES
    real: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(autouse=True)
    def _told_what_it_takes(self) -> None:
        """Give token ids to a model that takes nothing else, where the test class says nothing."""
        if self.tokens is not None or not self.provides("token-inputs"):
            return
        with suppress(UsageError):
            self._new(0, self.choice)
            return
        told = vars(self)  # of this test alone; the process of the simulated device is told, too
        told["tokens"] = toy_models.TOKENS
        if self.input_shape is ModelChecks.input_shape:
            told["input_shape"] = (toy_models.LENGTH,)
        if self.objective is ModelChecks.objective:
            *_, output = segment_shapes(self.make(), self.input_shape)
            told["objective"] = CLASSES if len(output) == 1 else ClassPerPosition()

    def make(self, seed: int = 0, choice: Choice | None = None) -> Model:
        """Make the model, which takes the inputs of the tests."""
        choice = self.choice if choice is None else choice
        model = self._new(seed, choice)
        made = choice.component.target, repr(choice.settings)
        its = (type(self), *made, self.input_shape, self.tokens)
        if its not in _TAKES:
            self._expect_taken(model, self.inputs(2))
            _TAKES.add(its)
        return model

    def _new(self, seed: int, choice: Choice) -> Model:
        return building.make_model(
            self.host,
            choice,
            input_shape=self.input_shape,
            classes=self.classes,
            tokens=self.tokens,
            seed=seed,
        )

    def _expect_taken(self, model: Model, x: Tensor) -> None:
        try:
            with undisturbed(model), torch.no_grad():
                model.eval()(x)
        except Exception as error:  # any code may fail in any way
            like = kind_of(x, "B", *x.shape[1:])
            which = "normal numbers" if self.tokens is None else f"ids from 0 to {self.tokens - 1}"
            raise AssertionError(
                f"it cannot take the inputs of the tests, {which}, {like}: {explain(error)}. Say "
                "in the test class what it takes: `input_shape`; `tokens`, the number of ids, if "
                "it looks up rows; or override inputs() and others()"
            ) from error

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
        assert torch.equal(model.eval()(x), other.eval()(x)), f"loaded, it gives other logits{HINT}"
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
