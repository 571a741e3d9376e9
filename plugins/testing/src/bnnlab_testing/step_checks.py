"""What an optimizer owes in every step: signs, a trained rest, and state of the declared size."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.settings.layers import choose
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, flat
from bnnlab_testing.optimizer_checks import OptimizerChecks, assert_signs, copy_of, tensors_of


class StepChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about its steps."""

    def test_binary_weights_are_exactly_signs_after_every_step(self) -> None:
        """In linear and convolutional layers, every one is -1 or +1."""
        model = self.make_model()
        optimizer, rule = self.make(0, model), self.make_rule(model)
        for done in range(5):
            toy.train(model, rule, optimizer, toy.make_task(), steps=1, done=done)
            assert_signs(model)

    def test_real_parameters_are_trained_and_stay_real(self) -> None:
        """Biases, norms and scales change, and not to signs; a head per task does in its own.

        In a second task some change, too: what counts steps or tasks begins anew, or goes on.
        """
        model, before = self.make_model(), self.make_model()
        optimizer, rule = self.make(0, model), self.make_rule(model)
        for index in range(2):
            start = copy_of(model)
            toy.train(model, rule, optimizer, toy.make_task(index), steps=10, end=True)
            learned = not all(map(torch.equal, start, copy_of(model)))
            assert learned, f"in ten steps of task {index}, nothing is learned"
        binary = model.binary_parameters()
        for name, parameter in model.named_parameters():
            if name in binary:
                continue
            assert not torch.equal(parameter, before.get_parameter(name)), f"{name} is not trained"
            assert bool(parameter.isfinite().all()), f"{name} is not finite"
            assert not bool((parameter.abs() == 1).all()), f"{name} was made binary"

    def test_a_step_calls_the_closure_and_returns_a_loss(self) -> None:
        """Once, or oftener where 'reevaluable' is required; the loss is a scalar between those."""
        model, losses = self.make_model(), list[float]()
        optimizer, rule = self.make(0, model), self.make_rule(model)
        differentiate = rule.differentiate

        def recording(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
            loss, logits = differentiate(model, batch)
            losses.append(float(loss.detach()))
            return loss, logits

        for done in range(3):
            losses.clear()
            with patch.object(rule, "differentiate", recording):
                (returned,) = toy.train(model, rule, optimizer, toy.make_task(), steps=1, done=done)
            assert losses, "step() does not call the closure"
            assert len(losses) == 1 or self.needs("reevaluable"), (
                f"step() calls the closure {len(losses)} times, and not every rule allows that: "
                "require 'reevaluable'"
            )
            low, high = min(losses), max(losses)
            fits = low - 1e-5 <= returned <= high + 1e-5
            assert fits, "step() does not return the closure's loss"

    def test_what_it_keeps_of_gradients_is_a_copy(self) -> None:
        """Where each gradient is written into the memory of the one before, it learns the same.

        So it is with `zero_grad(set_to_none=False)`. Keep `.clone()` of a gradient.
        """
        ends = [self._stepped(in_place=each) for each in (False, True)]
        assert_same("it keeps a gradient that is not copied, as is seen at", *ends)

    def _stepped(self, *, in_place: bool) -> dict[str, Any]:
        """Return what four steps of gradients that are drawn lead to."""
        (model, optimizer), draws = self.trained(), seeds.generator(0, "gradients")

        def closure() -> Tensor:
            for parameter in model.parameters():
                grad = torch.randn(parameter.shape, generator=draws)
                if in_place and parameter.grad is not None:
                    parameter.grad.copy_(grad)
                else:
                    parameter.grad = grad
            return torch.zeros(())

        for _ in range(4):
            optimizer.step(closure)
        return flat([tensors_of(optimizer, each) for each in model.parameters()])

    def test_its_state_is_as_large_as_declared(self) -> None:
        """Bytes of state per learned weight, after the ends of two tasks, are `state_bytes`."""
        declared = self.component.state_bytes
        if declared is None:
            pytest.skip("it does not declare state_bytes")
        choice = choose(self.host, self.kind, self.name, {})
        model = self.make_model()
        optimizer, rule = self.make(0, model, choice), self.make_rule(model)
        for index in range(2):
            toy.train(model, rule, optimizer, toy.make_task(index), steps=3, end=True)
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
        inputs, targets = next(toy.make_task().train.batches(toy.BATCH_SIZE))
        closure = self.make_rule(model).closure(model, (inputs.double(), targets))
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
            toy.train(each, self.make_rule(each), its, toy.make_task(), steps=5)
        if flat(optimizer.state_dict().get("generator")) != before:
            pytest.skip("draws follow the order of parameters")
        for (name, one), two in zip(model.named_parameters(), copy.parameters(), strict=True):
            assert torch.allclose(one, two, atol=1e-6), (
                f"{name} depends on the order of parameters in a group; if that is due to draws "
                "from a generator of its own, say so in `xfail`"
            )
