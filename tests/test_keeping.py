"""Data that several runs load once."""

import gc
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import experiment, found

from bnnlab import PluginHost, RunError, keeping, kept
from bnnlab.interfaces.keeping import forget_unused


class Data:
    """What a loader returns; it can be referred to weakly."""


@kept
def load(*args: Any, **kwargs: Any) -> Data:
    return Data()


def test_outside_nothing_is_kept() -> None:
    assert load(1) is not load(1)
    with keeping():
        held = weakref.ref(load(1))
        assert load(1) is held()
    gc.collect()
    assert held() is None
    assert load.__name__ == "load"


def test_equal_arguments_load_once_and_others_again() -> None:
    @kept
    def other(*_: Any) -> Data:
        return Data()

    with keeping():
        first = load(1, [2, (3,)], size=4, grey=True)
        assert load(1, (2, [3]), grey=True, size=4) is first
        different = [load(1), load(1, [2, (4,)], size=4, grey=True), load(size=4), other(1)]
        assert len({id(each) for each in (first, *different)}) == 5


def test_blocks_within_and_beside_one_another_share() -> None:
    outer, inner = keeping(), keeping()
    with outer:
        first = load(1)
        inner.__enter__()
        assert load(1) is first
    assert load(1) is first  # the inner one goes on
    inner.__exit__(None, None, None)
    assert load(1) is not first


def test_a_block_that_is_never_left_goes_on() -> None:
    keeping().__enter__()
    gc.collect()
    assert load(1) is load(1)
    keeping().__exit__(None, None, None)
    assert load(1) is not load(1)


def test_a_file_that_changed_is_another(tmp_path: Path) -> None:
    file, folder = tmp_path / "data.npy", tmp_path / "folder"
    folder.mkdir()
    with keeping():
        missing = load([file], folder)
        file.write_text("one")
        first = load([file], folder)
        (folder / "more").touch()
        assert load([file], folder) is first
        file.write_text("another")
        longer = load([file], folder)
        os.utime(file, ns=(1, 1))
        later = load([file], folder)
        assert len({id(each) for each in (missing, first, longer, later)}) == 4


def test_what_a_stream_does_not_use_is_let_go_before_the_next_but_one() -> None:
    with keeping():
        used, unused = load("used"), weakref.ref(load("unused"))
        forget_unused()
        assert load("used") is used
        assert unused() is not None
        forget_unused()
        gc.collect()
        assert unused() is None
        assert load("used") is used


def test_a_loader_that_fails_is_asked_again() -> None:
    answers = [OSError("away"), 7]

    @kept
    def read() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with keeping():
        with pytest.raises(OSError, match="away"):
            read()
        assert [read(), read()] == [7, 7]


@dataclass
class Parts:
    images: Any
    names: tuple[str, ...] = ("a", "b")


ZEROS = [
    torch.zeros(3, 4, dtype=torch.bfloat16).T,
    torch.tensor(False),
    np.zeros((2, 3))[:, ::2],
    np.zeros(3, dtype=bool),
]


@pytest.mark.parametrize("zeros", ZEROS)
@pytest.mark.parametrize(
    "inside",
    [lambda it: it, lambda it: [1, (Parts(it), None)], lambda it: {"a": torch.empty(0), "b": it}],
)
def test_what_is_kept_may_be_read_and_not_be_written_to(zeros: Any, inside: Any) -> None:
    value = inside(zeros)

    @kept
    def shared() -> Any:
        return value

    with keeping():
        assert shared() is shared() is value
        zeros[...] = True
        with pytest.raises(RunError, match=r"shared returned.*clone it"):
            shared()
        zeros[...] = False
        assert shared() is value


def test_what_cannot_be_kept_is_refused_also_alone() -> None:
    @kept
    def rows(*_: Any) -> Any:
        return (each for each in range(3))

    with pytest.raises(TypeError, match="rows returns an iterator"):
        rows()
    with pytest.raises(TypeError, match=r"arguments of .*rows, and an argument is a dict"):
        rows({"size": 3})


def test_arguments_of_other_types_are_others() -> None:
    with keeping():
        assert len({id(load(each)) for each in (1, 1.0, True)}) == 3


@pytest.mark.slow
def test_five_seeds_with_kept_data_are_those_without() -> None:
    host = PluginHost()

    def results() -> list[dict[str, Any]]:
        more = {"epochs": 1, "stream": {"validation": 0.2, "augment": "cifar"}}
        made = (experiment(host, None, more, {"seed": seed}) for seed in range(5))
        return [found(each.run()) for each in made]

    alone = results()
    with keeping():
        assert results() == alone
