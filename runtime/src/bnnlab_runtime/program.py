"""The program of a file: checked from the first step to the last, before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime.errors import BadFile
from bnnlab_runtime.fields import Fields
from bnnlab_runtime.op import Op
from bnnlab_runtime.values import LARGEST, Step, Store, Value

MOST_VARIANTS = 1 << 16


class Task(NamedTuple):
    """A task that a model was trained on.

    Attributes:
        name: For people.
        classes: The numbers of its classes; None for all.
    """

    name: str
    classes: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class StepOf:
    """A step that was checked.

    Attributes:
        name: Of its operation.
        inputs: The numbers of the values that it takes; 0 is the image.
        ops: The operation for each variant, number draw * tasks + task; or a single one for all.
        bytes: What its tensors take in the file, of all variants.
    """

    name: str
    inputs: tuple[int, ...]
    ops: tuple[Op, ...]
    bytes: int

    @property
    def output(self) -> Value:
        """What it gives for one image."""
        return self.ops[0].output

    @property
    def word_operations(self) -> int:
        """How many words of bits it compares for one image."""
        return self.ops[0].word_operations

    @property
    def products(self) -> int:
        """How many real products it makes for one image."""
        return self.ops[0].products


class Program:
    """A program that was checked: none of its steps can fail but for memory.

    Args:
        given: As a file has it.
        tensors: Those of the file.
        known: The operations of a backend, by name.

    Attributes:
        image: The kind and the shape of an image.
        prepared: What is done to images before, in words. If there is something, none is resized.
        outputs: How many numbers the last step gives.
        classes: Their names; None if they have none.
        numbers: Whether the outputs are real numbers, and not classes.
        tasks: The tasks; empty if the model knows none.
        draws: How many networks the file holds.
        steps: The steps.
        run: What is known of the run that it comes from, for people.

    Raises:
        BadFile: If anything in it is wrong.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
        known: Mapping[str, type[Op]],
    ) -> None:
        fields = Fields(given, "the program")
        fields.whole("format", 1, 1)
        self.made_by = fields.text("made_by")
        self.image, self.prepared = _image(Fields(fields.any("input"), "the program's input"))
        self.outputs = fields.whole("outputs", 1)
        self.classes = None if fields.none("classes") else tuple(fields.texts("classes"))
        if self.classes is not None and len(self.classes) != self.outputs:
            fields.refuse(f"{len(self.classes)} names of classes for {self.outputs} outputs")
        self.numbers = fields.choice("objective", ["classes", "numbers"]) == "numbers"
        self.tasks = () if fields.none("tasks") else self._tasks(fields.objects("tasks"))
        self.draws = fields.whole("draws", 1, MOST_VARIANTS)
        store = Store(tensors, self.draws * max(1, len(self.tasks)))
        if store.variants > MOST_VARIANTS:
            fields.refuse(f"{self.draws} draws of {len(self.tasks)} tasks are too many")
        self.steps = _steps(fields.objects("steps"), self.image, store, known)
        self.run = Fields(fields.any("run"), "the program's run").rest()
        fields.done()
        self._check_end(store)

    def variant(self, draw: int, task: int) -> int:
        """Return the number of a variant of the tensors."""
        return draw * max(1, len(self.tasks)) + task

    def prepare(self) -> None:
        """Make what the operations need."""
        for step in self.steps:
            for op in step.ops:
                op.prepare()

    def _tasks(self, given: Sequence[Fields]) -> tuple[Task, ...]:
        found = []
        for fields in given:
            name, classes = fields.text("name"), None
            if not fields.none("classes"):
                numbers = fields.wholes("classes", most=self.outputs - 1)
                classes = np.array(sorted({*numbers}), np.int64)
                if not len(classes) == len(numbers) > 0:
                    fields.refuse("its classes must be different numbers, at least one")
            fields.done()
            found.append(Task(name, classes))
        return tuple(found)

    def _check_end(self, store: Store) -> None:
        last = self.steps[-1].output
        if last != Value("real", (self.outputs,)):
            raise BadFile(f"the last step must give real {self.outputs}, and gives {last}")
        if unused := store.unused():
            raise BadFile(f"no step takes the tensor {unused[0]!r} ({len(unused)} such)")
        if self.draws > 1 and all(len(step.ops) == 1 for step in self.steps):
            raise BadFile(f"{self.draws} draws, and no tensor differs between them")


def _image(fields: Fields) -> tuple[Value, tuple[str, ...]]:
    shape = fields.wholes("shape", 1)
    dtype = fields.choice("dtype", ["uint8", "float32"])
    prepared = tuple(fields.texts("prepared")) if "prepared" in fields else ()
    fields.done()
    image = Value("uint8" if dtype == "uint8" else "float32", shape)
    if len(shape) not in (1, 3) or image.numbers > LARGEST:
        fields.refuse(f"'shape' must be (C, H, W) or (F), of at most {LARGEST} numbers")
    return image, prepared


def _steps(
    given: Sequence[Fields], image: Value, store: Store, known: Mapping[str, type[Op]]
) -> tuple[StepOf, ...]:
    values, steps = [image], []
    for number, fields in enumerate(given, start=1):
        name = fields.choice("op", known)
        raw, where = fields.rest(), f"step {number} ({name})"
        names = _names(raw, where)
        variants = store.variants if any(map(store.varies, names)) else 1
        read = [known[name](Step(raw, where, values, store, each)) for each in range(variants)]
        if any(op.output != read[0].output for op in read):
            raise BadFile(f"{where}: its output has another shape in another variant")
        taken = sum(store.bytes(each) for each in names)
        steps.append(StepOf(name, tuple(raw["inputs"]), tuple(read), taken))
        values.append(read[0].output)
    if not steps:
        raise BadFile("the program has no steps")
    return tuple(steps)


def _names(raw: Mapping[str, Any], where: str) -> list[str]:
    """Return the names of the tensors that a step takes."""
    fields = Fields(raw.get("tensors", {}), f"{where}: 'tensors'")
    return [fields.text(role) for role in fields]
