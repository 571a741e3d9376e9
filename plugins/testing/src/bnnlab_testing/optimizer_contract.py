"""What an optimizer owes: after a step every binary weight is exactly -1 or +1."""

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab.engine.learner import Learner
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from bnnlab.settings.config import choose
from bnnlab_testing import toy
from bnnlab_testing.citizenship_checks import CitizenshipChecks
from bnnlab_testing.device_checks import LearnerChecks
from bnnlab_testing.optimizer_checks import assert_signs, flat
from bnnlab_testing.posterior_checks import PosteriorChecks
from bnnlab_testing.setting_checks import SettingChecks
from bnnlab_testing.task_checks import TaskChecks


class OptimizerContract(
    CitizenshipChecks, PosteriorChecks, TaskChecks, SettingChecks, LearnerChecks
):
    """Checks an optimizer, with exact gradients. Override `make_model` where that does not suit.

    Attributes:
        steps: Steps within which the best of all weights of a linear layer must be found.
    """

    steps: ClassVar[int] = 200

    def learner(self, device: torch.device, seed: int = 0) -> Learner:
        """Make the optimizer, and a rule that gives exact gradients."""
        model = self.make_model().to(device)
        return Learner(model, toy.ToyRule(), self.make(seed, model))

    def test_binary_weights_are_exactly_signs_after_every_step(self) -> None:
        """In linear and convolutional layers, every one is -1 or +1."""
        model = self.make_model()
        optimizer = self.make(0, model)
        for done in range(5):
            toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=1, done=done)
            assert_signs(model)

    def test_real_parameters_are_trained_and_stay_real(self) -> None:
        """Biases, norms and scales change, and not to signs."""
        model, before = self.trained(10)[0], self.make_model()
        binary = model.binary_parameters()
        for name, parameter in model.named_parameters():
            if name in binary:
                continue
            assert not torch.equal(parameter, before.get_parameter(name)), f"{name} is not trained"
            assert bool(parameter.isfinite().all()), f"{name} is not finite"
            assert not bool((parameter.abs() == 1).all()), f"{name} was made binary"

    def test_what_it_keeps_behind_a_weight_has_its_shape_and_sign(self) -> None:
        """`latent()` is None, or finite numbers whose signs are those of the weights.

        So it is after steps, after task_started() and after task_ended().
        """
        model = self.make_model()
        optimizer = self.make(0, model)
        for index in range(2):
            task, rule = toy.make_task(index), toy.ToyRule()
            toy.train(model, rule, optimizer, task, steps=0)
            _assert_behind(model, optimizer, "task_started()")
            toy.train(model, rule, optimizer, task, steps=3, done=1)
            _assert_behind(model, optimizer, "step()")
            toy.train(model, rule, optimizer, task, steps=0, done=4, end=True)
            _assert_behind(model, optimizer, "task_ended()")

    def test_what_it_draws_at_first_follows_its_seed(self) -> None:
        """Where fresh latent weights differ in size, they are others with another seed."""
        found = []
        for seed in range(2):
            model = self.make_model()
            optimizer = self.make(seed, model)
            latents = [optimizer.latent(weight) for weight in model.binary_parameters().values()]
            found.append([each.abs() for each in latents if each is not None])
        if not any(bool((sizes != sizes.flatten()[:1]).any()) for sizes in found[0]):
            pytest.skip("no sizes are drawn")
        same = all(map(torch.equal, *found))
        assert not same, "two seeds draw the same sizes: draw from the constructor's generator"

    def test_a_step_calls_the_closure_and_returns_a_loss(self) -> None:
        """Once, or oftener where 'reevaluable' is required; the loss is a scalar between those."""
        model, losses = self.make_model(), list[float]()
        optimizer = self.make(0, model)

        class Recording(toy.ToyRule):
            def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
                loss, logits = super().differentiate(model, batch)
                losses.append(float(loss.detach()))
                return loss, logits

        for done in range(3):
            losses.clear()
            (returned,) = toy.train(
                model, Recording(), optimizer, toy.make_task(), steps=1, done=done
            )
            assert losses, "step() does not call the closure"
            assert len(losses) == 1 or self.needs("reevaluable"), (
                f"step() calls the closure {len(losses)} times, and not every rule allows that: "
                "require 'reevaluable'"
            )
            low, high = min(losses), max(losses)
            fits = low - 1e-5 <= returned <= high + 1e-5
            assert fits, "step() does not return the closure's loss"

    def test_its_state_is_as_large_as_declared(self) -> None:
        """Bytes of state per learned weight, after steps and a task's end, are `state_bytes`."""
        declared = self.component.state_bytes
        if declared is None:
            pytest.skip("it does not declare state_bytes")
        choice = choose(self.host, self.kind, self.name, {})
        model, task, rule = self.make_model(), toy.make_task(), toy.ToyRule()
        optimizer = self.make(0, model, choice)
        toy.train(model, rule, optimizer, task, steps=3, end=True)
        for parameter in optimizer.param_groups[0]["params"]:
            tensors = [v for v in optimizer.state[parameter].values() if isinstance(v, Tensor)]
            own = sum(v.numel() * v.element_size() for v in tensors if v.shape == parameter.shape)
            rest = sum(v.numel() * v.element_size() for v in tensors if v.shape != parameter.shape)
            assert own == declared * parameter.numel(), (
                f"{own / parameter.numel():g} bytes a weight"
            )
            assert rest <= 64, f"{rest} bytes of state beside what each weight has"

    def test_its_state_follows_the_model_to_another_dtype(self) -> None:
        """After `model.double()` a step works, in float64."""
        model, optimizer = self.trained()
        model.double()
        closure = toy.ToyRule().closure(model, _double(toy.make_task()))
        assert optimizer.step(closure).dtype == torch.float64
        assert_signs(model)
        for parameter in model.parameters():
            assert parameter.dtype == torch.float64
            assert bool(parameter.isfinite().all())

    def test_the_order_of_parameters_does_not_matter(self) -> None:
        """Groups that have their parameters in another order train alike.

        What each one draws may depend on the order, so only deterministic methods are compared.
        """
        model, copy = self.make_model(), self.make_model()
        optimizer, other = self.make(0, model), self.make(0, copy)
        before = flat(optimizer.state_dict().get("generator"))
        for group in other.param_groups:
            group["params"].reverse()
        for each, its in ((model, optimizer), (copy, other)):
            toy.train(each, toy.ToyRule(), its, toy.make_task(), steps=5)
        if flat(optimizer.state_dict().get("generator")) != before:
            pytest.skip("draws follow the order of parameters")
        for (name, one), two in zip(model.named_parameters(), copy.parameters(), strict=True):
            assert torch.allclose(one, two, atol=1e-6), (
                f"{name} depends on the order of parameters in a group; if that is due to draws "
                "from a generator of its own, say so in `xfail`"
            )

    def test_a_huge_gradient_leaves_finite_numbers(self) -> None:
        """Gradients of 1e6 in every element break neither weights nor state."""
        model, optimizer = self.trained(1)

        def closure() -> Tensor:
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 1e6)
            return torch.zeros(())

        for _ in range(3):
            optimizer.step(closure)
        assert_signs(model)
        _assert_finite(model, optimizer)

    @pytest.mark.rounding
    def test_it_finds_the_best_of_all_weights(self) -> None:
        """Where the loss is linear in the weights, every one gets the sign that lowers it."""
        model, _, best = self._with_the_best(self.steps)
        (found,) = model.binary_parameters().values()
        wrong = int((found != best).sum())
        assert not wrong, f"{wrong} of {best.numel()} weights have the sign that raises the loss"

    def test_draws_follow_what_was_learned(self) -> None:
        """Where the best weights are known, 0.55 of what 100 draws show is as deployed, or more.

        Draws by chance would have 0.5, give or take 0.005.
        """
        if not self.provides("posterior"):
            pytest.skip("it does not provide 'posterior'")
        model, optimizer, _ = self._with_the_best(50)
        (weight,) = model.binary_parameters().values()
        deployed = weight.detach().clone()
        agree = [(weight == deployed).float().mean() for _ in optimizer.predictive(100)]
        share = float(torch.stack(agree).mean())
        assert share > 0.55, f"{share:.3f} of the drawn weights are as deployed: that is chance"

    def _with_the_best(self, steps: int) -> tuple[Model, Optimizer, Tensor]:
        """Return a linear layer that was trained, its optimizer, and the best of all weights."""
        if self.needs("real-weights"):
            pytest.skip("it learns real weights")
        model, task, best = toy.make_linear()
        optimizer = self.make(0, model)
        toy.train(model, toy.ToyRule(), optimizer, task, steps=steps)
        return model, optimizer, best

    def test_gradients_of_zero_do_no_harm(self) -> None:
        """Where nothing is to be learned, weights and state stay finite."""
        model, optimizer = self.trained(1)

        def closure() -> Tensor:
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            return torch.zeros(())

        for _ in range(5):
            optimizer.step(closure)
        assert_signs(model)
        _assert_finite(model, optimizer)


def _assert_behind(model: Model, optimizer: Optimizer, when: str) -> None:
    for name, parameter in model.named_parameters():
        latent = optimizer.latent(parameter)
        if latent is None:
            continue
        assert latent.shape == parameter.shape, f"{name}: latent() has shape {latent.shape}"
        assert bool(latent.isfinite().all()), f"{name}: latent() is not finite after {when}"
        agree = bool(((latent.sign() == parameter.sign()) | (latent == 0)).all())
        assert agree, f"{name}: latent() and the weight differ in sign after {when}"


def _double(task: Task) -> tuple[Tensor, Tensor]:
    inputs, targets = next(task.train.batches(toy.BATCH_SIZE))
    return inputs.double(), targets


def _assert_finite(model: Model, optimizer: Optimizer) -> None:
    state = [each for each in optimizer.state.values() if isinstance(each, Mapping)]
    for value in (*model.parameters(), *(value for each in state for value in each.values())):
        if isinstance(value, Tensor) and value.is_floating_point():
            assert bool(value.isfinite().all()), "weights or state are not finite"
