"""What an optimizer owes of its settings: that each has the effect that it is there for."""

from typing import Any

import pytest
from torch import Tensor

from bnnlab.errors import BnnlabError, explain
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.registry.components import Kind, Option
from bnnlab.settings.run import Choice
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, flat
from bnnlab_testing.optimizer_checks import tensors_of
from bnnlab_testing.rate_checks import MANY, RateChecks, contents_of
from bnnlab_testing.varying import other_values


class SettingChecks(RateChecks):
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
            self.step_again(model, optimizer)
            ends.append(flat(tensors_of(optimizer, weight)))
        assert ends[0] != ends[1], f"in {MANY} steps, the lr of a parted group is not read"

    def test_no_option_is_ignored(self) -> None:
        """Some other value of each changes weights, state or draws within two short tasks.

        Another value of a part is another component. Options of text are not tested. Neither is an
        option if the other options exclude all its other values.
        """
        usual = self._behaviour(self.choice)
        idle = {option.name for option in self.component.options if self._is_idle(option, usual)}
        ignored = sorted(idle - self.without_effect.keys())
        assert not ignored, (
            f"no effect: {self._tried(ignored)}; if that is right, say why in `without_effect`. "
            "There are two tasks of two steps: where more are needed, let `options` say otherwise"
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

    def _tried(self, names: list[str]) -> str:
        options = {option.name: option for option in self.component.options}
        return "; ".join(
            f"{name} (tried: {', '.join(map(repr, self._others(options[name])))})" for name in names
        )

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
        return [flat(seen), *(contents_of(optimizer, group) for group in optimizer.param_groups)]

    def _parted(self) -> tuple[Model, Optimizer, Tensor]:
        """Return a model and its optimizer, with the first learned weight in the last group."""
        model = self.make_model()
        optimizer = self.make(0, model)
        settings = dict(optimizer.param_groups[0])
        first, *rest = settings.pop("params")
        optimizer.param_groups[0]["params"] = rest
        optimizer.add_param_group({**settings, "params": [first]})
        return model, optimizer, first
