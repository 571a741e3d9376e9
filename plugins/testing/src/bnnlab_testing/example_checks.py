"""What a stream's examples owe: shapes, labels, and test data that is never learned from."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine import building
from bnnlab.engine.copies import Hasher, look_for_copies
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.registry.components import Kind
from bnnlab.settings.run import Choice
from bnnlab.storage.log import hear
from bnnlab_testing.device_checks import CPU, DeviceChecks


class ExampleChecks(DeviceChecks):
    """The part of `StreamContract` that is about examples, and how to make the stream.

    Attributes:
        data: The data folder, for a stream that needs one; that of `bnn run` by default.
    """

    kind = Kind.STREAM
    given = frozenset({"data", "device", "seed"})
    data: str | None = None

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
        for _, _, part in parts_of(self.make(seed)):
            first = torch.arange(min(3, len(part)))
            found += [*part.raw(first), part.batch(first, draws(seed))[0], part.rows]
            if part.permutation is not None:
                found.append(part.permutation)
        return found

    def make_step(self, device: torch.device) -> Callable[[], object]:
        """Return what looks up a batch to train on."""
        train = self.make(device=device)[0].train
        return lambda: next(train.batches(2, generator=draws(0)))

    def work_on(self, device: torch.device) -> None:
        """Have on a device the data that there are on the CPU, and classes to choose among."""
        here, there = self.make(), self.make(device=device)
        for (_, name, part), (task, _, other) in zip(parts_of(here), parts_of(there), strict=True):
            first = torch.arange(min(3, len(part)))
            for one, two in zip(part.batch(first), other.batch(first), strict=True):
                assert two.device == device, f"{name}: the data are on {two.device}"
                assert torch.equal(one, two.cpu()), f"{name}: the data differ from the CPU's"
            _, targets = next(other.batches(2, torch.arange(len(other)), draws(0)))
            outputs = torch.zeros(outputs_for(there, task, targets), device=device)
            assert task.loss(outputs, targets).device == device

    def test_batches_have_the_conventional_shapes(self) -> None:
        """Inputs are finite float32 (B, *input_shape); int64 if the stream has `tokens`."""
        stream = self.make()
        kind = torch.float32 if stream.tokens is None else torch.int64
        for _, name, part in parts_of(stream):
            count = min(2, len(part))
            inputs, _ = part.batch(torch.arange(count), draws(0))
            assert inputs.shape == (count, *stream.input_shape), f"{name}: {inputs.shape}"
            assert inputs.dtype == kind, f"{name}: inputs are {inputs.dtype}"
            assert bool(inputs.isfinite().all()), f"{name}: inputs are not finite"

    def test_no_example_is_in_two_parts_of_a_task(self) -> None:
        """Training, validation and test are disjoint, and no part repeats an example."""
        for task in self.make():
            seen: dict[int, Tensor] = {}
            for name, part in named_parts(task):
                rows = part.rows
                assert len(torch.unique(rows)) == len(rows), f"{name} holds an example twice"
                data = place(part)
                others = seen.get(data, rows[:0])
                assert not bool(torch.isin(rows, others).any()), f"{name} shares examples"
                seen[data] = torch.cat([others, rows])

    def test_no_test_example_is_learned_from_in_any_task(self) -> None:
        """In no task is a test example trained on or held out, or a held-out example trained on."""
        parts = [
            ((task.train, task.validation, task.test).index(part), name, part, tables(task, part))
            for task, name, part in parts_of(self.make())
        ]
        for use, name, part, its in parts:
            for other_use, other, held, others in parts:
                if use < other_use and its & others:
                    shared = torch.isin(part.rows, held.rows).sum()
                    assert not shared, f"{name} holds {shared} examples of {other}"

    def test_no_copy_of_an_example_is_in_another_part(self) -> None:
        """What is held out is new by its content; a data set with copies says so in `xfail`."""
        tasks = [*self.make()]
        with hear() as said:
            try:
                look_for_copies(tasks, Hasher())
            except ValueError as error:
                raise AssertionError(str(error)) from error
        assert not said, said[0].getMessage()

    def test_only_what_is_trained_on_is_augmented(self) -> None:
        """What is scored or chosen by is shown as it is."""
        changed = [
            name
            for task, name, part in parts_of(self.make())
            if part is not task.train and part.augment
        ]
        assert not changed, f"augmented: {', '.join(changed)}"


def named_parts(task: Task) -> Iterator[tuple[str, Examples]]:
    """Yield the parts of a task, each with what it is called."""
    yield f"train of task {task.index}", task.train
    if task.validation is not None:
        yield f"validation of task {task.index}", task.validation
    yield f"test of task {task.index}", task.test


def parts_of(stream: TaskStream) -> Iterator[tuple[Task, str, Examples]]:
    """Yield every part of every task, with its task and what it is called."""
    for task in stream:
        for name, part in named_parts(task):
            yield task, name, part


def outputs_for(stream: TaskStream, task: Task, targets: Tensor) -> tuple[int, ...]:
    """Return the shape of a model's outputs for the inputs of these targets."""
    shape = task.objective.output_shape(tuple(targets.shape[1:]), stream.classes)
    return len(targets), *shape


def draws(seed: int) -> torch.Generator:
    """Return the generator that augmentation draws from."""
    return seeds.generator(seed, "augmentation")


def place(part: Examples) -> int:
    """Return where the images lie, as far as parts that share them agree on it."""
    return part.pixels.data_ptr() if isinstance(part.pixels, Tensor) else id(part.pixels)


def tables(task: Task, part: Examples) -> set[int]:
    """Return the places of the tables that the rows of a task's part are of.

    Inputs that a task makes anew lie elsewhere. It divides them by the rows of its labels, which
    tasks share, where all its parts are of one table.
    """
    is_divided = place(task.train) == place(task.test)
    return {place(part), *([part.labels.data_ptr()] if is_divided else [])}


def contents(part: Examples, labelled: bool = True) -> list[int]:
    """Return a hash of each example, its label included where it is `labelled`."""
    found = []
    for positions in torch.split(torch.arange(len(part)), 1000):
        images, labels = (each.cpu().numpy() for each in part.raw(positions))
        pairs = zip(images, labels, strict=True)
        found += [
            hash((image.tobytes(), label.tobytes() if labelled else b"")) for image, label in pairs
        ]
    return found
