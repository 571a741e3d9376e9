"""Streams whose targets are no class per input, and models for them; a plugin with all of them."""

from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab import (
    BinaryLinear,
    ClassPerPosition,
    Examples,
    Model,
    Objective,
    RealNumbers,
    Sign,
    Task,
    TaskStream,
)
from bnnlab.interfaces.objectives import IGNORED
from bnnlab.seeds import generator, permutation

PLUGIN = """
from bnnlab import Component, Kind, hookimpl


def made(kind, name, target, **more):
    return Component(kind, name, f"objective_streams:{target}", "A thing.", "Nobody, 2020", **more)


@hookimpl
def bnnlab_components():
    return [
        made(Kind.STREAM, "sine", "Sine", requires={"any-loss"}),
        made(Kind.STREAM, "sine-undeclared", "Sine"),
        made(Kind.STREAM, "disease", "Diabetes", requires={"any-loss"}),
        made(Kind.STREAM, "words", "Words", provides=frozenset({"token-ids"}),
            requires={"any-loss", "token-inputs"}),
        made(Kind.MODEL, "words-alone", "WordNet", provides={"binary-weights", "token-inputs"},
            requires=frozenset({"token-ids"})),
        made(Kind.STREAM, "words-undeclared", "Words"),
        made(Kind.MODEL, "word-net", "WordNet", provides={"binary-weights", "token-inputs"}),
        made(Kind.MODEL, "heads", "Heads", provides={"binary-weights"}),
    ]
"""


class Made(TaskStream):
    """Tasks of inputs and targets that a derived class makes; three quarters are learned from."""

    objective: Objective
    count = 1

    def __init__(self, *, data: object, device: torch.device, seed: int) -> None:
        self.parts = [self.make(index) for index in range(self.count)]

    def make(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of a task."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Task:
        inputs, labels = self.parts[index]
        rows = permutation(len(inputs), 0, "split", index)
        cut = 3 * len(rows) // 4
        train, test = (Examples(inputs, labels, part) for part in (rows[:cut], rows[cut:]))
        held = Examples(inputs, labels, train.rows[: cut // 10])
        train = Examples(inputs, labels, train.rows[cut // 10 :])
        return Task(index, f"part {index + 1}", train, test, held, objective=self.objective)

    def protocol(self) -> dict[str, Any]:
        content = [each.numpy().tobytes() for part in self.parts for each in part]
        return {"data": sha256(b"".join(content)).hexdigest()[:16], "tasks": len(self)}


class Sine(Made):
    """The sine and its slope, of another range of angles in each task."""

    input_shape, classes, count = (1,), 2, 2
    objective = RealNumbers()

    def make(self, index: int) -> tuple[Tensor, Tensor]:
        x = 3 * torch.rand(80, 1, generator=generator(index, "angles")) + 3 * index
        return x, torch.cat([x.sin(), x.cos()], 1)


class Diabetes(Made):
    """Disease progression from ten measurements of 442 patients, in standard deviations."""

    input_shape, classes = (10,), 1
    objective = RealNumbers()

    def make(self, index: int) -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_diabetes

        given = load_diabetes(return_X_y=True, scaled=False)
        x, y = (torch.from_numpy(each).float() for each in given)
        return (x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std())[:, None]


class Words(Made):
    """Sequences of five token ids; the class of each is its remainder, but of the first."""

    input_shape, tokens, classes, count = (5,), 7, 3, 2
    objective = ClassPerPosition()

    def make(self, index: int) -> tuple[Tensor, Tensor]:
        ids = torch.randint(0, 7, (80, 5), generator=generator(index, "words"))
        labels = (ids + index) % 3
        labels[:, 0] = IGNORED
        return ids, labels


class First(nn.Module):
    """The first position."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, T, D)` to `(B, D)`."""
        return x[:, 0]


class WordNet(Model):
    """An embedding and two binary layers, at each position.

    Args:
        pooled: Whether there is one output, that of the first position.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        tokens: int,
        generator: torch.Generator,
        pooled: bool = False,
    ) -> None:
        table = torch.randn(tokens, 8, generator=generator)
        first = nn.Embedding(tokens, 8, _weight=table)
        hidden = BinaryLinear(8, 16, True, generator=generator)
        last = BinaryLinear(16, classes, True, "learned", generator)
        output = nn.Sequential(First(), last) if pooled else last
        super().__init__([nn.Sequential(first, hidden, Sign()), output], input_shape, tokens)


class Head(nn.Module):
    """An output layer for each of the tasks, which chooses one of them."""

    def __init__(self, tasks: int, *sizes: int, generator: torch.Generator) -> None:
        super().__init__()
        layers = (BinaryLinear(*sizes, True, generator=generator) for _ in range(tasks))
        self.layers, self.task = nn.ModuleList(layers), 0

    def select_task(self, task: int) -> None:
        """Choose the layer of a task."""
        self.task = task

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the chosen task."""
        y: Tensor = self.layers[self.task](x)
        return y


class Heads(Model):
    """A binary layer that tasks share, and an output layer for each of five."""

    def __init__(
        self, *, input_shape: tuple[int, ...], classes: int, generator: torch.Generator
    ) -> None:
        first = BinaryLinear(torch.Size(input_shape).numel(), 32, generator=generator)
        shared = nn.Sequential(nn.Flatten(), first, Sign())
        super().__init__([shared, Head(5, 32, classes, generator=generator)], input_shape)
