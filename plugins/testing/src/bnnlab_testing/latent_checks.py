"""What an optimizer owes of the numbers that it keeps behind weights."""

import pytest
import torch

from bnnlab.families.latent import LatentOptimizer
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_same, flat
from bnnlab_testing.optimizer_checks import OptimizerChecks, assert_signs


class LatentChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about `latent`."""

    def test_latent_weights_are_declared_as_they_are(self) -> None:
        """The capability 'latent-weights' says that every binary weight has one in the state."""
        declared, model = self.provides("latent-weights"), self.make_model()
        optimizer, weights = self.make(0, model), model.binary_parameters().values()
        has = all("latent" in optimizer.state[each] for each in weights)
        assert has or not declared, "it provides 'latent-weights', and a weight has none"
        assert declared or not isinstance(optimizer, LatentOptimizer), (
            "it keeps latent weights: let it provide 'latent-weights', which others need that go "
            "around it"
        )

    def test_what_it_keeps_behind_a_weight_has_its_shape_and_sign(self) -> None:
        """`latent()` is None, or finite numbers whose signs are those of the weights.

        So it is after steps, after task_started() and after task_ended().
        """
        model = self.make_model()
        optimizer, rule = self.make(0, model), self.make_rule(model)
        for index in range(2):
            task = toy.make_task(index)
            toy.train(model, rule, optimizer, task, steps=0)
            _assert_behind(model, optimizer, "task_started()")
            toy.train(model, rule, optimizer, task, steps=3, done=1)
            _assert_behind(model, optimizer, "step()")
            toy.train(model, rule, optimizer, task, steps=0, done=4, end=True)
            _assert_behind(model, optimizer, "task_ended()")

    def test_asking_for_what_is_behind_changes_nothing(self) -> None:
        """After `latent()` of every parameter all is as before, also where steps were large."""
        model, optimizer = self.trained()
        for group in optimizer.param_groups:
            group["lr"] *= 100
        self.go_on(model, optimizer)
        before = flat([model.state_dict(), optimizer.state_dict()])
        for parameter in model.parameters():
            optimizer.latent(parameter)
        after = flat([model.state_dict(), optimizer.state_dict()])
        assert_same("latent() changes", before, after)

    def test_a_latent_weight_of_zero_has_a_sign(self) -> None:
        """A weight behind which there is exactly 0 is -1 or +1 after a step of no gradient.

        torch.sign(0) is 0, and a weight of 0 is none of a binary network. Write weights by
        `bnnlab.interfaces.signs.sign`, or by torch.copysign.
        """
        model = self.make_model()
        optimizer = self.make(0, model)
        toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=0)
        latents = [optimizer.latent(weight) for weight in model.binary_parameters().values()]
        for latent in (each for each in latents if each is not None):
            latent[(0,) * latent.ndim] = 0
        optimizer.step(toy.constant(model, 0.0))
        assert_signs(model)

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


def _assert_behind(model: Model, optimizer: Optimizer, when: str) -> None:
    for name, parameter in model.named_parameters():
        latent = optimizer.latent(parameter)
        if latent is None:
            continue
        assert latent.shape == parameter.shape, f"{name}: latent() has shape {latent.shape}"
        assert bool(latent.isfinite().all()), f"{name}: latent() is not finite after {when}"
        agree = bool(((latent.sign() == parameter.sign()) | (latent == 0)).all())
        assert agree, f"{name}: latent() and the weight differ in sign after {when}"
