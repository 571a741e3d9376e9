"""Losses and gradients of the rules against float64 NumPy, with and without weight draws."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bnnlab import BatchNorm, LearningRule, Model, Task, TaskContext
from bnnlab.interfaces.batch import Batch, TaskLoss
from bnnlab_rehearsal.lwf import LearningWithoutForgetting
from bnnlab_rehearsal.replay import AsymmetricReplay, DarkReplay, Replay
from bnnlab_testing import toy

Array = NDArray[np.float64]
FEATURES, CLASSES, ROWS = 5, 6, 8
DRAWS = torch.Generator().manual_seed(0)
HEADS = torch.tensor([[True] * 2 + [False] * 4, [False] * 2 + [True] * 4])


def make_model() -> Model:
    layer = nn.Linear(FEATURES, CLASSES).double()
    model = Model([layer], input_shape=(FEATURES,))
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(1))
        layer.bias.normal_(generator=torch.Generator().manual_seed(2))
    model.classes = CLASSES
    return model


def make_batch(task: int, masked: bool = False) -> Batch:
    """Return examples of the task's classes: 0 and 1, or 2 to 4; class 5 never comes."""
    low, high = ((0, 2), (2, 5))[task]
    inputs = torch.randn(ROWS, FEATURES, generator=DRAWS).double()
    targets = torch.randint(low, high, (ROWS,), generator=DRAWS)
    return Batch(inputs, targets, TaskLoss(mask=HEADS[task] if masked else None, tasks=task))


def lived(rule: LearningRule, masked: bool = False) -> tuple[Model, dict[float, Array]]:
    """Let a rule live through a task and two batches of the next.

    Returns:
        A model; and the logits of every example when it came, by its first number.
    """
    model = make_model()
    rule.attach(model, torch.Generator().manual_seed(3))
    came: dict[float, Array] = {}
    for task in (0, 0, 1, 1):
        batch = make_batch(task, masked)
        closure = rule.closure(model, batch)
        closure()
        assert closure.logits is not None
        came |= {float(x[0]): z for x, z in zip(batch.inputs, closure.logits.numpy(), strict=True)}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(
                    parameter.shape, generator=DRAWS, dtype=torch.float64
                )
    return model, came


def softmax(z: Array, among: Array) -> Array:
    """Return probabilities among some classes; 0 for the others. `among` is bool, as z."""
    e = np.where(among, np.exp(z), 0.0)
    return e / e.sum(-1, keepdims=True)


def cross_entropy(z: Array, y: Array, among: Array) -> tuple[float, Array]:
    """Return the mean and its gradient by z."""
    p, rows = softmax(z, among), np.arange(len(y))
    g = p.copy()
    g[rows, y] -= 1
    return float(-np.log(p[rows, y]).mean()), g / len(y)


class Expected:
    """What a step should do: NumPy on the rows that it learns from."""

    def __init__(self, batch: Batch, came: dict[float, Array], masked: bool) -> None:
        self.x, self.y = batch.inputs.numpy(), batch.targets.numpy()
        self.came = np.array([came.get(row[0], np.zeros(CLASSES)) for row in self.x])
        head = np.where(self.y[:, None] < 2, HEADS[0].numpy(), HEADS[1].numpy())
        self.masks = head if masked else np.ones_like(head)

    def replay(self, z: Array) -> tuple[float, Array]:
        return cross_entropy(z, self.y, self.masks)

    def er_ace(self, z: Array) -> tuple[float, Array]:
        own, seen = np.zeros(CLASSES, bool), np.zeros(CLASSES, bool)
        own[self.y[:ROWS]] = True
        seen[:5] = True
        new = cross_entropy(z[:ROWS], self.y[:ROWS], own & self.masks[:ROWS])
        old = cross_entropy(z[ROWS:], self.y[ROWS:], seen & self.masks[ROWS:])
        return new[0] + old[0], np.concatenate([new[1], old[1]])

    def derpp(self, z: Array, alpha: float = 0.3, beta: float = 0.5) -> tuple[float, Array]:
        end = ROWS + (len(z) - ROWS) // 2
        new = cross_entropy(z[:ROWS], self.y[:ROWS], self.masks[:ROWS])
        apart = z[ROWS:end] - self.came[ROWS:end]
        old = cross_entropy(z[end:], self.y[end:], self.masks[end:])
        loss = new[0] + alpha * float((apart**2).mean()) + beta * old[0]
        return loss, np.concatenate([new[1], alpha * 2 * apart / apart.size, beta * old[1]])


def logits(model: Model, x: Array, weight: Array | None = None) -> Array:
    layer: Any = model.segments[0]
    own = layer.weight.detach().numpy() if weight is None else weight
    return x @ own.T + layer.bias.detach().numpy()


RULES = {"replay": Replay, "er_ace": AsymmetricReplay, "derpp": DarkReplay}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("recalled", [None, 3])
@pytest.mark.parametrize("name", RULES)
def test_a_step_with_past_examples(name: str, recalled: int | None, masked: bool) -> None:
    rule = RULES[name](size=20, recalled=recalled)
    model, came = lived(rule, masked)
    closure = rule.closure(model, make_batch(1, masked))
    past = len(closure.batch.targets) - ROWS
    assert past == (recalled or ROWS) * (2 if name == "derpp" else 1)
    expected = getattr(Expected(closure.batch, came, masked), name)
    x = closure.batch.inputs.numpy()

    loss, g = expected(logits(model, x))
    assert float(closure()) == pytest.approx(loss, rel=1e-12)
    layer: Any = model.segments[0]
    np.testing.assert_allclose(layer.weight.grad, g.T @ x, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(layer.bias.grad, g.sum(0), rtol=1e-9, atol=1e-14)

    weight = layer.weight
    noise = torch.randn(3, *weight.shape, generator=DRAWS, dtype=torch.float64)
    drawn = weight.detach() + noise
    loss_at, grads = closure.at({weight: drawn})
    found = [expected(logits(model, x, w)) for w in drawn.numpy()]
    assert float(loss_at) == pytest.approx(np.mean([each for each, _ in found]), rel=1e-12)
    for grad, (_, g) in zip(grads[weight], found, strict=True):
        np.testing.assert_allclose(grad, g.T @ x, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("recalled", [None, 3])
@pytest.mark.parametrize("name", RULES)
def test_pepita_projects_each_rows_own_error(name: str, recalled: int | None) -> None:
    """However many rows are learned beside it, and in whichever part of the loss it is."""
    rule = RULES[name](size=20, recalled=recalled, base="pepita")
    model, came = lived(rule)
    closure = rule.closure(model, make_batch(1))
    passed: list[Array] = []
    model.segments[0].register_forward_pre_hook(lambda _, given: passed.append(given[0].numpy()))
    closure()
    x, modulated = passed
    _, g = getattr(Expected(closure.batch, came, masked=False), name)(logits(model, x))
    past = (len(x) - ROWS) // 2 if name == "derpp" else len(x) - ROWS
    rows = np.full(len(x), len(x) if name == "replay" else past)
    if name != "replay":
        rows[:ROWS] = ROWS
    e = rows[:, None] * g
    np.testing.assert_allclose(modulated - x, e @ rule.base.F.numpy().T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_lwf_is_taught_by_the_model_before_the_task(temperature: float) -> None:
    rule, lam = LearningWithoutForgetting(strength=0.7, temperature=temperature), 0.7
    model = make_model()
    rule.attach(model, torch.Generator())
    first = make_batch(0)
    loss, _ = cross_entropy(
        logits(model, first.inputs.numpy()), first.targets.numpy(), np.ones((ROWS, CLASSES), bool)
    )
    assert float(rule.closure(model, first)()) == pytest.approx(loss, rel=1e-12)

    data = toy.task_of(torch.zeros(4, FEATURES), torch.tensor([0, 1, 5, 5]))  # it learns two
    rule.task_ended(TaskContext(data, model, rule, ROWS, 1))
    before = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    batch = make_batch(1)
    x, y = batch.inputs.numpy(), batch.targets.numpy()
    old = np.array([True, True, False, False, False, False])

    def expected(z: Array) -> tuple[float, Array]:
        loss, g = cross_entropy(z, y, np.ones_like(z, dtype=bool))
        p, q = (softmax(each / temperature, old) for each in (logits(before, x), z))
        distance = -np.where(old, p * np.log(np.where(old, q, 1)), 0).sum(-1).mean()
        return loss + lam * float(distance), g + lam * (q - p) / (temperature * ROWS)

    closure = rule.closure(model, batch)
    loss, g = expected(logits(model, x))
    assert float(closure()) == pytest.approx(loss, rel=1e-12)
    layer: Any = model.segments[0]
    np.testing.assert_allclose(layer.weight.grad, g.T @ x, rtol=1e-9, atol=1e-14)
    drawn = torch.stack([layer.weight.detach(), 2 * layer.weight.detach()])
    _, grads = closure.at({layer.weight: drawn})
    for grad, w in zip(grads[layer.weight], drawn.numpy(), strict=True):
        np.testing.assert_allclose(grad, expected(logits(model, x, w))[1].T @ x, rtol=1e-9)


def test_lwf_recalibrates_on_images_of_all_classes_however_they_lie() -> None:
    """The mean of variances within classes would be 1, that of all images is 1 + 4^2."""
    norm = BatchNorm(FEATURES, "recalibrated", affine=False)
    model = Model([norm, nn.Linear(FEATURES, 2)], input_shape=(FEATURES,))
    rule = LearningWithoutForgetting()
    rule.attach(model, torch.Generator())
    labels = (torch.arange(2010) >= 1000).long()
    images = torch.randn(2010, FEATURES, generator=DRAWS) + 8 * labels[:, None] - 4
    task = toy.task_of(images, labels, learned=2000)
    rule.task_ended(TaskContext(task, model, rule, ROWS, 1))
    (teacher,) = (each for each in rule.teacher.modules() if isinstance(each, BatchNorm))
    np.testing.assert_allclose(teacher.variance[0], images[:2000].var(0), rtol=0.01)


@pytest.mark.parametrize("draws", [1, 3])
def test_derpp_matches_the_mean_logits_of_the_draws_at_which_examples_came(draws: int) -> None:
    rule, model = DarkReplay(size=20), make_model()
    rule.attach(model, torch.Generator().manual_seed(3))
    layer: Any = model.segments[0]
    noise = torch.randn(draws, *layer.weight.shape, generator=DRAWS, dtype=torch.float64)
    drawn, first = layer.weight.detach() + noise, make_batch(0)
    rule.closure(model, first).at({layer.weight: drawn})
    x = first.inputs.numpy()
    z = np.mean([logits(model, x, weight) for weight in drawn.numpy()], axis=0)
    came = {float(row[0]): each for row, each in zip(x, z, strict=True)}
    closure = rule.closure(model, make_batch(1))
    expected = Expected(closure.batch, came, masked=False)
    found = [
        expected.derpp(logits(model, closure.batch.inputs.numpy(), weight))[0]
        for weight in drawn.numpy()
    ]
    loss, _ = closure.at({layer.weight: drawn})
    assert float(loss) == pytest.approx(np.mean(found), rel=1e-12)


def test_the_tasks_of_a_stream_are_the_ones_that_are_told() -> None:
    """The classes that LwF holds on to are those of the training parts that it was told of."""
    rule = LearningWithoutForgetting()
    model = toy.make_model()
    rule.attach(model, torch.Generator())
    task: Task = toy.make_task()
    rule.task_ended(toy.context(task, model, rule, 1))
    assert rule.old.tolist() == [True] * toy.CLASSES
