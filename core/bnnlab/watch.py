"""What an optimizer notices of its binary weights: that others wrote them."""

from collections.abc import Iterable, Sequence
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from bnnlab.model import Model

SAMPLE = 256
"""Weights of each parameter, its first, that are compared before every step; at least a row."""


class Watch:
    """Notices what others write into binary weights between their optimizer's steps.

    Torch counts what is written into a tensor; `written` compares the counts. What goes round the
    count (`.data`) shows where a sample of each weight is not what the optimizer left there. That
    is compared on the device without waiting for it; `verdicts` says what was found.

    Args:
        weights: The binary parameters, as their optimizer leaves them.
        names: Of all parameters of the model.

    Attributes:
        weights: As given.
        names: As given.
        busy: Whether it is the optimizer that writes now.
        steps: Those since the last look.
        losses: Of these steps.
    """

    def __init__(self, weights: Iterable[Tensor], names: dict[Tensor, str]) -> None:
        self.weights = [weight for weight in dict.fromkeys(weights) if weight.numel()]
        self.names = names
        self.busy = False
        self._versions = [weight._version for weight in self.weights]
        self._places = [weight.data_ptr() for weight in self.weights]
        self._samples = [_sample(weight) for weight in self.weights]
        self._left = [sample.clone() for sample in self._samples]
        self._model: ReferenceType[Model] | None = None
        self.start()

    def __reduce__(self) -> tuple[Any, ...]:
        """Make a copy of copied weights, which knows nothing of how they came about."""
        return _forgetful, (self.weights, self.names)

    def name(self, parameter: Tensor) -> str:
        """Return a parameter's name, or what else tells it from others."""
        return self.names.get(parameter, f"a parameter of shape {tuple(parameter.shape)}")

    def start(self) -> None:
        """Begin anew, after a look."""
        self.steps = self._compared = 0
        self.losses: list[Tensor] = []
        self._agreed = [torch.zeros_like(sample) for sample in self._left]

    def forget(self) -> None:
        """Take every weight as written: nobody knows whether the optimizer's state fits it."""
        self._versions = [-1 for _ in self.weights]

    def is_new(self, model: Model) -> bool:
        """Return whether this is the first step since a look, or with this model."""
        known = self._model is not None and self._model() is model
        self._model = ref(model)
        return self.steps == 0 or not known

    def written(self) -> list[Tensor]:
        """Return the weights into which others wrote, as far as torch counts it."""
        for number, weight in enumerate(self.weights):
            if weight.data_ptr() != self._places[number]:  # it was moved, or given another `.data`
                self._places[number] = weight.data_ptr()
                sample = self._samples[number] = _sample(weight)
                for kept in (self._left, self._agreed):
                    kept[number] = kept[number].to(sample)
        pairs = zip(self.weights, self._versions, strict=True)
        return [weight for weight, version in pairs if weight._version != version]

    def compare(self, adopted: Sequence[Tensor]) -> None:
        """Compare all but the adopted weights with what the optimizer left."""
        for number, weight in enumerate(self.weights if adopted else ()):
            if any(weight is each for each in adopted):
                self._left[number].copy_(self._samples[number])
        if self.weights:  # a sign times itself is 1
            torch._foreach_addcmul_(self._agreed, self._samples, self._left)
        self._compared += 1

    def remember(self) -> None:
        """Remember the weights as the optimizer leaves them."""
        self._versions = [weight._version for weight in self.weights]
        if self.weights:
            torch._foreach_copy_(self._left, self._samples)

    def count(self, loss: object) -> None:
        """Count a step, and remember its loss."""
        self.steps += 1
        if isinstance(loss, Tensor):
            self.losses.append(loss.detach())

    def verdicts(self) -> list[Tensor]:
        """Return per weight how far it was from what was left, and how far it is from signs."""
        found = []
        for weight, agreed in zip(self.weights, self._agreed, strict=True):
            for values, right in ((agreed, self._compared), (weight.detach().abs(), 1)):
                low, high = torch.aminmax(values)
                found.append(torch.maximum(right - low, high - right))
        return found


def _forgetful(weights: list[Tensor], names: dict[Tensor, str]) -> Watch:
    watch = Watch(weights, names)
    watch.forget()
    return watch


def _sample(weight: Tensor) -> Tensor:
    """Return a view of a weight's first rows."""
    rows = max(1, SAMPLE * len(weight) // max(1, weight.numel())) if weight.ndim else None
    return weight.detach()[:rows] if rows else weight.detach()
