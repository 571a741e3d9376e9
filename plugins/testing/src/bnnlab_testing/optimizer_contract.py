"""What an optimizer owes: after a step every binary weight is exactly -1 or +1."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine.learner import Learner
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.signs import sign
from bnnlab_testing import toy
from bnnlab_testing.around_checks import AroundChecks
from bnnlab_testing.draw_checks import DrawChecks
from bnnlab_testing.formula_checks import FormulaChecks
from bnnlab_testing.keeping_checks import KeepingChecks
from bnnlab_testing.latent_checks import LatentChecks
from bnnlab_testing.layout_checks import LayoutChecks
from bnnlab_testing.life_checks import LifeChecks
from bnnlab_testing.optimizer_checks import assert_signs, tensors_of
from bnnlab_testing.option_checks import OptionChecks
from bnnlab_testing.posterior_checks import PosteriorChecks
from bnnlab_testing.recording_checks import RecordingChecks
from bnnlab_testing.sharing_checks import SharingChecks
from bnnlab_testing.stack_checks import StackChecks
from bnnlab_testing.step_checks import StepChecks
from bnnlab_testing.task_checks import TaskChecks
from bnnlab_testing.tool_checks import ToolChecks
from bnnlab_testing.writing_checks import WritingChecks

_NEVER_MOVED = (
    ", and none has moved. If it needs gradients of a certain kind, such as ternary ones, let its "
    "component require the capability of rules that give them, and `make_rule` return one"
)


class OptimizerContract(
    StepChecks,
    WritingChecks,
    ToolChecks,
    PosteriorChecks,
    TaskChecks,
    SharingChecks,
    LayoutChecks,
    AroundChecks,
    KeepingChecks,
    LatentChecks,
    LifeChecks,
    OptionChecks,
    DrawChecks,
    StackChecks,
    RecordingChecks,
    FormulaChecks,
):
    """Checks an optimizer. Override `make_model` and `make_rule` where the toys do not suit.

    Attributes:
        steps: Steps within which the best of all weights of a linear layer must be found.
    """

    steps: ClassVar[int] = 200

    def learner(self, device: torch.device, seed: int = 0) -> Learner:
        """Make the optimizer, and the rule that gives gradients."""
        model = self.make_model().to(device)
        return Learner(model, self.make_rule(model), self.make(seed, model))

    def stackable(self, seed: int) -> Learner:
        """Make a smooth network, a plain rule and the optimizer."""
        model = toy.make_smooth_model()
        return Learner(model, toy.ToyRule(), self.make(seed, model))

    def test_a_huge_gradient_leaves_finite_numbers(self) -> None:
        """Gradients of 1e6 in every element break neither weights nor state."""
        self._bears(1e6)

    @pytest.mark.rounding
    def test_it_finds_the_best_of_all_weights(self) -> None:
        """Where the loss is linear in the weights, every one gets the sign that lowers it."""
        model, _, best = self._with_the_best(self.steps)
        (found,), (first,) = model.binary_parameters().values(), toy.make_linear()[0].parameters()
        wrong, before = int((found != best).sum()), int((first != best).sum())
        said = f"{wrong} of {best.numel()} weights have the sign that raises the loss"
        if torch.equal(found, first):
            said += _NEVER_MOVED
        elif wrong < before:
            said += (
                f", after {self.steps} steps; at first, {before} had. If it is only slow, say how "
                "many `steps` it needs, in the test class or with "
                f"--set optimizer.{self.component.name}.steps={3 * self.steps}"
            )
        assert not wrong, said

    def test_every_parameter_goes_downhill(self) -> None:
        """Where the gradient is the same in all of fifty steps, no parameter goes along with it.

        Of each, as many binary weights as before have the sign that lowers the loss, and real
        numbers move against their gradients, in the mean. Look for a sign that is wrong in one kind
        of layer.
        """
        (model, optimizer), draws = self.trained(1), seeds.generator(0, "slopes")
        slopes: dict[Tensor, Tensor] = {
            p: sign(torch.randn(p.shape, generator=draws)) for p in model.parameters()
        }
        before = {p: p.detach().clone() for p in slopes}
        for _ in range(50):
            optimizer.step(lambda: _slope(slopes))
        for name, parameter in model.named_parameters():
            along = float(((parameter - before[parameter]) * slopes[parameter]).detach().mean())
            most = 0.5 if name in model.binary_parameters() else 1e-3  # some flip by chance
            assert along <= most, f"{name} moves along its gradient, by {along:.3g} in the mean"

    def test_draws_follow_what_was_learned(self) -> None:
        """Where the best weights are known, at least 0.55 of the drawn weights are as deployed.

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
        toy.train(model, self.make_rule(model), optimizer, task, steps=steps)
        return model, optimizer, best

    def test_gradients_of_zero_do_no_harm(self) -> None:
        """Where nothing is to be learned, weights and state stay finite."""
        self._bears(0.0)

    def _bears(self, grad: float) -> None:
        """Check that after five steps of a gradient, weights and state are finite."""
        model, optimizer = self.trained(1)
        for _ in range(5):
            optimizer.step(toy.constant(model, grad))
        assert_signs(model)
        for value in (each for p in model.parameters() for each in tensors_of(optimizer, p)):
            assert bool(value.isfinite().all()), "weights or state are not finite"


def _slope(slopes: dict[Tensor, Tensor]) -> Tensor:
    """Leave these gradients, and return a loss."""
    for parameter, slope in slopes.items():
        parameter.grad = slope.clone()
    return torch.zeros(())
