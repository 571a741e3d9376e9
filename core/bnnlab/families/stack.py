"""Several models learn as one: their parameters in one tensor, and one step for all."""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import RunError
from bnnlab.interfaces.batch import Batch, TaskLoss
from bnnlab.interfaces.elementwise import Room
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer, follows_latents
from bnnlab.interfaces.rule import Closure, LearningRule
from bnnlab.interfaces.saying import says
from bnnlab.interfaces.write_detector import WriteDetector
from bnnlab.nn.stacked import IN_STACK, fits

_CHAINS = (Model.forward, nn.Sequential.forward, nn.ModuleList.forward)


def obstacle(part: LearningRule | Optimizer | Model) -> str:
    """Return why a part cannot be one of a stack, in words after its name; empty for nothing."""
    if not isinstance(part, Model):
        return "" if says(part, "stackable") else "learns for one run alone, as it is set"
    if part.inference is not None:
        return "infers by its rule, and not by its segments"
    if not all(parameter.requires_grad for parameter in part.parameters()):
        return "has frozen parameters"
    for number, leaf in enumerate(_leaves(part)):
        if follows_latents(leaf):
            return "has scales that follow latent weights (scale 'latent')"
        flattens = type(leaf) is nn.Flatten and (leaf.start_dim, leaf.end_dim) == (1, -1)
        if not (fits(leaf) or (number == 0 and flattens)):
            return f"has a {type(leaf).__name__}, which knows one model alone"
    return ""


def _leaves(model: nn.Module) -> Iterator[Any]:
    return (part for part in model.modules() if type(part).forward not in _CHAINS)


class Stack:
    """Models of one make, each with a rule and an optimizer, whose steps are made as one.

    From a step to the next `release`, parameters, buffers and state are parts of stacked tensors
    `(S, *shape)`: what each model and optimizer holds is always true. Gradients are not left in
    the models. Counts and settings are equal in all of them, or it is an error.

    Args:
        models: S models without an `obstacle`.
        rules: Of each.
        optimizers: Of each.
    """

    def __init__(
        self,
        models: Sequence[Model],
        rules: Sequence[LearningRule],
        optimizers: Sequence[Optimizer],
    ) -> None:
        self._models, self._rules, self._optimizers = models, rules, optimizers
        self._model: Model | None = None

    def step(self, closures: Sequence[Closure]) -> list[tuple[Tensor, Tensor]]:
        """Make a step of each; return the loss of each, a scalar, and its logits.

        Args:
            closures: Of each. They are not called.

        Raises:
            RunError: If batches are not of one size, or what must be equal is not.
        """
        if self._model is None:
            self._hold(closures)
        assert self._model is not None
        lead = self._lead
        for group, its in zip(lead.param_groups, self._optimizers[0].param_groups, strict=True):
            group.update(_settings(its))  # as the schedule of the run has changed them
        before = [*map(_settings, lead.param_groups)]
        closure = _Closure(self._rule, self._model, closures, self._names)
        lead.step(closure)
        self._hand_out(before)
        losses, logits = closure.found()
        answers = [*zip(losses.unbind(), logits.unbind(), strict=True)]
        for optimizer, (loss, _) in zip(self._optimizers, answers, strict=True):
            optimizer._stepped(loss)
        return answers

    def release(self) -> None:
        """Give each model and optimizer memory of its own again; the next step takes it back."""
        if self._model is None:
            return
        for own in (its for every in self._parts.values() for its in every):
            own.data = own.data.clone()
        for optimizer in self._optimizers:
            for state in optimizer.state.values():
                state.update({k: v.clone() for k, v in state.items() if isinstance(v, Tensor)})
        self._model = None

    def _hold(self, closures: Sequence[Closure]) -> None:
        """Stack all that the models, rules and optimizers hold."""
        for optimizer, closure in zip(self._optimizers, closures, strict=True):
            optimizer._synchronize()
            optimizer._check_closure(closure)
            optimizer.zero_grad()
        self._parts: dict[Tensor, list[Tensor]] = {}  # each stacked tensor, and what it is made of
        self._model = model = self._stacked_modules(self._models)
        model._stacked = True
        self._rule = self._stacked_modules(self._rules)
        self._names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        first = self._optimizers[0]
        stacked = {own[0]: together for together, own in self._parts.items()}
        self._lead = lead = object.__new__(type(first))
        vars(lead).update(vars(first))
        vars(lead).update({k: Room() for k, v in vars(first).items() if isinstance(v, Room)})
        lead._watch = WriteDetector(())
        lead._watch.paused = True  # each optimizer watches its own weights
        lead.param_groups = [
            {**group, "params": [stacked[p] for p in group["params"]]}
            for group in first.param_groups
        ]
        for optimizer in self._optimizers[1:]:
            for group, its in zip(first.param_groups, optimizer.param_groups, strict=True):
                self._expect_equal("settings", _settings(group), _settings(its))
        lead._members = {
            together: [*zip(self._optimizers, own, strict=True)]
            for together, own in self._parts.items()
        }
        lead.state = defaultdict(dict)
        self._given: dict[tuple[Tensor, str], Any] = {}
        for together in self._names:
            states = [optimizer.state.get(own, {}) for optimizer, own in lead._members[together]]
            for name in states[0]:
                values = [state[name] for state in states]
                lead.state[together][name] = self._stacked_state(together, name, values)
        self._hand_out([*map(_settings, lead.param_groups)])

    def _stacked_modules(self, modules: Sequence[Any]) -> Any:
        """Return a copy of the first module with the tensors of all; these become parts of them."""
        stack = copy.deepcopy(modules[0])
        found: dict[Tensor, Tensor] = {}
        every = [dict([*each.named_parameters(), *each.named_buffers()]) for each in modules]
        mine = dict([*stack.named_parameters(), *stack.named_buffers()])
        for name, tensor in mine.items():
            own = [each[name] for each in every]
            together = torch.stack([each.detach() for each in own])
            if isinstance(tensor, nn.Parameter):
                together = nn.Parameter(together)
            found[tensor], self._parts[together] = together, own
            for part, each in zip(own, together.detach().unbind(), strict=True):
                part.data = each
        for part in stack.modules():
            for table in (part._parameters, part._buffers):
                table.update({k: found[v] for k, v in table.items() if v is not None})
            if type(part) in IN_STACK:
                part.__class__ = IN_STACK[type(part)]
            if isinstance(part, nn.Flatten):
                part.start_dim += 1
        return stack

    def _stacked_state(self, together: Tensor, name: str, values: list[Any]) -> Any:
        if _is_stacked(name, values[0], together[0]):
            return torch.stack(values)
        for value in values[1:]:
            self._expect_equal(f"{name!r}, kept behind {self._names[together]}", values[0], value)
        return values[0]

    def _expect_equal(self, what: str, one: Any, other: Any) -> None:
        is_tensor = isinstance(one, Tensor) and isinstance(other, Tensor)
        if not (torch.equal(one, other) if is_tensor else one == other):
            raise RunError(
                f"{type(self._optimizers[0]).__name__}: {what}: {one} and {other} differ between "
                "seeds, which make no steps together then: run them without vectorize"
            )

    def _hand_out(self, before: Sequence[dict[str, Any]]) -> None:
        """Give each optimizer what a step has made: changed settings, and new state."""
        for number, (group, its) in enumerate(zip(self._lead.param_groups, before, strict=True)):
            changed = {k: v for k, v in _settings(group).items() if k not in its or its[k] != v}
            for optimizer in self._optimizers if changed else ():
                optimizer.param_groups[number].update(changed)
        for together, state in self._lead.state.items():
            for name, value in state.items():
                if self._given.get((together, name), self) is value:
                    continue
                self._given[together, name] = value
                is_stacked = _is_stacked(name, value, together)
                values = value.unbind() if is_stacked else [value] * len(self._optimizers)
                for (own, part), each in zip(self._lead._members[together], values, strict=True):
                    own.state[part][name] = each


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "param_names")}


def _is_stacked(name: str, value: Any, like: Tensor) -> bool:
    """Return whether a state is a number per weight. What torch calls `step` is a count."""
    return isinstance(value, Tensor) and value.shape == like.shape and name != "step"


class _Closure(Closure):
    """The closure of the step of a stack: what it finds is that of all closures."""

    def __init__(
        self,
        rule: LearningRule,
        model: Model,
        closures: Sequence[Closure],
        names: dict[Tensor, str],
    ) -> None:
        self._rule, self.model, self._names, self._is_new = rule, model, names, False
        self.logits, self.clip_value = None, closures[0].clip_value
        batches = [closure.batch for closure in closures]
        if len({(each.inputs.shape, each.targets.shape) for each in batches}) > 1:
            shapes = " and ".join(str(tuple(each.inputs.shape)) for each in batches[:2])
            raise RunError(f"batches of one step differ between seeds: {shapes}")
        self.loss = _Loss.of(batches)
        inputs, targets, _ = zip(*batches, strict=True)
        self.batch = self._own = Batch(torch.stack(inputs), torch.stack(targets), self.loss)
        self._rows, self.batch_size = len(batches), len(targets[0])

    def found(self) -> tuple[Tensor, Tensor]:
        """Return the losses `(S,)` and the logits `(S, B, ...)` of the step."""
        assert self.logits is not None
        return torch.stack(self.loss.found).mean(0), self.logits

    def _ask(self, method: Callable[..., Any], batch: Batch, *more: Any) -> Any:
        """Call a method of the rule; each batch has been checked alone."""
        with self._rule.autocast(batch.inputs.device):
            return method(self.model, batch, *more)


@dataclass(frozen=True, eq=False)
class _Loss(TaskLoss):
    """The sum of the mean losses of S models.

    Attributes:
        models: S.
        found: The mean losses `(S,)` of each call.
    """

    models: int = 1
    found: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> "_Loss":
        """Return that of the batches of S models.

        Raises:
            RunError: If their losses are not those of tasks, with one objective.
        """
        losses = [batch.loss for batch in batches]
        first = losses[0]
        if not isinstance(first, TaskLoss) or any(
            type(each) is not TaskLoss or each.objective != first.objective for each in losses
        ):
            raise RunError("losses differ between seeds: run them without vectorize")
        masks = [batch.mask for batch in batches]
        rows = len(batches[0].targets)
        mask = None
        if masks[0] is not None:
            mask = torch.stack([each for each in masks if each is not None])
            mask = mask.repeat_interleave(rows, 0)
        return cls(first.objective, mask, None, len(batches))

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return it for outputs `(S, B, ...)`, or `(D * S, B, ...)` of D draws."""
        rows = self.objective.losses(self.masked(outputs.flatten(0, 1)), targets.flatten(0, 1))
        each = rows.view(-1, self.models, outputs.shape[1]).mean((0, 2))
        self.found.append(each.detach())
        return each.sum()
