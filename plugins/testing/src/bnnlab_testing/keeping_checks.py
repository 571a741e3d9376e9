"""What rules and optimizers owe to memory: it does not grow from step to step."""

from collections import deque
from collections.abc import Iterable, Mapping
from logging import Logger
from types import ModuleType
from typing import Any

from torch import Tensor

from bnnlab.engine.learner import Learner
from bnnlab_testing import toy
from bnnlab_testing.device_checks import CPU, LearnerChecks

_CLOSED = (type, ModuleType, Logger)
"""Objects whose attributes lead to everything."""


class KeepingChecks(LearnerChecks):
    """The part of the contracts of rules and optimizers that is about what they keep."""

    def test_no_graph_is_kept(self) -> None:
        """After two steps no tensor that it keeps, or its state, has autograd's graph of a step.

        The graph holds all that the step computed, and a sum of losses has the graphs of all steps.
        Keep `.detach()` of it; an optimizer's `step` is under `torch.no_grad()`.
        """
        learner = self.learner(CPU)
        _train(learner, 2)
        graphs = [place for place, each in self._kept(learner).items() if _has_graph(each)]
        assert not graphs, (
            f"kept with the graph of a step: {', '.join(graphs[:5])}. Memory grows: keep "
            ".detach() of it"
        )

    def test_what_it_keeps_does_not_grow(self) -> None:
        """In attributes and state there are as many numbers after twice as many steps in a task.

        So a long run needs no more memory than a short one. Keep a sum or the last value in place
        of a list; past examples are in a `Memory`, which has a size.
        """
        learner = self.learner(CPU)
        steps, sizes = self.steps_until_full(learner), list[int]()
        for done in (0, steps):
            _train(learner, steps, done)
            sizes.append(sum(each.numel() for each in self._kept(learner).values()))
        assert sizes[1] <= sizes[0], (
            f"it keeps {sizes[0]} numbers after {steps} steps, {sizes[1]} after {2 * steps}"
        )

    def steps_until_full(self, learner: Learner) -> int:  # noqa: ARG002
        """Return after how many steps it keeps all that it will ever keep in a task."""
        return 12

    def _kept(self, learner: Learner) -> dict[str, Tensor]:
        model = learner.model
        others = *model.modules(), *model.parameters(), *model.buffers()
        kept = kept_by(getattr(learner, self.kind), others)
        return {at: it for at, it in kept.items() if "_losses[" not in at}  # since the last look


def kept_by(owner: object, others: Iterable[object] = ()) -> dict[str, Tensor]:
    """Return the tensors that attributes of an object lead to, each by its place.

    Args:
        owner: The object.
        others: What is left out, with what it leads to.
    """
    found, seen = dict[str, Tensor](), {id(each) for each in others}
    todo: list[tuple[str, Any]] = [("", owner)]
    for place, value in todo:  # which grows meanwhile
        if id(value) in seen or isinstance(value, _CLOSED):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            found[place] = value
        elif isinstance(value, Mapping):
            names = (k if isinstance(k, str | int) else n for n, k in enumerate(value))
            todo += [(f"{place}[{k!r}]", v) for k, v in zip(names, value.values(), strict=True)]
        elif isinstance(value, list | tuple | set | frozenset | deque):
            todo += [(f"{place}[{number}]", each) for number, each in enumerate(value)]
        else:
            attributes = getattr(value, "__dict__", {})
            todo += [(f"{place}.{name}".lstrip("."), v) for name, v in attributes.items()]
    return found


def _has_graph(tensor: Tensor) -> bool:
    """Return whether a tensor was computed; a view of a parameter was not."""
    base = tensor._base
    return tensor.grad_fn is not None and not (base is not None and base.is_leaf)


def _train(learner: Learner, steps: int, done: int = 0) -> None:
    model, rule, optimizer = learner.model, learner.rule, learner.optimizer
    toy.train(model, rule, optimizer, toy.make_task(), steps=steps, done=done)
