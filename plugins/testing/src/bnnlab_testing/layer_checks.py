"""What a model owes of what it is made of: it is declared, and layers pass gradients back."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab import seeds
from bnnlab.errors import BnnlabError
from bnnlab.interfaces.model import Model, goes_by_task
from bnnlab.interfaces.optimizer import follows_latents
from bnnlab.registry.forms import literals
from bnnlab.settings.run import Choice
from bnnlab_testing.model_checks import ModelChecks

WIDTHS = (1e-3, 0.1, 1.0, 10.0)
"""How far the inputs of a layer are moved, in their standard deviations."""


class LayerChecks(ModelChecks):
    """The part of `ModelContract` that is about what a model is made of."""

    def test_what_it_has_with_each_value_is_declared(self) -> None:
        """With each value that an option names, capabilities say what the model has.

        It provides 'binary-weights' exactly if there are some. It requires 'task-ids' if a part of
        it goes by the task, and 'latent-weights' if a scale follows these.
        """
        wrong = [
            f"{said} it {what}"
            for said, choice, model in self._varied()
            for what in _undeclared(model, *choice.capabilities())
        ]
        assert not wrong, (
            f"{'; '.join(wrong)}. Say so in its declaration, by a `When` if it depends on an "
            "option: that of a `Chain` is CHAIN of bnnlab.registry.chains"
        )

    def _varied(self) -> Iterator[tuple[str, Choice, Model]]:
        """Yield the model, and those with another value of one option, unless it is refused."""
        yield "with its defaults", self.choice, self.make()
        for option in self.component.options:
            values = [True, False] if option.type is bool else literals(option.type)
            for value in values:
                with suppress(BnnlabError):
                    choice = self.with_options(**{option.name: value})
                    yield f"with {option.name}={value!r}", choice, self._new(0, choice)

    def test_no_layer_turns_the_gradient_around(self) -> None:
        """Backwards, no layer says the opposite of what a change of its inputs does.

        A layer is a module without others in it, in evaluation mode. Inputs are moved a little and
        far, so that those of signs, whose gradients are surrogates, are compared on the whole.
        """
        model = self.make().eval()
        given = _given(model, self.inputs())
        turned = [name for name, (layer, x) in given.items() if _is_turned(layer, x)]
        assert not turned, (
            f"backwards, {', '.join(turned)} turns the gradient around; if that is meant so, say "
            "why in `xfail`"
        )


def _undeclared(model: Model, provides: frozenset[str], requires: frozenset[str]) -> Iterator[str]:
    """Yield what a model has, or has not, against what is declared."""
    count, declared = len(model.binary_parameters()), "binary-weights" in provides
    if bool(count) != declared:
        verb = "provides" if declared else "does not provide"
        yield f"has {count} binary parameters, and {verb} 'binary-weights'"
    needed = {
        "task-ids": [name for name, part in model.named_modules() if goes_by_task(part)],
        "latent-weights": [name for name, part in model.named_modules() if follows_latents(part)],
    }
    for capability, parts in needed.items():
        if parts and capability not in requires:
            yield f"does not require {capability!r}, which its part {parts[0]} needs"


@torch.no_grad()
def _given(model: Model, x: Tensor) -> dict[str, tuple[nn.Module, Tensor]]:
    """Return the layers that are called with one tensor of real numbers, each with its first."""
    found: dict[str, tuple[nn.Module, Tensor]] = {}

    def noting(name: str) -> Any:
        def note(layer: nn.Module, given: tuple[Any, ...]) -> None:
            if len(given) == 1 and isinstance(given[0], Tensor) and given[0].is_floating_point():
                found.setdefault(name, (layer, given[0].clone()))

        return note

    leaves = [(name, part) for name, part in model.named_modules() if not [*part.children()]]
    hooks = [part.register_forward_pre_hook(noting(name)) for name, part in leaves]
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def _is_turned(layer: nn.Module, x: Tensor) -> bool:
    """Return whether gradients say the opposite of what changes of the inputs do, however wide."""
    x = x.requires_grad_()
    y, moves = layer(x), torch.randn(x.shape, generator=seeds.generator(0, "moves"))
    if not isinstance(y, Tensor) or not y.requires_grad:
        return False
    likeness = list[float]()
    for width in WIDTHS:
        with torch.no_grad():
            move = width * (float(x.std()) or 1.0) * moves
            change = layer(x + move) - layer(x - move)
        (grad,) = torch.autograd.grad(y, x, change, retain_graph=True)
        if change.any():
            likeness.append(float(F.cosine_similarity(grad.flatten(), move.flatten(), dim=0)))
    return bool(likeness) and max(likeness) < -0.1
