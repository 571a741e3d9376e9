"""What a stream owes: tasks whose test data is never learned from, and an honest protocol."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import ClassVar, Literal, get_origin

import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine import building
from bnnlab.engine.learner import Learner
from bnnlab.errors import BnnlabError
from bnnlab.interfaces.stream import Examples, Task, TaskStream
from bnnlab.registry.components import Kind
from bnnlab.settings.config import Choice
from bnnlab_testing import toy
from bnnlab_testing.asserting import assert_close, refused
from bnnlab_testing.device_checks import CPU, DeviceChecks
from bnnlab_testing.lives import assert_goes_on
from bnnlab_testing.varying import other_values


class StreamContract(DeviceChecks):
    """Checks a stream, with data that is here; choose small data by `options`.

    Attributes:
        data: The data folder, for a stream that needs one; that of `bnn run` by default.
    """

    kind = Kind.STREAM
    given = frozenset({"data", "device", "seed"})
    data: ClassVar[str | None] = None

    def make(
        self, seed: int = 0, choice: Choice | None = None, device: torch.device = CPU
    ) -> TaskStream:
        """Make the stream."""
        folder = building.data_folder(self.data)
        choice = self.choice if choice is None else choice
        return building.make_stream(self.host, choice, data=folder, device=device, seed=seed)

    def exercise(self, seed: int = 0) -> list[Tensor]:
        """Take three examples of every part of every task, augmented too, and the order of all."""
        found = []
        for _, _, part in _parts(self.make(seed)):
            first = torch.arange(min(3, len(part)))
            found += [*part.raw(first), part.batch(first, _draws(seed))[0], part.rows]
            if part.permutation is not None:
                found.append(part.permutation)
        return found

    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return what looks up a batch to train on."""
        train = self.make(device=device)[0].train
        return lambda: next(train.batches(2, draws=_draws(0)))

    def work_on(self, device: torch.device) -> None:
        """Have on a device the data that there are on the CPU, and classes to choose among."""
        here, there = self.make(), self.make(device=device)
        for (_, name, part), (task, _, other) in zip(_parts(here), _parts(there), strict=True):
            first = torch.arange(min(3, len(part)))
            for one, two in zip(part.batch(first), other.batch(first), strict=True):
                assert two.device == device, f"{name}: the data are on {two.device}"
                assert torch.equal(one, two.cpu()), f"{name}: the data differ from the CPU's"
            inputs, targets = next(other.batches(2, torch.arange(len(other)), _draws(0)))
            logits = inputs.flatten(1).new_zeros(len(inputs), there.classes)
            assert task.loss(logits, targets).device == device

    def test_tasks_are_numbered_and_end(self) -> None:
        """Tasks 0 to len - 1 have their index and a name; there is none after them."""
        stream = self.make()
        assert len(stream) >= 1, "the stream has no task"
        assert [task.index for task in stream] == list(range(len(stream)))
        assert all(task.name for task in stream), "a task has no name"
        with refused(IndexError, "", f"a task {len(stream)} is given, past the last"):
            stream[len(stream)]

    def test_a_task_is_the_same_at_every_call(self) -> None:
        """Asking again for a task changes nothing: rows, labels, and the first input as shown."""
        stream = self.make()
        for task in stream:
            again = _named(stream[task.index])
            for (name, one), (_, other) in zip(_named(task), again, strict=True):
                looks = [
                    (part.rows, part.labels[part.rows], part.batch(torch.arange(1))[0])
                    for part in (one, other)
                ]
                same = all(map(torch.equal, *looks))
                assert same, f"{name}: asked for again, it is other data"

    def test_batches_have_the_conventional_shapes(self) -> None:
        """Inputs are float32 (B, *input_shape), targets int64 (B,); pixels uint8 or float32."""
        stream = self.make()
        for _, name, part in _parts(stream):
            assert len(part), f"{name} has no example"
            count = min(2, len(part))
            pixels = part.raw(torch.arange(count))[0].dtype
            assert pixels in (torch.uint8, torch.float32), f"{name}: pixels are {pixels}"
            inputs, targets = part.batch(torch.arange(count), _draws(0))
            assert inputs.shape == (count, *stream.input_shape), f"{name}: {inputs.shape}"
            assert inputs.dtype == torch.float32, f"{name}: inputs are {inputs.dtype}"
            assert bool(inputs.isfinite().all()), f"{name}: inputs are not finite"
            assert targets.shape == (count,), f"{name}: targets have shape {targets.shape}"
            assert targets.dtype == torch.int64, f"{name}: targets are {targets.dtype}"

    def test_labels_are_classes(self) -> None:
        """Every label lies in 0..K-1, and among the task's classes if it names some."""
        stream = self.make()
        for task, name, part in _parts(stream):
            labels = part.labels[part.rows]
            assert bool(((labels >= 0) & (labels < stream.classes)).all()), f"{name}: other labels"
            if task.classes is not None:
                assert task.classes.shape == (stream.classes,)
                assert task.classes.dtype == torch.bool, f"classes of task {task.index} are no mask"
                assert bool(task.classes[labels].all()), f"{name}: labels outside task.classes"

    def test_no_example_is_in_two_parts_of_a_task(self) -> None:
        """Training, validation and test are disjoint, and no part repeats an example."""
        for task in self.make():
            seen: dict[int, Tensor] = {}
            for name, part in _named(task):
                rows = part.rows
                assert len(torch.unique(rows)) == len(rows), f"{name} holds an example twice"
                data = _place(part)
                others = seen.get(data, rows[:0])
                assert not bool(torch.isin(rows, others).any()), f"{name} shares examples"
                seen[data] = torch.cat([others, rows])

    def test_no_test_example_is_learned_from_in_any_task(self) -> None:
        """Over the whole stream, what is scored on is never trained on or chosen by."""
        parts = list(_parts(self.make()))
        tested = [part for task, _, part in parts if part is task.test]
        for task, name, part in parts:
            if part is task.test:
                continue
            for test in tested:
                if _place(part) == _place(test):
                    shared = torch.isin(part.rows, test.rows).sum()
                    assert not shared, f"{name} holds {shared} test examples"

    def test_no_test_data_is_a_copy_of_what_is_learned_from(self) -> None:
        """By content, at most half of a task's test examples are learned from: real duplicates."""
        learned: set[int] = set()
        tests = []
        for task, name, part in _parts(self.make()):
            if part is task.test:
                tests.append((name, _contents(part)))
            else:
                learned.update(_contents(part))
        for name, test in tests:
            copies = sum(content in learned for content in test)
            assert copies <= len(test) / 2, f"{name}: {copies} of {len(test)} are learned from"

    def test_the_loss_is_the_mean_of_the_batch(self) -> None:
        """Every example twice has the same loss, a finite scalar that autograd goes through."""
        stream = self.make()
        for task in stream:
            targets = task.train.raw(torch.arange(min(5, len(task.train))))[1]
            size = len(targets), stream.classes
            logits = torch.randn(size, generator=_draws(0)).requires_grad_()
            once = task.loss(logits, targets)
            twice = task.loss(torch.cat([logits, logits]), torch.cat([targets, targets]))
            assert once.shape == (), f"the loss of task {task.index} has shape {tuple(once.shape)}"
            assert bool(once.isfinite()), f"the loss of task {task.index} is not finite"
            assert once.requires_grad, f"the loss of task {task.index} holds no graph"
            message = f"the loss of task {task.index} is no mean: every example twice changes it"
            assert_close([once], [twice], message)

    def test_an_option_that_changes_the_data_changes_the_protocol(self) -> None:
        """Figures on other data must never share a protocol."""
        usual = self.make()
        data, protocol = _data(usual), usual.protocol()
        for option in self.component.options:
            for value in other_values(option, self.choice.options[option.name]):
                try:
                    stream = self.make(0, self.with_options(**{option.name: value}))
                except BnnlabError:
                    continue  # not with the other options, or not with the data that is here
                changes = _data(stream) != data
                assert not changes or stream.protocol() != protocol, (
                    f"{option.name}={value!r} changes the data, but not the protocol"
                )
                if changes and get_origin(option.type) is not Literal:
                    break

    def test_an_interrupted_run_goes_on_bit_for_bit(self) -> None:
        """The trainer is stopped within tasks and between; a stream that is made anew goes on."""

        def make(_: int) -> tuple[Learner, list[Task]]:
            stream = self.make()
            model = toy.make_linear_model(stream.input_shape, stream.classes)
            learner = Learner(model, toy.ToyRule(), toy.make_optimizer(model))
            return learner, [_shortened(task) for task in islice(stream, 2)]

        assert_goes_on(make, task_ids=self.make().gives_task_ids)

    def test_only_what_is_trained_on_is_augmented(self) -> None:
        """What is scored or chosen by is shown as it is."""
        changed = [
            name
            for task, name, part in _parts(self.make())
            if part is not task.train and part.augment
        ]
        assert not changed, f"augmented: {', '.join(changed)}"

    def test_the_protocol_is_data_and_does_not_hold_the_seed(self) -> None:
        """It is JSON, and equal for two seeds: runs that differ in the seed are repetitions."""
        one, other = (
            json.dumps(self.make(seed).protocol(), sort_keys=True, allow_nan=False)
            for seed in (0, 1)
        )
        assert one == other, "the protocol differs with the seed"
        assert json.loads(one), "the protocol is empty"

    def test_the_protocol_names_the_data_by_a_digest(self) -> None:
        """It holds eight hexadecimal digits at least: other data have another protocol."""
        said = json.dumps(self.make().protocol())
        assert re.search(r'"[0-9a-f]{8,}"', said), f"there is no digest of the data in {said}"

    def test_a_run_accepts_its_tasks(self) -> None:
        """They, and inputs of no task, are what the core asks for before it learns anything."""
        stream = self.make()
        tasks = building.make_tasks(self.choice, stream)
        building.make_unknown(self.choice, stream, tasks)

    def test_task_ids_are_given_exactly_where_declared(self) -> None:
        """`gives_task_ids` says what the capability 'task-ids' says, and masks need it."""
        stream = self.make()
        assert stream.gives_task_ids == self.provides("task-ids")
        told = [task.index for task in stream if task.classes is not None]
        assert stream.gives_task_ids or not told, f"tasks {told} have `classes`, but no task ids"


def _named(task: Task) -> Iterator[tuple[str, Examples]]:
    yield f"train of task {task.index}", task.train
    if task.validation is not None:
        yield f"validation of task {task.index}", task.validation
    yield f"test of task {task.index}", task.test


def _parts(stream: TaskStream) -> Iterator[tuple[Task, str, Examples]]:
    for task in stream:
        for name, part in _named(task):
            yield task, name, part


def _shortened(task: Task) -> Task:
    train, test = (replace(part, rows=part.rows[:40]) for part in (task.train, task.test))
    return replace(task, train=train, test=test, validation=None)


def _draws(seed: int) -> torch.Generator:
    return seeds.generator(seed, "augmentation")


def _place(part: Examples) -> int:
    """Return where the images lie, as far as parts that share them agree on it."""
    return part.pixels.data_ptr() if isinstance(part.pixels, Tensor) else id(part.pixels)


def _contents(part: Examples) -> list[int]:
    """Return a hash of each example, its label included."""
    found = []
    for positions in torch.split(torch.arange(len(part)), 1000):
        pixels, labels = part.raw(positions)
        images = pixels.flatten(1).cpu().numpy()
        pairs = zip(images, labels.tolist(), strict=True)
        found += [hash((image.tobytes(), label)) for image, label in pairs]
    return found


def _data(stream: TaskStream) -> list[list[int]]:
    """Return what the first task holds, and what every part, the unknown too, begins with."""
    found = [_contents(part) for _, part in _named(stream[0])]
    for task, _, part in _parts(stream):
        found.append(_beginning(part, _draws(0) if part is task.train else None))
        found += [] if task.classes is None else [task.classes.tolist()]
    unknown = stream.out_of_distribution()
    return found if unknown is None else [*found, _beginning(unknown)]


def _beginning(part: Examples, draws: torch.Generator | None = None) -> list[int]:
    """Return a hash of the first 100 inputs as they are shown, and all labels."""
    inputs, _ = part.batch(torch.arange(min(100, len(part))), draws)
    return [hash(inputs.cpu().numpy().tobytes()), *part.labels[part.rows].tolist()]
