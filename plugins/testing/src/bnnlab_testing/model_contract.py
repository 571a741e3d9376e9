"""What a model owes: segments that map inputs to logits, and binary weights that are binary."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.conversion.selfcheck import self_check
from bnnlab.engine import building
from bnnlab.engine.learner import Learner
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from bnnlab.registry.components import Kind
from bnnlab.settings.config import Choice
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.device_checks import CPU, DeviceChecks
from bnnlab_testing.lives import assert_goes_on
from bnnlab_testing.optimizer_checks import differing, flat


class ModelContract(DeviceChecks):
    """Checks a model.

    Attributes:
        input_shape: Shape of one input to make it for.
        classes: Number of classes to make it for.
        real: Weights that are not binary in a model with binary ones, each with the reason.
    """

    kind = Kind.MODEL
    given = frozenset({"input_shape", "classes", "generator"})
    input_shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    classes: ClassVar[int] = 5
    real: ClassVar[Mapping[str, str]] = {}

    def make(self, seed: int = 0, choice: Choice | None = None) -> Model:
        """Make the model."""
        return building.make_model(
            self.host,
            self.choice if choice is None else choice,
            input_shape=self.input_shape,
            classes=self.classes,
            seed=seed,
        )

    def inputs(self, count: int = 16) -> Tensor:
        """Return inputs (count, *input_shape) of mean 0 and standard deviation 1."""
        return torch.randn(count, *self.input_shape, generator=seeds.generator(0, "inputs"))

    def targets(self, count: int = 16) -> Tensor:
        """Return targets (count,)."""
        return torch.arange(count) % self.classes

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
        device = next(model.parameters()).device
        batch = Batch(self.inputs(4).to(device), self.targets(4).to(device))
        return lambda: optimizer.step(rule.closure(model.train(), batch))

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Train for three steps."""
        model = self.make(seed).train()
        rule, optimizer = toy.ToyRule(), toy.make_optimizer(model)
        for _ in range(3):
            optimizer.step(rule.closure(model, (self.inputs(), self.targets())))
        return list(model.state_dict().values())

    def test_logits_have_a_row_per_example_and_a_column_per_class(self) -> None:
        """Inputs (B, ...) become float32 logits (B, K), for one too, and nothing changes."""
        model = self.make().eval()
        before = flat(model.state_dict())
        for count in (1, 16):
            logits = model(self.inputs(count))
            assert logits.shape == (count, self.classes)
            assert logits.dtype == torch.float32
            assert bool(logits.isfinite().all()), "the logits are not finite"
        places = differing(before, flat(model.state_dict()))
        assert not places, f"an evaluation changes {', '.join(places)}"

    def test_it_fits_other_inputs_and_classes(self) -> None:
        """Made for inputs of twice the size and two classes more, it maps these, or is refused."""
        first, *sizes = self.input_shape
        shape = (first, *(2 * size for size in sizes)) if sizes else (2 * first,)
        classes = self.classes + 2
        try:
            model = building.make_model(
                self.host, self.choice, input_shape=shape, classes=classes, seed=0
            )
        except UsageError as refusal:
            pytest.skip(f"it is refused: {refusal}")
        logits = model.eval()(self.inputs(1).new_zeros(1, *shape))
        assert logits.shape == (1, classes), f"{classes} classes have logits {tuple(logits.shape)}"

    def test_its_segments_compose_to_it(self) -> None:
        """Running the segments one after the other is running the model, one tensor passed on.

        So it is with gradients, without, and under `torch.inference_mode`.
        """
        model = self.make()
        for training in (True, False):
            model.train(training)
            x = 3 * self.inputs()
            for number, segment in enumerate(model.segments, start=1):
                before = x.clone()
                y = segment(x)
                assert isinstance(y, torch.Tensor), f"segment {number} returns {type(y).__name__}"
                assert torch.equal(x, before), f"segment {number} changes its input in place"
                x = y
        assert_close([x], [model(3 * self.inputs())], "the segments one by one are not the model")
        if self.provides("segments"):
            assert len(model.segments) > 1, "'segments' is declared, but it has only one"
        self_check(model, list(model.segments), self.inputs(2))

    def test_it_knows_the_shape_of_an_input(self) -> None:
        """Rules that size something by the activations ask for it."""
        assert self.make().input_shape == self.input_shape

    def test_its_binary_weights_are_exactly_signs(self) -> None:
        """Every one is -1 or +1, and there are some exactly if it provides 'binary-weights'."""
        binary = self.make().binary_parameters()
        assert bool(binary) == self.provides("binary-weights"), (
            f"it has {len(binary)} binary parameters, against what it declares"
        )
        for name, parameter in binary.items():
            assert bool((parameter.abs() == 1).all()), f"{name} holds more than -1 and +1"

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
        """Autograd reaches them all."""
        model, inputs = self.make().train(), self.inputs()
        toy.ToyRule().closure(model, (inputs, self.targets()))()
        assert torch.equal(inputs, self.inputs()), "it changes its inputs in place"
        missing = [name for name, p in model.named_parameters() if p.grad is None]
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

    def test_a_task_keeps_what_was_measured_in_it(self) -> None:
        """With an option that needs 'task-ids', another task's batches change no logit."""
        choices = [
            self.with_options(**{option.name: value})
            for option in self.component.options
            for value, needed in option.requires.items()
            if "task-ids" in needed
        ]
        if not choices:
            pytest.skip("no option requires 'task-ids'")
        for choice in choices:
            try:
                model = self.make(0, choice)
            except UsageError:
                continue  # with the contract's other options there is no such model
            x = self.inputs()
            before = _measure(model, 0, x).eval()(x)
            _measure(model, 1, 3 * x + 1).select_task(0)
            assert_close([model.eval()(x)], [before], "task 1 changes task 0's logits")

    def test_an_interrupted_run_goes_on_bit_for_bit(self) -> None:
        """The trainer is stopped within tasks and between; a model of another seed goes on."""

        def make(restarts: int) -> tuple[Learner, list[Task]]:
            model = self.make(restarts)
            learner = Learner(model, toy.ToyRule(), toy.make_optimizer(model))
            return learner, [toy.task_of(self.inputs(), self.targets(), index=i) for i in range(2)]

        assert_goes_on(make, ((0, 0, 1), (1, 0, 0)), epochs=1, batch_size=4)

    @pytest.mark.rounding
    def test_at_test_an_example_is_judged_by_itself(self) -> None:
        """In evaluation mode the rest of the batch does not change the logits."""
        model = self.make().eval()
        x = self.inputs()
        assert_close([model(x)[:1]], [model(x[:1])], "test batches are looked at")


@torch.no_grad()
def _measure(model: Model, task: int, x: Tensor) -> Model:
    """Pass inputs of a task three times in training mode."""
    model.train().select_task(task)
    for _ in range(3):
        model(x)
    return model
