"""The stream `blended`: when each example is learned, and what it looks like then."""

from typing import Any

import numpy as np
import pytest
import torch

import bnnlab
from bnnlab import TaskStream, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab_rehearsal.blended import Blended, moments


def made(name: str, **options: Any) -> TaskStream:
    return bnnlab.create("stream", name, **options)


def blended(name: str, beta: float = 4.0, passes: int = 1, **options: Any) -> TaskStream:
    return made("blended", base={"name": name, **options}, beta=beta, passes=passes)


def inputs(part: Examples) -> torch.Tensor:
    return part.batch(torch.arange(len(part)))[0].flatten(1)


def test_what_was_done_to_images_is_still_said() -> None:
    permuted, turned = blended("permuted-digits"), blended("rotated-digits", angles=[0, 30])
    assert permuted[0].test.prepared == ("with permuted pixels",)
    by_0, by_30 = (f"turned counter-clockwise by {angle} degrees" for angle in (0, 30))
    assert turned[0].train.prepared == (f"one of: {by_0}; {by_30}",)
    assert turned[1].test.prepared == (by_30,)


def test_the_shares_are_those_of_the_published_formula() -> None:
    """Ramps of 2 / beta around each boundary, flat at both ends, normalised over the tasks."""
    tasks, beta, bins, count = 4, 4.0, 64, 20_000
    times = moments([count] * tasks, beta, 1, seed=3)
    at = (np.arange(tasks * bins) + 0.5) / bins
    for task in range(tasks):
        up = np.clip((at - task) * beta / 2 + 0.5, 0, 1) if task else 1.0
        down = np.clip((task + 1 - at) * beta / 2 + 0.5, 0, 1) if task + 1 < tasks else 1.0
        own = times[task * count : (task + 1) * count]
        found = np.histogram(own, tasks * bins, (0, tasks))[0] / (count / bins)
        assert np.abs(found - up * down).max() < 0.3  # noise of 312 examples per bin
        assert np.abs(found - up * down).mean() < 0.02


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("permuted-digits", {"tasks": 3, "validation": 0.2}),
        ("permuted-digits", {"tasks": 2, "normalise": False}),
        ("split-digits", {}),
        ("rotated-digits", {"angles": [0, 30]}),
        ("sequence", {"datasets": ["digits", "digits"]}),
    ],
)
def test_each_example_is_learned_as_its_own_task_shows_it(
    name: str, options: dict[str, Any], passes: int
) -> None:
    base, stream = made(name, **options), blended(name, passes=passes, **options)
    every = torch.cat([inputs(task.train) for task in base]).repeat(passes, 1)
    learned = torch.cat([inputs(task.train) for task in stream])
    assert sorted(map(tuple, learned.tolist())) == sorted(map(tuple, every.tolist()))
    for task, own in zip(stream, base, strict=True):
        assert len(task.train) == passes * len(own.train)
        assert task.train.in_order
        assert torch.equal(inputs(task.test), inputs(own.test))
        assert (task.validation is None) == (own.validation is None)


def test_the_share_of_the_next_task_rises_within_a_task() -> None:
    """The order within a task is that of time: a run does not shuffle it."""
    (first, second) = blended("split-digits", tasks=2)
    labels = first.train.labels[first.train.rows]
    quarters = [float((part >= 5).float().mean()) for part in labels.tensor_split(4)]
    assert quarters[:3] == [0.0, 0.0, 0.0]  # a quarter of a task lasts until 3/4
    assert 0.15 < quarters[3] < 0.35
    later = second.train.labels[second.train.rows].tensor_split(4)
    assert float((later[0] < 5).float().mean()) > 0.15
    assert all((part >= 5).all() for part in later[1:])


def test_a_run_learns_a_task_in_its_order() -> None:
    seen: list[torch.Tensor] = []

    class Watch(bnnlab.Probe):
        def stepped(self, at: Any, batch: Any, loss: Any, logits: Any) -> None:
            seen.append(batch.targets)

        def measures(self) -> dict[str, float]:
            return {}

    options = {"name": "blended", "base": {"name": "split-digits", "tasks": 2}}
    settings = {"rule": "bp", "optimizer": "adam", "model": {"name": "mlp", "hidden": [8]}}
    bnnlab.run(**settings, stream=options, epochs=1, batch_size=50, probe=[Watch])
    stream = made(**options)
    expected = torch.cat([task.train.labels[task.train.rows] for task in stream])
    assert torch.equal(torch.cat(seen), expected)


def test_tasks_that_are_told_or_augmented_in_another_way_each_are_refused() -> None:
    with pytest.raises(UsageError, match=r"refuses|tells the task"):
        blended("permuted-digits", task_ids=True)
    with pytest.raises(UsageError, match="cannot be blended"):
        blended("permuted-digits", augment="cifar")


def test_methods_that_need_boundaries_are_refused_before_the_run() -> None:
    with pytest.raises(UsageError, match="boundaries"):
        bnnlab.run(rule="bp", optimizer="ewc", stream="blended", epochs=1)


def test_by_hand_it_takes_the_name_of_a_stream() -> None:
    from pathlib import Path

    where = {"data": Path(), "device": torch.device("cpu")}
    assert len(Blended(**where, seed=0, base="split-digits")) == 5
