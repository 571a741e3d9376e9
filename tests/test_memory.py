"""A memory against slow references with the same random numbers; what it keeps; how it is saved."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnnlab.errors import UsageError
from bnnlab.interfaces.batch import Batch, TaskLoss, joined
from bnnlab.interfaces.memory import UNKNOWN, Memory, Past
from bnnlab.interfaces.objectives import RealNumbers


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def memory(size: int, policy: Any = "reservoir", seed: int = 0, **options: Any) -> Memory:
    return Memory(size, generator=generator(seed), policy=policy, **options)


def batch(labels: Sequence[int], first: int = 0, loss: Any = F.cross_entropy) -> Batch:
    """Return examples that are recognised by their inputs: `first`, `first` + 1 and so on."""
    rows = torch.arange(first, first + len(labels), dtype=torch.float32)
    return Batch(rows[:, None].expand(-1, 3), torch.tensor(labels), loss)


def fill(it: Memory, labels: Sequence[int], size: int) -> None:
    for start in range(0, len(labels), size):
        part = labels[start : start + size]
        it.add(batch(part, start), torch.zeros(len(part), 5))


def held(it: Memory) -> list[int]:
    """Return which examples are in which places; -1 where there is none yet."""
    return [
        int(row[0]) if place < len(it) else -1 for place, row in enumerate(it._columns["inputs"])
    ]


# -------------------------------------------------------------------- policies


def uniform(count: int, size: int, columns: tuple[int, ...] = ()) -> np.ndarray:
    """Return the numbers that a memory with seed 0 draws for batches of a size, in float64."""
    own = generator(int(torch.randint(2**62, (), generator=generator(0))))
    sizes = [min(size, count - start) for start in range(0, count, size)]
    drawn = [torch.rand(n, *columns, dtype=torch.float64, generator=own) for n in sizes]
    return torch.cat(drawn).numpy()


def test_a_reservoir_is_vitters_algorithm() -> None:
    """Algorithm R, one example after another: the first fill it; then n takes one of n places."""
    u = uniform(500, 7)
    places = [-1] * 20
    for n in range(1, 501):
        place = n - 1 if n <= 20 else int(np.floor(u[n - 1] * n))
        if place < 20:
            places[place] = n - 1
    it = memory(20)
    fill(it, [0] * 500, 7)
    assert held(it) == places


@pytest.mark.slow
def test_a_reservoir_holds_every_example_with_the_same_probability() -> None:
    """Of 2000 memories of 5 with 20 examples, 500 hold each, give or take 19."""
    found: Counter[int] = Counter()
    for seed in range(2000):
        it = memory(5, seed=seed)
        fill(it, [0] * 20, 6)
        found.update(held(it))
    assert sorted(found) == [*range(20)]
    assert all(abs(count - 500) < 5 * 19 for count in found.values())


IMBALANCED = [*np.random.RandomState(0).choice(4, 600, p=(0.8, 0.15, 0.04, 0.01)).tolist()]


def test_a_balanced_memory_is_that_of_the_paper() -> None:
    """Algorithm 1, written with arrays: whose place is it, and since when."""
    u = uniform(600, 7, (2,))
    x, y, since = np.full(30, -1), np.full(30, -1), np.full(30, -1)
    full: set[int] = set()
    for i, c in enumerate(IMBALANCED):
        stream = IMBALANCED[: i + 1].count(c)

        def instances(label: int) -> np.ndarray:
            places = np.flatnonzero(y == label)
            return places[np.argsort(since[places])]

        if (y < 0).any():
            place = int(np.argmax(y < 0))
            since[place] = i
        else:
            come = list(dict.fromkeys(IMBALANCED[: i + 1]))
            counts = {label: int((y == label).sum()) for label in come}
            largest = [label for label in come if counts[label] == max(counts.values())]
            full |= {*largest}
            if c not in full:
                of_largest = instances(largest[int(u[i, 0] * len(largest))])
                place = int(of_largest[int(u[i, 1] * len(of_largest))])
                since[place] = i
            elif u[i, 0] < counts[c] / stream:
                place = int(instances(c)[int(u[i, 1] * counts[c])])
            else:
                continue
        x[place], y[place] = i, c
    it = memory(30, "balanced")
    fill(it, IMBALANCED, 7)
    assert held(it) == x.tolist()
    assert it._columns["targets"].tolist() == y.tolist()


def test_in_a_balanced_memory_classes_have_equal_shares_as_far_as_they_have_come() -> None:
    it = memory(30, "balanced")
    fill(it, [0] * 500 + [1] * 50 + [2] * 10 + [3] * 4, 16)
    counts = Counter(it._columns["targets"].tolist())
    assert counts[3] == 4
    assert sorted(counts[label] for label in range(3)) == [8, 9, 9]


def test_more_classes_than_places_are_no_fault() -> None:
    it = memory(2, "balanced")
    fill(it, [0, 1, 2, 3, 0, 1, 2, 3] * 20, 3)
    assert len(it) == 2
    assert len({*it._columns["targets"].tolist()}) == 2


# -------------------------------------------------------------------- what is kept


def test_an_empty_memory_gives_nothing_and_a_full_one_does_not_grow() -> None:
    it = memory(10, logits=True)
    assert it.draw(5, batch([0])) is None
    assert (len(it), it.bytes) == (0, 0)
    fill(it, [0] * 8, 8)
    size = it.bytes
    assert size == 10 * (3 * 4 + 8 + 8 + 5 * 4)
    fill(it, [0] * 1000, 50)
    assert (len(it), it.bytes) == (10, size)


def test_what_is_drawn_are_different_rows_that_belong_together() -> None:
    it = memory(20, logits=True)
    for first in range(0, 60, 6):
        part = batch([n % 4 for n in range(first, first + 6)], first)
        it.add(part, part.inputs[:, :1] * torch.ones(5))
    for count, expected in ((7, 7), (20, 20), (50, 20)):
        past = it.draw(count, batch([0]))
        assert isinstance(past, Past)
        assert past.logits is not None
        found = past.batch.inputs[:, 0]
        assert len({*found.tolist()}) == len(found) == expected
        assert torch.equal(past.batch.targets, found.long() % 4)
        assert torch.equal(past.logits, found[:, None].expand(-1, 5))
    assert memory(20).describe() == {
        "size": 20,
        "policy": "reservoir",
        "keeps": ["inputs", "targets"],
    }
    assert it.describe()["keeps"] == ["inputs", "targets", "logits"]


def test_every_row_keeps_its_task_and_its_mask() -> None:
    masks = [torch.tensor([True, True, False, False]), torch.tensor([False, False, True, True])]
    it = memory(40)
    it.add(batch([0, 3, 1], 0), torch.zeros(3, 4))  # of a loop of one's own: no task, no mask
    for task, mask in enumerate(masks):
        labels = [2 * task, 2 * task + 1] * 3
        it.add(batch(labels, 10 * (task + 1), TaskLoss(mask=mask, tasks=task)), torch.zeros(6, 4))
    own = batch([2, 3], 90, TaskLoss(mask=masks[1], tasks=2))
    past = it.draw(40, own)
    assert past is not None
    both = joined([own, past.batch])
    assert isinstance(both.tasks, torch.Tensor)
    assert both.mask is not None
    for (first, *_), task, mask in zip(both.inputs, both.tasks.tolist(), both.mask, strict=True):
        place = int(first) // 10
        assert task == {0: UNKNOWN, 1: 0, 2: 1, 9: 2}[place]
        assert torch.equal(mask, {0: torch.ones(4).bool(), 1: masks[0]}.get(place, masks[1]))
    assert bool(both.loss(torch.randn(len(both.targets), 4), both.targets).isfinite())


def test_targets_of_any_kind_are_kept_but_not_balanced() -> None:
    rows = Batch(torch.zeros(4, 2), torch.rand(4, 3), TaskLoss(RealNumbers()))
    it = memory(3)
    it.add(rows, torch.zeros(4, 3))
    past = it.draw(2, rows)
    assert past is not None
    assert past.batch.objective == RealNumbers()
    assert past.batch.targets.shape == (2, 3)
    with pytest.raises(UsageError, match="policy=balanced needs one class for each input"):
        memory(3, "balanced").add(rows, torch.zeros(4, 3))


@pytest.mark.parametrize(("size", "policy"), [(0, "reservoir"), (3, "newest")])
def test_a_memory_that_cannot_be_is_refused(size: int, policy: str) -> None:
    with pytest.raises(ValueError, match="a size from 1 on and a policy of reservoir, balanced"):
        memory(size, policy)


# -------------------------------------------------------------------- how it is saved


@pytest.mark.parametrize("policy", ["reservoir", "balanced"])
def test_a_memory_goes_on_from_its_state(policy: str) -> None:
    one, other = memory(30, policy, logits=True), memory(30, policy, seed=5, logits=True)
    fill(one, IMBALANCED[:200], 7)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for it in (one, other):
        fill(it, IMBALANCED[200:], 9)
    assert held(one) == held(other)
    drawn = [it.draw(10, batch([0])) for it in (one, other)]
    assert drawn[0] is not None
    assert drawn[1] is not None
    assert torch.equal(drawn[0].batch.inputs, drawn[1].batch.inputs)
    other.load_state_dict(one.state_dict())
    before = held(other)
    fill(one, IMBALANCED, 10)
    assert held(other) == before, "a loaded state is a copy"


def test_the_state_of_another_memory_is_refused() -> None:
    it = memory(30)
    for other in (memory(20), memory(30, "balanced")):
        with pytest.raises(ValueError, match="a memory of another size or policy saved this state"):
            it.load_state_dict(other.state_dict())
