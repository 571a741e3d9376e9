"""Policies of a memory: which of the examples that come stay, and in which of its places.

`place` returns which places take which rows of a batch, by place. All attributes of a policy are
saved.
"""

from typing import Literal

import torch
from torch import Tensor

Policy = Literal["reservoir", "balanced"]


class Reservoir:
    """Of n examples so far, each is held with probability size / n.

    Source: Vitter, "Random Sampling with a Reservoir", ACM Transactions on Mathematical Software
    11(1), 1985, algorithm R.
    """

    reads_classes = False

    def __init__(self, size: int) -> None:
        self.size, self.held, self.seen = size, 0, 0

    def place(self, targets: Tensor, generator: torch.Generator) -> dict[int, int]:
        """Let example n (from 1) take place n, or one of n places by chance, if there is such."""
        u = torch.rand(len(targets), dtype=torch.float64, generator=generator)
        n = self.seen + 1 + torch.arange(len(targets))
        places = torch.where(n <= self.size, n - 1, (u * n).long()).tolist()
        self.seen += len(targets)
        self.held = min(self.seen, self.size)
        return {place: row for row, place in enumerate(places) if place < self.size}


class Balanced:
    """Every class has an equal share, as far as it has come; within a class it is a reservoir.

    A class is full if it is, or was, the one that has most places. An example of a class that is
    not full takes the place of one of the largest class; one of a full class takes the place of one
    of its own, with probability (places of the class) / (examples of the class so far).

    Source: Chrysakis and Moens, "Online Continual Learning from Imbalanced Data", ICML 2020,
    algorithm 1.
    """

    reads_classes = True

    def __init__(self, size: int) -> None:
        self.size, self.held = size, 0
        self.seen: dict[int, int] = {}
        self.places: dict[int, list[int]] = {}
        self.full: list[int] = []

    def place(self, targets: Tensor, generator: torch.Generator) -> dict[int, int]:
        """Decide for one example after another, each with two random numbers."""
        draws = torch.rand(len(targets), 2, dtype=torch.float64, generator=generator).tolist()
        found = {}
        for row, (label, (u, v)) in enumerate(zip(targets.tolist(), draws, strict=True)):
            place = self._place(label, u, v)
            if place is not None:
                found[place] = row
        return found

    def _place(self, label: int, u: float, v: float) -> int | None:
        self.seen[label] = self.seen.get(label, 0) + 1
        own = self.places.setdefault(label, [])
        if self.held < self.size:
            own.append(self.held)
            self.held += 1
            return own[-1]
        most = max(map(len, self.places.values()))
        largest = [each for each, places in self.places.items() if len(places) == most]
        self.full += [each for each in largest if each not in self.full]
        if label in self.full:
            return own[int(v * len(own))] if u * self.seen[label] < len(own) else None
        given = self.places[largest[int(u * len(largest))]]
        own.append(given.pop(int(v * most)))
        return own[-1]


POLICIES: dict[str, type[Reservoir | Balanced]] = {"reservoir": Reservoir, "balanced": Balanced}
