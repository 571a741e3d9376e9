"""A closure at weight draws, one after another."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from bnnlab.guards.module_state import memory_kept

Found = tuple[Tensor, dict[Tensor, Tensor]]
"""The loss, and the gradients of the drawn parameters."""


def evaluate_draws(
    closure: Callable[[], Tensor], draws: Mapping[Tensor, Tensor], parameters: Iterable[Tensor]
) -> Found:
    """Call a closure at each of S weight draws, as `Closure.at` does; `parameters` are all."""
    return stacked(each_draw(closure, one_by_one(draws), parameters), count_of(draws))


def each_draw(
    closure: Callable[[], Tensor],
    draws: Iterable[Mapping[Tensor, Tensor]],
    parameters: Iterable[Tensor],
) -> Iterator[Found]:
    """Call a closure at one draw after another, as `Closure.at_each`; `parameters` are all."""
    parameters = list(parameters)
    others: list[dict[Tensor, Tensor]] = []
    for drawn in draws:
        others[-1:] = [{p: grad.clone() for p, grad in last.items()} for last in others[-1:]]
        with memory_kept(drawn):
            for parameter, value in drawn.items():
                parameter.data = value
                parameter.grad = None
            loss = closure()
        others.append({p: p.grad for p in parameters if p.grad is not None and p not in drawn})
        yield loss, {p: p.grad for p in drawn if p.grad is not None}
    for parameter in {p: None for each in others for p in each} if len(others) > 1 else ():
        grads = [each[parameter] for each in others if parameter in each]
        parameter.grad = torch.stack(grads).sum(0).div_(len(others))


def one_by_one(draws: Mapping[Tensor, Tensor]) -> Iterator[dict[Tensor, Tensor]]:
    """Return each of S draws, of values `(S, *parameter.shape)`."""
    return ({p: drawn[number] for p, drawn in draws.items()} for number in range(count_of(draws)))


def stacked(found: Iterable[Found], count: int) -> Found:
    """Return the mean loss of S draws, and their gradients as `(S, *parameter.shape)`."""
    losses = []
    grads: dict[Tensor, Tensor] = {}
    for number, (loss, its) in enumerate(found):
        losses.append(loss)
        for parameter, grad in its.items():
            if count == 1:
                grads[parameter] = grad[None]
                continue
            if parameter not in grads:
                grads[parameter] = grad.new_zeros((count, *grad.shape))
            grads[parameter][number] = grad
    return torch.stack(losses).mean(), grads


def count_of(draws: Mapping[Tensor, Tensor]) -> int:
    """Return S."""
    return len(next(iter(draws.values())))
