"""Examples are turned into batches without losing or repeating any."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces import examples as examples_module
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.stream import Task, protocol_hash
from bnnlab_testing import StreamContract
from bnnlab_testing.stream_contract import _data


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
    monkeypatch.setattr(examples_module, "PIECE", piece)
    found = list(part.batches(size, order))
    start = 0
    for inputs, targets in found:
        wanted = part.batch(order[start : start + len(targets)])
        assert torch.equal(inputs, wanted[0])
        assert torch.equal(targets, wanted[1])
        start += len(targets)
    assert start == 25


@pytest.mark.parametrize(("count", "size"), [(0, 3), (7, 3), (20, 6)])
def test_batches_of_some_positions_are_those_and_no_more(count: int, size: int) -> None:
    part = examples(49)
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))[:count]
    found = [inputs for inputs, _ in part.batches(size, order)]
    assert torch.equal(torch.cat([part.batch(order[:0])[0], *found]), part.batch(order)[0])


def add_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    return images + torch.rand(len(images), 1, generator=generator).view(-1, 1, 1, 1)


def test_images_are_augmented_before_all_else_and_only_by_draws() -> None:
    plain = examples(9, torch.tensor([7, 0, 6, 1, 5, 2, 4, 3]))
    part = replace(plain, augment=add_noise)
    at = torch.arange(9)
    images = add_noise(plain.pixels[plain.rows], torch.Generator().manual_seed(3))
    expected = ((images - plain.mean) / plain.std).flatten(1)[:, plain.permutation]
    inputs, targets = part.batch(at, torch.Generator().manual_seed(3))
    assert torch.equal(inputs.flatten(1), expected)
    assert torch.equal(targets, plain.batch(at)[1])
    assert torch.equal(part.batch(at)[0], plain.batch(at)[0])
    assert torch.equal(part.raw(at)[0], plain.raw(at)[0])
    for size in (1, 4):
        draws = torch.Generator().manual_seed(3)
        batches = [inputs for inputs, _ in part.batches(size, generator=draws)]
        assert torch.equal(torch.cat(batches), inputs)


class Shelf(StoredImages):
    """Notes which rows are asked for at a time."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels, self.shape = pixels, pixels.shape
        self.asked: list[list[int]] = []

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        self.asked.append([len(piece) for piece in pieces])
        return (self.pixels[piece] for piece in pieces)


def test_stored_images_give_the_same_batches_and_are_asked_for_in_one_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(examples_module, "PIECE", 8 * 10)
    monkeypatch.setattr(examples_module, "LOOKED_UP_TOGETHER", 7)
    held = examples(25)
    shelf = Shelf(held.pixels)
    read = replace(held, pixels=shelf)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    for one, other in zip(held.batches(4, order), read.batches(4, order), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    for one, other in ((held.raw(order), read.raw(order)), (held.batch(order), read.batch(order))):
        assert torch.equal(one[0], other[0])
    assert shelf.asked == [[8, 8, 9], [7, 7, 7, 4], [7, 7, 7, 4]]


class Augmented(StreamContract):
    """A contract on a stream that is made here."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def make(self, seed: int = 0, choice: object = None) -> list[Task]:
        return [self.task]


class Listed(list[Task]):
    """Tasks, and no inputs of no task."""

    def out_of_distribution(self) -> None:
        return None


def test_the_kit_finds_what_is_scored_and_augmented() -> None:
    plain = examples(9)
    noisy = replace(plain, augment=add_noise)
    Augmented(Task(0, "t", noisy, plain, plain)).test_only_what_is_trained_on_is_augmented()
    for wrong in (Task(0, "t", plain, noisy), Task(0, "t", plain, plain, noisy)):
        with pytest.raises(AssertionError, match=r"augmented: (test|validation) of task 0"):
            Augmented(wrong).test_only_what_is_trained_on_is_augmented()
    assert _data(Listed([Task(0, "t", plain, plain)])) != _data(
        Listed([Task(0, "t", noisy, plain)])
    )
