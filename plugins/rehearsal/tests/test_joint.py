"""The stream `joint`: what is joined, what is copied, what is refused."""

from typing import Any

import pytest
import torch

import bnnlab
from bnnlab import TaskStream, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab_rehearsal.joint import Joint


def made(name: str, **options: Any) -> TaskStream:
    return bnnlab.create("stream", name, **options)


def joint(name: str, **options: Any) -> TaskStream:
    return made("joint", base={"name": name, **options})


def shown(part: Examples) -> list[tuple[float, ...]]:
    """Return all inputs with their labels, in an order of their own."""
    inputs, labels = part.batch(torch.arange(len(part)))
    rows = torch.cat([inputs.flatten(1), labels[:, None].float()], 1)
    return sorted(tuple(row) for row in rows.tolist())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("split-digits", {"validation": 0.2}),
        ("chunked-digits", {"tasks": 3}),
        ("permuted-digits", {"tasks": 3, "validation": 0.1}),
        ("sequence", {"datasets": ["digits", "digits"]}),
    ],
)
def test_the_parts_are_those_of_all_tasks(name: str, options: dict[str, Any]) -> None:
    """Tasks that share rows, as chunks their test part, have them once."""
    base, (task,) = made(name, **options), [*joint(name, **options)]
    for part in ("train", "test", "validation"):
        alone = [getattr(each, part) for each in base]
        if alone[0] is None:
            assert getattr(task, part) is None
            continue
        every = [row for each in alone for row in shown(each)]
        expected = sorted({*every}) if name == "chunked-digits" else sorted(every)
        assert shown(getattr(task, part)) == expected


def test_rows_of_one_data_set_are_not_copied() -> None:
    base, (task,) = made("split-digits"), [*joint("split-digits")]
    assert task.train.pixels.shape == base[0].train.pixels.shape
    assert len(task.train) == sum(len(each.train) for each in base)
    assert task.name == "5 tasks of split-digits"


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"name": "permuted-digits", "tasks": 2}, torch.uint8),
        ({"name": "sequence", "datasets": ["digits", "digits"]}, torch.uint8),
    ],
)
def test_inputs_of_no_task_are_of_the_kind_of_the_tasks(
    options: dict[str, Any], dtype: torch.dtype
) -> None:
    stream = joint(**options)
    unknown = stream.out_of_distribution()
    assert unknown is not None
    for part in (unknown, stream[0].train):
        assert part.pixels.dtype == dtype  # type: ignore[union-attr]


def test_tasks_of_several_scales_are_copied_as_the_model_sees_them() -> None:
    """Each row is divided by the deviations of its own task."""

    def part(mean: float) -> Examples:
        pixels = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
        scale = torch.tensor(mean), torch.tensor(2.0)
        return Examples(pixels, torch.arange(3), torch.arange(3), *scale)

    whole = Joint._one(object.__new__(Joint), [part(1.0), part(5.0)])
    expected = torch.cat([each.batch(torch.arange(3))[0] for each in (part(1.0), part(5.0))])
    assert torch.equal(whole.batch(torch.arange(6))[0], expected)
    assert torch.equal(whole.batch(torch.arange(6))[1], torch.arange(3).repeat(2))


def test_what_a_stream_is_for_is_passed_on() -> None:
    base, stream = made("split-digits", unknown="permutation"), joint("split-digits")
    assert (stream.input_shape, stream.classes) == (base.input_shape, base.classes)
    assert stream.protocol() == {"scenario": "joint", "base": base.protocol()}
    assert not stream.gives_task_ids
    with pytest.raises(IndexError):
        stream[1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("split-digits", {"incremental": "task"}, "split-digits tells the task at test"),
        ("permuted-digits", {"task_ids": True}, "permuted-digits tells the task at test"),
        ("permuted-digits", {"augment": "cifar"}, "cannot be joined: their images are augmented"),
    ],
)
def test_what_cannot_be_joined_is_refused_by_name(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=rf"stream\.base: .*{message}"):
        joint(name, **options)
