"""Randomness from one root seed, with constants that must never change."""

import hashlib

import torch

from bnnlab import seeds


def test_permutations_are_the_golden_ones_on_every_machine() -> None:
    assert seeds.permutation(10, 0, "order", 0, 0).tolist() == [4, 1, 8, 6, 9, 5, 0, 7, 2, 3]
    long = seeds.permutation(784, 7, "permutation", 3)
    assert long[:8].tolist() == [515, 302, 703, 732, 98, 633, 522, 381]
    digest = hashlib.sha256(long.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "f754a49211ef3827"


def test_child_seeds_are_the_golden_ones_on_every_machine() -> None:
    assert seeds.child_seed(3, "stream") == 611059872403863543
    assert seeds.child_seed(0, "initialisation") == 7468651415672199707


def test_a_permutation_holds_every_number_once() -> None:
    order = seeds.permutation(1000, 1, "x")
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(1000))


def test_children_differ_by_root_name_and_number() -> None:
    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", "b"), (10, "a")]
    assert len({seeds.child_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= seeds.child_seed(*key) < 2**63 for key in keys)


def test_generators_repeat_and_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    first = torch.rand(4, generator=seeds.generator(0, "x"))
    assert torch.equal(first, torch.rand(4, generator=seeds.generator(0, "x")))
    assert not torch.equal(first, torch.rand(4, generator=seeds.generator(0, "y")))
    assert torch.equal(torch.get_rng_state(), before)
