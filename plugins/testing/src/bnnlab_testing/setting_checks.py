"""What an optimizer owes of its settings: that each has the effect that it is there for."""

from typing import Any

import pytest
from torch import Tensor

from bnnlab.errors import BnnlabError, explain
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.registry.components import Kind, Option
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, flat
from bnnlab_testing.optimizer_checks import OptimizerChecks, tensors_of
from bnnlab_testing.varying import other_values

MANY = 8
"""Steps within which a method moves something, also one that adds up the gradients of a few."""


class SettingChecks(OptimizerChecks):
    """The part of `OptimizerContract` that is about options and parameter groups."""

    def test_a_parameter_group_may_be_parted(self) -> None:
        """A weight that is moved to a group of its own, with the same settings, is learned."""
        model, optimizer, weight = self._parted()
        before = flat(tensors_of(optimizer, weight))
        toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=2)
        learned = flat(tensors_of(optimizer, weight)) != before  # also by state that is new
        assert learned, "a parted weight is not learned"

    def test_a_parted_group_learns_as_in_one(self) -> None:
        """With a weight in a group of its own, and the same settings, all weights learn the same.

        So a user may give one layer another setting, and changes nothing else. Count the steps, not
        the groups; take what a step has in common over all groups. What each weight draws may
        depend on the groups, so only deterministic methods are compared.
        """
        (model, optimizer, _), plain = self._parted(), self.make_model()
        usual = self.make(0, plain)
        before = flat(usual.state_dict().get("generator"))
        for each, its in ((model, optimizer), (plain, usual)):
            toy.train(each, self.make_rule(each), its, toy.make_task(), steps=5)
        if flat(usual.state_dict().get("generator")) != before:
            pytest.skip("draws follow the groups")
        for (name, one), two in zip(model.named_parameters(), plain.parameters(), strict=True):
            message = (
                f"where a group is parted, {name} learns something else; if that is due to draws "
                "from a generator of its own, say so in `xfail`"
            )
            assert_close(tensors_of(optimizer, one), tensors_of(usual, two), message, rtol=1e-4)

    def test_a_parted_group_has_an_lr_of_its_own(self) -> None:
        """With a smaller `lr` there, the next step makes something else of the parted weight."""
        if not self.has_option("lr"):
            pytest.skip("it has no option 'lr'")
        ends = []
        for factor in (1.0, 1e-3):
            model, optimizer, weight = self._parted()
            optimizer.param_groups[-1]["lr"] *= factor
            toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=0)
            self._step_again(model, optimizer)
            ends.append(flat(tensors_of(optimizer, weight)))
        assert ends[0] != ends[1], f"in {MANY} steps, the lr of a parted group is not read"

    def test_the_lr_of_every_group_is_read_at_each_step(self) -> None:
        """Lowered after the first step, as by a scheduler, it changes the next steps."""
        ends = []
        for factor in (1.0, 1e-3):
            model, optimizer = self.trained(1)
            for group in optimizer.param_groups:
                group["lr"] *= factor
            self._step_again(model, optimizer)
            ends.append([_contents(optimizer, group) for group in optimizer.param_groups])
        for group, usual, slow in zip(optimizer.param_groups, *ends, strict=True):
            if not group["params"] or (group["learned"] and not self.has_option("lr")):
                continue
            which = "learned weights" if group["learned"] else "other parameters"
            assert usual != slow, (
                f"in {MANY} steps, a change of the {which}' group['lr'] has no effect"
            )

    def _step_again(self, model: Model, optimizer: Optimizer) -> None:
        """Make many steps, in all of which each parameter has its gradient of the first."""
        batch = next(toy.make_task().train.batches(toy.BATCH_SIZE))
        loss = self.make_rule(model).closure(model, batch)()
        grads = {p: p.grad.clone() for p in model.parameters() if p.grad is not None}

        def again() -> Tensor:
            for parameter, grad in grads.items():
                parameter.grad = grad.clone()
            return loss

        for _ in range(MANY):
            optimizer.step(again)

    def test_real_lr_is_the_real_parameters_own(self) -> None:
        """With a tiny `real_lr`, if there is such an option, real parameters hardly move."""
        if not self.has_option("real_lr"):
            pytest.skip("it has no option 'real_lr'")
        model, before = self.make_model(), self.make_model()
        optimizer = self.make(0, model, self.with_options(real_lr=1e-9))
        toy.train(model, self.make_rule(model), optimizer, toy.make_task(), steps=5)
        learned = {id(parameter) for parameter in optimizer.learned()}
        for name, parameter in model.named_parameters():
            moved = float((parameter - before.get_parameter(name)).detach().abs().max())
            slow = id(parameter) in learned or moved < 1e-5
            assert slow, f"{name} moves by {moved:g} with real_lr = 1e-9"

    def test_no_option_is_ignored(self) -> None:
        """Some other value of each changes weights, state or draws within two short tasks.

        Another value of a part is another component. Options of text are not tested. Neither is an
        option if the other options exclude all its other values.
        """
        usual = self._behaviour(self.choice)
        idle = {option.name for option in self.component.options if self._is_idle(option, usual)}
        ignored = sorted(idle - self.without_effect.keys())
        assert not ignored, (
            f"no effect: {ignored}; if that is right, say why in `without_effect`. There are two "
            "tasks of two steps: where more are needed, let `options` say otherwise"
        )
        excused = sorted(self.without_effect.keys() - idle)
        assert not excused, f"`without_effect` names what has an effect or is not varied: {excused}"

    def _is_idle(self, option: Option, usual: list[dict[str, Any]]) -> bool:
        """Return whether there are other values, and none of them changes anything."""
        same = False
        for value in self._others(option):
            try:
                if self._behaviour(self.with_options(**{option.name: value})) != usual:
                    return False
                same = True
            except BnnlabError:  # not with the other options
                continue
            except Exception as error:  # any code may fail in any way
                raise AssertionError(f"with {option.name}={value}: {explain(error)}") from error
        return same

    def _others(self, option: Option) -> list[Any]:
        """Return other values of an option; of a part, the names of other components it may be."""
        if (part := option.part) is None:
            return other_values(option, self.choice.options[option.name])
        names = [
            f"{plugin.distribution}/{component.name}"
            for plugin, component in self.host.components(Kind(part.kind))
            if part.takes(component.capabilities({})[0])
        ]
        return [name for name in names if name != self.choice.parts[option.name].name]

    def _behaviour(self, choice: Choice) -> list[dict[str, Any]]:
        """Return all that training and evaluation show; no settings, which differ anyway."""
        _, optimizer, seen = self.used(0, choice)
        return [flat(seen), *(_contents(optimizer, group) for group in optimizer.param_groups)]

    def _parted(self) -> tuple[Model, Optimizer, Tensor]:
        """Return a model and its optimizer, with the first learned weight in the last group."""
        model = self.make_model()
        optimizer = self.make(0, model)
        settings = dict(optimizer.param_groups[0])
        first, *rest = settings.pop("params")
        optimizer.param_groups[0]["params"] = rest
        optimizer.add_param_group({**settings, "params": [first]})
        return model, optimizer, first


def _contents(optimizer: Optimizer, group: Group) -> dict[str, Any]:
    return flat([tensors_of(optimizer, parameter) for parameter in group["params"]])
