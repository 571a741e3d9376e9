"""What rules and optimizers owe to memory: what is kept is their own, and does not grow."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, product
from logging import Logger
from types import ModuleType
from typing import Any
from unittest.mock import patch

from torch import Tensor

from bnnlab.engine.learner import Learner
from bnnlab.registry.components import Kind
from bnnlab_testing import toy
from bnnlab_testing.asserting import tensors_in
from bnnlab_testing.device_checks import CPU, LearnerChecks

_CLOSED = (type, ModuleType, Logger)
"""Objects whose attributes lead to everything."""
_CORES = re.compile(r"(^|\.)_(losses|watch)\b")
"""What the core keeps in an optimizer until the next look."""
LONGEST = 200
"""Steps within which it may come to keep all that it will ever keep in a task."""


class KeepingChecks(LearnerChecks):
    """The part of the contracts of rules and optimizers that is about what they keep."""

    def test_no_graph_is_kept(self) -> None:
        """After two steps no tensor that it keeps, or its state, has autograd's graph of a step.

        The graph holds all that the step computed, and a sum of losses has the graphs of all steps.
        Keep `.detach()` of it; an optimizer's `step` is under `torch.no_grad()`.
        """
        learner = self.learner(CPU)
        toy.learn(learner, steps=2)
        graphs = [place for place, each in self._kept(learner).items() if _has_graph(each)]
        assert not graphs, (
            f"kept with the graph of a step: {', '.join(graphs[:5])}. Memory grows: keep "
            ".detach() of it"
        )

    def test_what_it_keeps_does_not_grow(self) -> None:
        """In attributes and state there are as many numbers after twice as many steps in a task.

        So a long run needs no more memory than a short one; what is full within 200 steps, as the
        losses of the last hundred, does not grow. Keep a sum or the last value in place of a list;
        past examples are in a `Memory`, which has a size.
        """
        learner = self.learner(CPU)
        steps, size = self.steps_until_full(learner), -1
        toy.learn(learner, steps=steps)
        while (grown := self._numbers(learner)) > size:
            assert size < 0 or steps < LONGEST, (
                f"it keeps {size} numbers after {steps // 2} steps, {grown} after {steps}"
            )
            size = grown
            toy.learn(learner, steps=steps, done=steps)
            steps *= 2

    def test_what_it_keeps_of_weights_is_a_copy(self) -> None:
        """No tensor that it keeps lies in the memory of a weight or of another part of its state.

        What is to be remembered would change as the weight is learned, and what is to follow the
        weight is left behind as the model moves to a device. Keep `.detach().clone()`, for which
        `.detach()` and `.data` do not stand, or the parameter itself.
        """
        with patch.object(self, "make_model", self.twins):
            learner = self.learner(CPU)
        for index in range(2):
            for done in range(2):
                toy.learn(learner, toy.make_task(index), steps=1, done=done, end=done > 0)
                shared = [*self._aliases(learner)]
                assert not shared, f"not copied: {', '.join(shared[:5])}. Keep .detach().clone()"

    def _aliases(self, learner: Learner) -> Iterator[str]:
        """Yield which of the tensors that it keeps lie where others do."""
        parameters = dict(learner.model.named_parameters())
        named = [*parameters.items(), *learner.model.named_buffers()]
        kept = [(at, each) for at, each in self._kept(learner).items() if each.grad_fn is None]
        pairs = [*product(kept, named)]  # a view with a graph follows its weight
        if self.kind is Kind.OPTIMIZER:
            state = learner.optimizer.state
            large = [
                (f"state {at} of {name}", each)
                for name, its in parameters.items()
                for at, each in tensors_in(state.get(its, {})).items()
                if each.shape == its.shape
            ]
            pairs += combinations([*named, *large], 2)
        for (one, its), (other, others) in pairs:
            if overlap(its, others):
                yield f"{one} is the memory of {other}"

    def steps_until_full(self, learner: Learner) -> int:  # noqa: ARG002
        """Return after how many steps it keeps all that it will ever keep in a task."""
        return 12

    def _numbers(self, learner: Learner) -> int:
        """Return how many numbers, and elements of lists and dicts, it keeps."""
        reached = self._reached(learner).values()
        return sum(each.numel() if isinstance(each, Tensor) else len(each) for each in reached)

    def _kept(self, learner: Learner) -> dict[str, Tensor]:
        return {at: it for at, it in self._reached(learner).items() if isinstance(it, Tensor)}

    def _reached(self, learner: Learner) -> dict[str, Any]:
        model = learner.model
        others = *model.modules(), *model.parameters(), *model.buffers()
        reached = _reached_by(getattr(learner, self.kind), others)
        return {at: it for at, it in reached.items() if not _CORES.search(at)}


def kept_by(owner: object, others: Iterable[object] = ()) -> dict[str, Tensor]:
    """Return the tensors that attributes of an object lead to, each by its place.

    Args:
        owner: The object.
        others: What is left out, with what it leads to.
    """
    reached = _reached_by(owner, others)
    return {place: each for place, each in reached.items() if isinstance(each, Tensor)}


def _reached_by(owner: object, others: Iterable[object]) -> dict[str, Any]:
    """Return tensors, lists, sets and dicts that an object leads to, each by its place."""
    found, seen = dict[str, Any](), {id(each) for each in others}
    todo: list[tuple[str, Any]] = [("", owner)]
    for place, value in todo:  # which grows meanwhile
        if id(value) in seen or isinstance(value, _CLOSED):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            found[place] = value
        elif isinstance(value, Mapping):
            found[place] = value
            names = (k if isinstance(k, str | int) else n for n, k in enumerate(value))
            todo += [(f"{place}[{k!r}]", v) for k, v in zip(names, value.values(), strict=True)]
        elif isinstance(value, list | tuple | set | frozenset | deque):
            found[place] = value
            todo += [(f"{place}[{number}]", each) for number, each in enumerate(value)]
        else:
            attributes = getattr(value, "__dict__", {})
            todo += [(f"{place}.{name}".lstrip("."), v) for name, v in attributes.items()]
    return found


def _has_graph(tensor: Tensor) -> bool:
    """Return whether a tensor was computed; a view of a parameter was not."""
    base = tensor._base
    return tensor.grad_fn is not None and not (base is not None and base.is_leaf)


def overlap(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have memory in common."""
    if one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr():
        return False
    (begin, end), (its_begin, its_end) = map(_bytes, (one, other))
    return begin < its_end and its_begin < end


def _bytes(tensor: Tensor) -> tuple[int, int]:
    """Return where a tensor begins in memory, and where it ends."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in pairs) if tensor.numel() else -1
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()
