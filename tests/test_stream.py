"""Examples are turned into batches without losing or repeating any."""

import pytest
import torch
import torch.nn.functional as F

from bnnlab import stream
from bnnlab.stream import Examples, Task, protocol_hash


def examples(count: int, permutation: torch.Tensor | None = None) -> Examples:
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50, 2, 2, 2), generator=g, dtype=torch.uint8)
    rows = torch.randperm(50, generator=g)[:count]
    mean, std = torch.tensor([10.0, 20.0]).view(2, 1, 1), torch.tensor([2.0, 4.0]).view(2, 1, 1)
    return Examples(pixels, torch.arange(50) % 5, rows, mean, std, permutation)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 20, 21, 49])
@pytest.mark.parametrize("size", [1, 2, 10, 100])
def test_batches_hold_every_example_once_and_none_is_a_lonely_rest(count: int, size: int) -> None:
    part = examples(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    found = list(part.batches(size, order))
    assert len(found) == part.count_batches(size)
    wanted, labels = part.batch(order)
    assert torch.equal(torch.cat([x for x, _ in found]), wanted)
    assert torch.equal(torch.cat([y for _, y in found]), labels)
    if size > 1 and count > 1:
        assert min(len(y) for _, y in found) > 1


def test_inputs_are_normalised_per_channel() -> None:
    part = examples(7)
    x, y = part.batch(torch.tensor([3, 0]))
    rows = part.rows[[3, 0]]
    raw = part.pixels[rows].double()
    expected = torch.stack([(raw[:, 0] - 10) / 2, (raw[:, 1] - 20) / 4], dim=1)
    assert torch.equal(x, expected.float())
    assert torch.equal(y, rows % 5)


def test_input_i_is_pixel_permutation_i() -> None:
    order = torch.tensor([7, 0, 6, 1, 5, 2, 4, 3])
    plain, permuted = examples(7), examples(7, order)
    at = torch.arange(7)
    assert torch.equal(permuted.raw(at)[0].flatten(1), plain.raw(at)[0].flatten(1)[:, order])


def test_a_task_that_knows_its_classes_learns_and_chooses_among_them() -> None:
    part = examples(4)
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(2))
    targets = torch.tensor([1, 3, 3, 1])
    told = Task(0, "t", part, part, classes=torch.tensor([False, True, False, True, False]))
    among = F.cross_entropy(logits[:, [1, 3]], (targets == 3).long())
    torch.testing.assert_close(told.loss(logits, targets), among)
    assert set(told.mask(logits).argmax(-1).tolist()) <= {1, 3}
    free = Task(0, "t", part, part)
    assert torch.equal(free.mask(logits), logits)
    torch.testing.assert_close(free.loss(logits, targets), F.cross_entropy(logits, targets))


def test_a_protocols_hash_depends_on_content_not_on_order() -> None:
    assert protocol_hash({"a": 1, "b": [2]}) == protocol_hash({"b": [2], "a": 1})
    assert protocol_hash({"a": 1}) != protocol_hash({"a": 2})
    assert protocol_hash({"b": None, "a": 1}) == "46e0ff59f6164548"  # of {"a":1,"b":null}


@pytest.mark.parametrize("piece", [1, 100, 10**9])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_batches_are_the_same_however_much_is_looked_up_at_once(
    piece: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = examples(25)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(stream, "PIECE", piece)
    found = list(part.batches(size, order))
    start = 0
    for inputs, targets in found:
        wanted = part.batch(order[start : start + len(targets)])
        assert torch.equal(inputs, wanted[0])
        assert torch.equal(targets, wanted[1])
        start += len(targets)
    assert start == 25
