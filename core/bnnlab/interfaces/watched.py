"""An optimizer that agrees with its model, and gets on with torch's tools, whatever others do."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.moving import move_state
from bnnlab.interfaces.rule import Closure
from bnnlab.interfaces.watch import Group, Watch

LOOK_EVERY = 50
"""Steps between looks: each one waits for the device."""
ADVICE = (
    "Try a smaller learning rate, or bound the gradients if the optimizer has an option for it."
)


class WatchedOptimizer(torch.optim.Optimizer):
    """Keeps an optimizer and its model in agreement, whatever is done to either between steps.

    - A binary weight that others wrote, as `load_state_dict` does, is given to `adopt` before the
      next step. After a copy, or after this optimizer's state was loaded, every weight is.
    - `look` finds the rest. A step looks where there was no look for 50 steps.
    - A parameter with `requires_grad=False` is left alone: it is in no group while `step`,
      `task_started` or `task_ended` runs.
    - Copies by `copy.deepcopy`, `pickle` or `torch.save` go on as the original does. A copy without
      its model refuses to learn another.

    Args:
        model: Its parameters are optimised.
        groups: Parameter groups, with `learned` and `binary`.
        defaults: What a group has where it says nothing else.
    """

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        for name in ("step", "task_started", "task_ended"):
            owner = next(each for each in cls.__mro__ if name in vars(each))
            if owner is cls or not issubclass(owner, WatchedOptimizer):  # its own, or a mixin's
                setattr(cls, name, _watched(getattr(cls, name), name))

    def __init__(self, model: Model, groups: list[Group], defaults: dict[str, Any]) -> None:
        names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        self._watch = Watch(model.binary_parameters().values(), names)
        super().__init__(groups, defaults)

    def latent(self, parameter: Tensor) -> Tensor | None:
        """Return what is kept behind a weight, not a copy; None if nothing is."""
        raise NotImplementedError

    def adopt(self, parameter: Tensor) -> None:
        """Take over a binary weight that others wrote: give what is behind it the new signs.

        Sizes and moments stay. A method overrides this if more than `latent` depends on the signs.
        It is called for every weight after a load or a copy, so that it must change nothing where
        weight and state agree.
        """
        latent = self.latent(parameter)
        if latent is not None:
            latent.copysign_(parameter)

    def look(self) -> None:
        """See that nothing is wrong that signs hide; wait for the device.

        A step looks where there was no look for 50 steps; `task_started` and `task_ended` always
        look. What is wrong is reported at every look until it is mended, but a loss only once.

        Torch does not count what is written through `parameter.data`. That is found in a sample of
        each weight, whenever it was written. In the whole weight it is found only if no step came
        between, and if something with a sign is kept behind the weight.

        Raises:
            RunError: If a loss since the last look, a gradient, a parameter or state of it is not
                finite, or a binary weight is no sign, was written through `.data`, or differs in
                sign from what is kept behind it.
        """
        agree(self)
        watch, who = self._watch, type(self).__name__
        numbers = [*watch.numbers(self.param_groups, self.state)]
        total = torch.nn.utils.get_total_norm([values for _, values in numbers])
        watch.compare()
        verdicts = watch.verdicts([self.latent(weight) for weight in watch.weights])
        watch.remember()
        every = [each.to(total.device, torch.float32) for each in (total, *verdicts)]
        norm, *found = torch.stack(every).tolist()
        watch.losses = []
        if not math.isfinite(norm):  # squares may overflow where the numbers do not
            for what, values in numbers:
                if not bool(values.isfinite().all()):
                    raise RunError(f"{who}: {what} is not finite. {ADVICE}")
        watch.judge(found, who)
        watch.start()

    # -------------------------------------------------------------------- groups and copies

    # torch shields its methods from its compiler, which it imports at their first call: seconds at
    # the start of every run. Optimizers are not compiled here, so the bare functions do.
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    def add_param_group(self, param_group: Group) -> None:
        """Add a parameter group, as torch has it.

        Unless it says otherwise it is one of real parameters that the method does not learn, and
        has the settings that the first group of its kind has.

        Raises:
            UsageError: If the method is to learn what the model did not have when the optimizer was
                made, or if a parameter is binary and its group is not, or the reverse.
        """
        group = {"learned": False, "binary": False, **param_group}
        given = group["params"]
        if not isinstance(given, set):  # which torch refuses: it has no order
            group["params"] = [given] if isinstance(given, Tensor) else list(given)
        for each in group["params"]:
            self._check_member(each[1] if isinstance(each, tuple) else each, group)
        alike = [each for each in self.param_groups if each["learned"] == group["learned"]]
        for key, value in alike[0].items() if alike else ():
            if key != "param_names":
                group.setdefault(key, value)
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, group)

    def _check_member(self, parameter: Tensor, group: Group) -> None:
        watch, who, name = self._watch, type(self).__name__, self._watch.name(parameter)
        if parameter not in watch.names and (group["learned"] or group["binary"]):
            raise UsageError(
                f"{who} cannot learn {name}, which its model did not have when it was made: make a "
                "new optimizer, or leave 'learned' and 'binary' out if it is real"
            )
        if any(parameter is weight for weight in watch.weights) != group["binary"]:
            kind = "real" if group["binary"] else "binary"
            raise UsageError(
                f"{name} is {kind}: its group needs 'learned' and 'binary' as the group has them "
                "that it comes from"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return every attribute but hooks, and what a scheduler put in the place of `step`."""
        kept = self.__dict__.items()
        return {k: v for k, v in kept if k != "step" and not k.startswith("_optimizer_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was copied or loaded."""
        super().__setstate__(state)
        self._watch.forget()


def _watched(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Let an optimizer look around before a method that may write, and hide what is frozen.

    What the method writes is the optimizer's own.
    """

    @wraps(method)
    def watched(self: WatchedOptimizer, *args: Any, **given: Any) -> Any:
        watch = self._watch
        if watch.busy:  # a method of a base class, or a step within a step
            return method(self, *args, **given)
        agree(self)
        if name != "step" or watch.steps >= LOOK_EVERY:
            self.look()
        closure = args[0] if args else given.get("closure")
        if name == "step" and not callable(closure):
            raise UsageError(
                f"{type(self).__name__}.step needs a closure, which leaves gradients in .grad and "
                "returns the loss: optimizer.step(rule.closure(model, (inputs, targets)))"
            )
        if isinstance(closure, Closure) and watch.meet(closure.model):
            _recognise(self, closure.model)
        watch.compare()
        whole = []
        for group in self.param_groups:
            parameters = group["params"]
            free = [parameter for parameter in parameters if parameter.requires_grad]
            if len(free) < len(parameters):
                whole.append((group, parameters))
                group["params"] = free
        watch.busy = True
        try:
            answer = method(self, *args, **given)
        except BaseException:
            watch.forget()  # it may have written some of what belongs together
            raise
        finally:
            watch.busy = False
            for group, parameters in whole:
                group["params"] = parameters
        watch.remember()
        if name == "step":
            watch.count(answer)
        return answer

    return watched


def agree(optimizer: WatchedOptimizer) -> None:
    """Bring the optimizer to where its model is, and to what others wrote into it."""
    watch = optimizer._watch
    if watch.moved([p.data_ptr() for group in optimizer.param_groups for p in group["params"]]):
        move_state(optimizer)
    written = watch.written()
    if written:
        _adopt(optimizer, written)
        watch.accept(written)


def _recognise(optimizer: WatchedOptimizer, model: Model) -> None:
    """See that the model has the parameters that the optimizer has."""
    who, names = type(optimizer).__name__, optimizer._watch.names
    groups, known = optimizer.param_groups, {*names.values()}
    mine = {*names, *(p for group in groups for p in group["params"])}
    theirs = dict(model.named_parameters())
    replaced = [name for name, p in theirs.items() if name in known and p not in mine]
    if replaced and len(replaced) == len(theirs):
        raise RunError(
            f"{who} was made for another model than the one it is to learn. A copy goes with its "
            "model: copy.deepcopy((model, optimizer))"
        )
    if replaced:
        raise RunError(
            f"{replaced[0]} is no longer the parameter that {who} was made for: it was replaced, "
            "as by load_state_dict(assign=True). Load without assign, or make a new optimizer"
        )
    real = {p for group in groups if not group["binary"] for p in group["params"]}
    for name, parameter in model.binary_parameters().items():
        if parameter in real:
            raise RunError(
                f"{name} is binary, and {who} has it in a group of real parameters: make a new "
                "optimizer for a model with new binary weights"
            )


@torch.no_grad()
def _adopt(optimizer: WatchedOptimizer, written: Sequence[Tensor]) -> None:
    for weight in written:
        if not weight.is_meta and not bool((weight.abs() == 1).all()):
            raise RunError(
                f"binary parameter {optimizer._watch.name(weight)!r} was given more than -1 and "
                "+1: write signs into it, as bnnlab.nn.layers.sign makes them."
            )
    for weight in written:
        optimizer.adopt(weight)
