"""Optimizer and model stay consistent, whatever other code does to either between two steps."""

import math
from collections.abc import Callable, KeysView, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.batch_checks import check_rows
from bnnlab.interfaces.faults import ADVICE, check_model, checked_latent, fault, numbers_of
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer_state import Group
from bnnlab.interfaces.rule import Closure
from bnnlab.interfaces.step_numbers import NumberedOptimizer, begun
from bnnlab.interfaces.write_detector import WriteDetector

LOOK_EVERY = 50
"""Steps between two looks. A look waits for the device."""


class ConsistentOptimizer(NumberedOptimizer):
    """An optimizer that stays consistent with its model.

    - If other code has written a binary weight (as `load_state_dict` does), the next step first
      calls `adopt` for it. After a copy, or after this optimizer's state was loaded, it calls
      `adopt` for every binary weight.
    - `look` finds the other faults. A step looks if the last look was 50 steps ago.
    - A parameter with `requires_grad=False` is in no group during `step`, `task_started` and
      `task_ended`, so that it stays as it is.
    - A copy (`copy.deepcopy`, `pickle`, `torch.save`) continues as the original would. A copy that
      was made without its model refuses another model.

    Attributes:
        stackable: Whether `step` acts on each number of a parameter apart, by its gradient and its
            state, and changes nothing but parameters, state and groups: then several optimizers can
            step as one (`--vectorize`). A subclass that changes a method says it again.
    """

    stackable = False
    # Of one that steps for several: the optimizers, and what a parameter is in each of them.
    _members: Mapping[Tensor, Sequence[tuple[Any, Tensor]]] = MappingProxyType({})

    # Since the last look: the steps, their losses, and the model's parameters that were checked.
    _steps = 0
    _losses: tuple[Tensor, ...] = ()
    _checked: KeysView[Tensor] | None = None

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        for name in ("step", "task_started", "task_ended"):
            owner = next(base for base in cls.__mro__ if name in vars(base))
            is_own = owner is cls or not issubclass(owner, ConsistentOptimizer)  # or of a mixin
            if is_own:
                setattr(cls, name, _guarded(getattr(cls, name), name))

    def __init__(self, model: Model, groups: list[Group], defaults: dict[str, Any]) -> None:
        self._watch = WriteDetector(model.binary_parameters().values())
        super().__init__(model, groups, defaults)

    def latent(self, parameter: Tensor) -> Tensor | None:
        """Return what the method keeps behind a learned weight, in its shape, not a copy.

        That is a latent weight or a natural parameter, with the sign of the binary weight. For a
        real weight it is the weight itself. None if the method keeps nothing behind it.
        """
        return None if parameter in self._binary else parameter.detach()

    def adopt(self, parameter: Tensor) -> None:
        """Accept a binary weight that other code wrote: `latent` takes its signs.

        Sizes and moments stay. Override this if more than `latent` depends on the signs. After a
        load or a copy it is called for every weight: where weight and state agree already, it must
        change nothing.
        """
        latent = self.latent(parameter)
        if latent is not None:
            latent.copysign_(parameter)

    def _synchronize(self) -> None:
        """Move the state to where the parameters are, and adopt what was written."""
        watch = self._watch
        if watch.moved([parameter.data_ptr() for parameter in self._parameters()]):
            self._move_state()
        written = watch.written()
        if not written:
            return
        for weight in written:
            if not weight.is_meta and not bool((weight.detach().abs() == 1).all()):
                raise RunError(
                    f"binary parameter {self._name(weight)!r} was given more than -1 and +1: "
                    "write signs into it, as bnnlab.interfaces.signs.sign makes them."
                )
        with torch.no_grad():
            for weight in written:
                self.adopt(weight)
        watch.accept()

    def look(self) -> None:
        """Check what the signs of weights hide. Waits for the device.

        A step calls it if the last look was 50 steps ago; `task_started` and `task_ended` always
        call it. Each look reports a fault until it is repaired, but a loss only once.

        torch does not count writes through `parameter.data`. A write into the first rows of a
        weight is always found. A write elsewhere is found only if no step has come between, and if
        the method keeps something with a sign behind the weight.

        Raises:
            RunError: If a number is not finite: a loss since the last look, a gradient, a parameter
                or its state. Or if a binary weight is not -1 or +1, was written through `.data`, or
                differs in sign from what is kept behind it.
        """
        self._synchronize()
        numbers = [*numbers_of(self, self._losses)]
        norm = torch.nn.utils.get_total_norm([values for _, values in numbers])
        weights = {weight: self._name(weight) for weight in self._watch.weights}
        latents = [checked_latent(self, weight, name) for weight, name in weights.items()]
        faults = self._watch.faults(latents)
        every = [each.to(norm.device, torch.float32) for each in (norm, *faults)]
        found = torch.stack(every).cpu()  # the only wait
        self._losses = ()
        if not math.isfinite(found[0]):  # squares may overflow where the numbers do not
            for what, values in numbers:
                if not bool(values.isfinite().all()):
                    raise RunError(f"{type(self).__name__}: {what} is not finite. {ADVICE}")
        for name, of_weight in zip(weights.values(), found[1:].view(-1, 3), strict=True):
            wrong = fault(type(self).__name__, name, *of_weight.tolist())
            if wrong:
                raise RunError(wrong)
        self._watch.restart()
        self._steps, self._checked = 0, None

    def _stepped(self, loss: Tensor) -> None:
        """Hear that another optimizer has made a step for this one, as one of a stack.

        Args:
            loss: Of the step, a scalar: `look` looks at it.
        """
        self._watch.excused = True
        self._losses += (loss,)

    def _check_closure(self, closure: object) -> None:
        """Check that a step has a closure; after each look, that its model and rows are right."""
        if not callable(closure):
            raise UsageError(
                f"{type(self).__name__}.step needs a closure, which leaves gradients in .grad and "
                "returns the loss: optimizer.step(rule.closure(model, (inputs, targets)))"
            )
        if isinstance(closure, Closure) and closure._names.keys() != self._checked:
            check_model(self, closure.model)
            check_rows(closure._rule, closure._own, closure.batch)
            self._checked = closure._names.keys()

    def __getstate__(self) -> dict[str, Any]:
        """Return every attribute but hooks, the `step` of a scheduler, and what a copy forgets."""
        left_out = {"step", "_steps", "_losses", "_checked", "_in_step"}
        names = {name for name in self.__dict__ if not name.startswith("_optimizer_")} - left_out
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy or an unpickled optimizer."""
        super().__setstate__(state)
        self._watch.forget()


def _guarded(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a method that may write weights, with what must come before and after it."""
    is_step = name == "step"
    method = begun(method) if is_step else method

    @wraps(method)
    def guarded(self: ConsistentOptimizer, *args: Any, **given: Any) -> Any:
        watch = self._watch
        if watch.paused:  # a method of a base class, or a step within a step
            return method(self, *args, **given)
        self._synchronize()
        if not is_step or self._steps >= LOOK_EVERY:
            self.look()
        if is_step:
            self._check_closure(args[0] if args else given.get("closure"))
        watch.compare()
        whole = _leave_out_frozen(self.param_groups)
        watch.paused = True
        try:
            answer = method(self, *args, **given)
        except BaseException:
            watch.forget()  # it may have written some of what belongs together
            raise
        finally:
            watch.paused = False
            for group, parameters in whole:
                group["params"] = parameters
        watch.remember()
        if is_step:
            self._steps += 1
            if isinstance(answer, Tensor | float):
                self._losses += (torch.as_tensor(answer).detach(),)
        return answer

    return guarded


def _leave_out_frozen(groups: list[Group]) -> list[tuple[Group, list[Tensor]]]:
    """Take the frozen parameters out of the groups; return these groups with all parameters."""
    whole = []
    for group in groups:
        parameters = group["params"]
        free = [parameter for parameter in parameters if parameter.requires_grad]
        if len(free) < len(parameters):
            whole.append((group, parameters))
            group["params"] = free
    return whole
