"""What an optimizer notices of its binary weights: that others wrote them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.interfaces.model import Model

Group = dict[str, Any]

SAMPLE = 256
"""Weights of each parameter, its first, that are compared before every step; at least a row."""
REMEDY = "write it by load_state_dict, or by copy_ under torch.no_grad()."


class Watch:
    """Notices what others write into binary weights between their optimizer's steps.

    `written` asks torch, which counts what is written into a tensor. For what is not counted
    (`.data`), `compare` compares a sample of each weight with what was there at `remember`, on the
    device and without waiting for it; `verdicts` returns what was found.

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
        self._places: list[int] = []
        self._samples = [_sample(weight) for weight in self.weights]
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
        self.steps = 0
        self.losses: list[Tensor] = []
        self._drift = [-sample for sample in self._samples]

    def forget(self) -> None:
        """Take every weight as written: nobody knows whether the optimizer's state fits it."""
        self._versions = [-1 for _ in self.weights]

    def meet(self, model: Model) -> bool:
        """Note the model of a step; return whether this is the first since a look, or with it."""
        known = self._model is not None and self._model() is model
        self._model = ref(model)
        return self.steps == 0 or not known

    def moved(self, places: list[int]) -> bool:
        """Return whether parameters were moved, or given another `.data`, since it was asked last.

        Args:
            places: Where in memory each one is.
        """
        if places == self._places:
            return False
        self._places = places
        self._samples = [_sample(weight) for weight in self.weights]
        pairs = zip(self._drift, self._samples, strict=True)
        self._drift = [drift.to(sample) for drift, sample in pairs]
        return True

    def written(self) -> list[Tensor]:
        """Return the weights into which others wrote, as far as torch counts it."""
        versions = [weight._version for weight in self.weights]
        if versions == self._versions:
            return []
        pairs = zip(self.weights, versions, self._versions, strict=True)
        return [weight for weight, now, before in pairs if now != before]

    def accept(self, written: Sequence[Tensor]) -> None:
        """Take what others wrote as right: nothing is wrong with these weights from here on."""
        for number, weight in enumerate(self.weights):
            if any(weight is each for each in written):
                self._versions[number] = weight._version
                self._drift[number] = -self._samples[number]

    def compare(self) -> None:
        """Compare the weights with those remembered: what is not 0 now was changed by others."""
        if self.weights:
            torch._foreach_add_(self._drift, self._samples)

    def remember(self) -> None:
        """Remember the weights as they are, after they were compared or the optimizer wrote."""
        self._versions = [weight._version for weight in self.weights]
        if self.weights:
            torch._foreach_sub_(self._drift, self._samples)

    def count(self, loss: object) -> None:
        """Count a step, and remember its loss."""
        self.steps += 1
        if isinstance(loss, Tensor | float):
            self.losses.append(torch.as_tensor(loss).detach())

    def verdicts(self, behind: Sequence[Tensor | None]) -> list[Tensor]:
        """Return three numbers per weight that was compared, without waiting for them.

        How far others changed the sample, how far the weight is from signs, and its least product
        with what is kept behind it, which is negative where they differ in sign.
        """
        found = []
        for weight, drift, latent in zip(self.weights, self._drift, behind, strict=True):
            values = weight.detach()
            low, high = torch.aminmax(values.abs())
            found += [
                drift.abs().amax(),
                torch.maximum(1 - low, high - 1),
                high if latent is None else (values * latent).amin(),
            ]
        return found

    def judge(self, found: Sequence[float], who: str) -> None:
        """Say what is wrong with a weight, and who may have done it.

        Args:
            found: The numbers of `verdicts`.
            who: The optimizer.

        Raises:
            RunError: If something is.
        """
        parts = zip(self.weights, found[::3], found[1::3], found[2::3], strict=True)
        for weight, changed, off, low in parts:
            if not (changed or off or not low >= 0):  # NaN, too
                continue
            name, no_signs = self.name(weight), "holds more than -1 and +1"
            if changed:
                more = f" and {no_signs}" if off else ""
                raise RunError(
                    f"{name} was written through `.data`, which torch does not count,{more} and "
                    f"may be lost by now: {REMEDY}"
                )
            wrong = (
                f"binary parameter {name!r} {no_signs}"
                if off
                else f"{name} and what {who} keeps behind it differ in sign"
            )
            raise RunError(
                f"{wrong}: {who} left them so, or others wrote through `.data`. If so, {REMEDY}"
            )

    def numbers(
        self, groups: Iterable[Group], state: Mapping[Tensor, Any]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield what must be finite, and what it is called."""
        if self.losses:
            yield "the loss", torch.stack([loss.to(self.losses[-1]) for loss in self.losses])
        for group in groups:
            for parameter in group["params"]:
                name = self.name(parameter)
                if parameter.grad is not None:
                    yield f"the gradient of {name}", parameter.grad
                if not group["binary"]:
                    yield name, parameter.detach()
                for key, value in state.get(parameter, {}).items():
                    for each in _floats(value):
                        yield f"{key!r}, kept behind {name},", each


def _floats(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of floats that state holds, in lists and dicts too."""
    if isinstance(value, Tensor) and value.is_floating_point():
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _floats(each)


def _forgetful(weights: list[Tensor], names: dict[Tensor, str]) -> Watch:
    watch = Watch(weights, names)
    watch.forget()
    return watch


def _sample(weight: Tensor) -> Tensor:
    """Return a view of a weight's first rows."""
    rows = max(1, SAMPLE * len(weight) // max(1, weight.numel())) if weight.ndim else None
    return weight.detach()[:rows] if rows else weight.detach()
