"""Optimizers with a posterior whose update needs only sums over the weight draws."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from bnnlab.families.posterior import PosteriorOptimizer
from bnnlab.interfaces.draw_by_draw import each_draw
from bnnlab.interfaces.elementwise import CPU_CHUNK
from bnnlab.interfaces.optimizer import Group
from bnnlab.interfaces.rule import Closure


class SummedDraws(PosteriorOptimizer):
    """A posterior optimizer whose update needs only sums over the draws.

    In place of `sample` and `update` it has `draws`, `terms` and `learn`. A network that is large
    on the CPU is then evaluated at one draw after another, in the memory of one.
    """

    @abstractmethod
    def draws(self, group: Group, parameter: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return weight draws, and what `terms` needs of them, both `(count, *parameter.shape)`.

        Args:
            group: The parameter group, with its settings.
            parameter: The learned parameter, key of `self.state`.
            count: The number of draws.
        """

    @abstractmethod
    def terms(self, noise: Tensor, grads: Tensor) -> tuple[Tensor, ...]:
        """Return what is summed over the draws of a parameter, each `(count, *parameter.shape)`.

        They may overwrite `noise`, not `grads`.

        Args:
            noise: What `draws` returned beside the weights.
            grads: Gradient of the batch-mean loss at each of the weights.
        """

    @abstractmethod
    def learn(self, group: Group, parameter: Tensor, sums: Sequence[Tensor], count: int) -> None:
        """Update the posterior of a parameter, and write its deployed weight into it.

        Args:
            group: The parameter group, with its settings.
            parameter: The learned parameter, key of `self.state`.
            sums: The terms, summed over the draws; not to be changed.
            count: The number of draws.
        """

    def sample(self, group: Group, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Return S draws."""
        return self._drawn(group, parameter, self.train_draws)

    def update(
        self,
        group: Group,
        parameter: Tensor,
        weights: Tensor,  # noqa: ARG002
        noise: Tensor,
        grads: Tensor,
    ) -> None:
        """Sum the terms and learn from them."""
        if self.kernels is not None:
            sums = self.kernels.add(self, parameter, noise, grads, is_first=True)
            self.kernels.learn(self, group, parameter, sums)
            return
        terms = self.terms(noise, grads)
        sums = [term[0] if len(term) == 1 else term.sum(0) for term in terms]
        self.learn(group, parameter, sums, len(grads))

    def _drawn(self, group: Group, parameter: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return draws, by the method or by its kernel."""
        if self.kernels is not None:
            return self.kernels.draws(self, group, parameter, count)
        return self.draws(group, parameter, count)

    def _learn_at_draws(
        self, groups: Mapping[Tensor, Group], closure: Callable[[], Tensor]
    ) -> Tensor:
        """Take one draw after another if there are several of a large network on the CPU."""
        size = sum(p.numel() // len(self._members.get(p, " ")) for p in groups)  # of one network
        if self.kernels is not None:
            self.kernels.begin(self)
        on_cpu = all(parameter.device.type == "cpu" for parameter in groups)
        if self.train_draws < 2 or size <= CPU_CHUNK or not on_cpu:
            return super()._learn_at_draws(groups, closure)
        noise: dict[Tensor, Tensor] = {}

        def each() -> Iterator[dict[Tensor, Tensor]]:
            for _ in range(self.train_draws):
                drawn = {p: self._of_members(p, "_drawn", group, 1) for p, group in groups.items()}
                noise.update({p: its for p, (_, its) in drawn.items()})
                yield {p: weights[0] for p, (weights, _) in drawn.items()}

        if isinstance(closure, Closure):
            found = closure.at_each(each())
        else:
            found = each_draw(closure, each(), self._parameters())
        losses = []
        sums: dict[Tensor, list[Tensor]] = {}
        for loss, grads in found:
            losses.append(loss)
            for p in [*grads]:
                self._add(p, noise[p], grads.pop(p)[None], sums)
        for p, its in sums.items():
            if self.kernels is None:
                self.learn(groups[p], p, its, self.train_draws)
            else:
                self.kernels.learn(self, groups[p], p, its)
        return torch.stack(losses).mean()

    def _add(
        self, p: Tensor, noise: Tensor, grads: Tensor, sums: dict[Tensor, list[Tensor]]
    ) -> None:
        """Add the terms of one draw to the sums of a parameter."""
        if self.kernels is not None:
            sums[p] = self.kernels.add(self, p, noise, grads, is_first=p not in sums)
            return
        terms = [term[0] for term in self.terms(noise, grads)]
        if p in sums:
            torch._foreach_add_(sums[p], terms)
            return
        rooms = [self.room(f"sum {i}", p, 1, term.dtype)[0] for i, term in enumerate(terms)]
        sums[p] = [room.copy_(term) for room, term in zip(rooms, terms, strict=True)]
