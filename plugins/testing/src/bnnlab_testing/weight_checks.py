"""What a model's weights owe: binary ones are drawn signs, real ones are named, and all learn."""

from contextlib import suppress
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.errors import BnnlabError
from bnnlab.guards.module_state import undisturbed
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.signs import random_signs
from bnnlab.registry.forms import literals
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.asserting import flat
from bnnlab_testing.model_checks import SILENT, ModelChecks, is_silent
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
        """Beside binary weights, a real parameter of two dimensions or more is in `real`.

        So is one that has more numbers than any layer has outputs, which is no bias or gain, and a
        buffer of drawn numbers.
        """
        if not self.provides("binary-weights"):
            pytest.skip("it does not provide 'binary-weights'")
        model = self.make()
        binary, most = model.binary_parameters(), _most_outputs(model, self.inputs(2))
        real = {n: p for n, p in model.named_parameters() if n not in binary}
        found = {n for n, p in real.items() if p.ndim >= 2 or p.numel() > most}
        other = dict(self.make(1).named_buffers())
        found |= {n for n, b in model.named_buffers() if _is_drawn(b, other.get(n))}
        unnamed, gone = sorted(found - self.real.keys()), sorted(self.real.keys() - found)
        said = f'model.{self.component.name}.real={{"{", ".join(unnamed[:1])}"="why"}}'
        assert not unnamed, (
            f"real weights that `real` does not excuse: {', '.join(unnamed)}. Say why in a test "
            f"class, or with --set '{said}'"
        )
        assert not gone, f"`real` names what is no real weight: {', '.join(gone)}"

    def test_every_parameter_gets_a_gradient(self) -> None:
        """Autograd reaches them all; in a model with a head per task, by the batches of its task.

        Tasks are tried, one after another, as long as each reaches further parameters. Those that
        the model froze itself, without `requires_grad`, are left out.
        """
        model, batch = self.make().train(), self.batch()
        missing = [name for name, each in model.named_parameters() if each.requires_grad]
        for task in range(len(missing)):
            before, reached = len(missing), _reached(model, batch, task)
            missing = [name for name in missing if name not in reached]
            if len(missing) in (0, before):
                break
        assert torch.equal(batch.inputs, self.inputs()), "it changes its inputs in place"
        assert not missing, f"no gradient reaches {', '.join(missing)}"

    def test_every_parameter_changes_an_output(self) -> None:
        """With other numbers in a parameter, some output is another, before or after three steps.

        What is multiplied by 0, or has no effect otherwise, is counted and saved, and learns
        nothing. Remove it, or use it. A model that has the same outputs for most inputs is not
        checked.
        """
        idle = {name for name, _ in self.make().named_parameters()}
        for steps in (0, 3):
            model = self.make()
            step = self._step(model)
            for task in range(max(1, len(idle))):
                with suppress(BnnlabError, LookupError):  # there may be no such task
                    model.select_task(task)
                    for _ in range(steps):
                        step()
                    idle -= (found := _telling(model, idle, self.inputs()))
                    if found:
                        continue
                break
        if idle and is_silent(model.eval(), self.inputs(), self.inputs().roll(1, 0)):
            pytest.skip(SILENT)
        assert not idle, f"no output depends on {', '.join(sorted(idle))}"

    def test_surrogates_have_gradients_of_their_own(self) -> None:
        """Two values of its option `surrogate`, if there is one, differ in some gradient.

        A backward pass that does not clip learns otherwise than the one that is named. Pass the
        option to each `bnnlab.Sign`.
        """
        if not self.has_option("surrogate"):
            pytest.skip("it has no option 'surrogate'")
        option = next(each for each in self.component.options if each.name == "surrogate")
        values = literals(option.type)
        grads = [self._gradients(self.with_options(surrogate=value)) for value in values]
        if all(each == grads[0] for each in grads):
            pytest.skip("the model has no signs with these options")
        for (one, its), (other, others) in combinations(zip(values, grads, strict=True), 2):
            assert its != others, f"surrogate={one!r} and {other!r} have the same gradients"

    def _gradients(self, choice: Choice) -> dict[str, Any]:
        model = self.make(0, choice).train()
        toy.ToyRule().closure(model, self.batch())()
        return flat({name: each.grad for name, each in model.named_parameters()})

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


@torch.no_grad()
def _telling(model: Model, names: set[str], inputs: Tensor) -> set[str]:
    """Return which of these parameters some output depends on, in either mode."""

    def outputs() -> Tensor:
        with undisturbed(model):
            found: Tensor = model(inputs.clone())
            return found

    found = set[str]()
    for training in (True, False):
        model.train(training)
        usual = outputs()
        for name in sorted(names - found):
            parameter = model.get_parameter(name)
            before = parameter.clone()
            parameter.copy_(_other(parameter))
            if not torch.equal(outputs(), usual):
                found.add(name)
            parameter.copy_(before)
    return found


def _other(parameter: Tensor) -> Tensor:
    """Return other numbers: of signs, others for half of them."""
    draws = seeds.generator(0, "other numbers")
    signs = random_signs(tuple(parameter.shape), draws)
    if bool((parameter.abs() == 1).all()):
        return signs if not torch.equal(signs, parameter) else -signs
    return parameter + signs * torch.rand(parameter.shape, generator=draws)


def _most_outputs(model: Model, x: Tensor) -> int:
    """Return how many numbers any module is given or gives for an example, at most."""
    most = [x[0].numel()]

    def note(_: object, given: tuple[Any, ...], y: object) -> None:
        most.extend(len(each[0].flatten()) for each in [*given, y] if isinstance(each, Tensor))

    hooks = [part.register_forward_hook(note) for part in model.modules()]
    with undisturbed(model), torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    return max(most)


def _is_drawn(buffer: Tensor, other: Tensor | None) -> bool:
    """Return whether a buffer is a matrix of numbers, no signs, that differ with the seed."""
    if other is None or buffer.ndim < 2 or not buffer.is_floating_point():
        return False
    return not torch.equal(buffer, other) and len({*buffer.abs().flatten().tolist()}) > 2
