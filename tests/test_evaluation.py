"""What is predicted for the tasks of a stream, and with which weights and statistics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnnlab import BatchNorm, Model, Optimizer, Sign
from bnnlab.engine import evaluation
from bnnlab.engine.evaluation import Evaluator
from bnnlab.errors import DataError, RunError
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.prediction import Prediction
from bnnlab.interfaces.stream import Task


class Still(Optimizer):
    """Never steps."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        raise AssertionError("an evaluation makes no step")


def part(count: int, seed: int, offset: int = 0) -> Examples:
    g = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 200, (count, 1, 2, 3), generator=g, dtype=torch.uint8) + offset
    labels = torch.randint(0, 4, (count,), generator=g)
    stat = torch.full((1, 1, 1), 50.0)
    return Examples(pixels.to(torch.uint8), labels, torch.arange(count), stat, stat)


def task(index: int = 0, **changes: Any) -> Task:
    return replace(Task(index, f"t{index}", part(90, index), part(53, 10 + index)), **changes)


def model_with(statistics: Any) -> Model:
    model = Model([nn.Flatten(), nn.Linear(6, 8), BatchNorm(8, statistics), nn.Linear(8, 4)])
    g = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=g)
    return model


def scores(model: Model, tasks: list[Task], task_ids: bool = False) -> list[float]:
    predictions = predict(model, Still(model, lr=0.1), tasks, task_ids=task_ids)
    return [prediction.accuracy() for prediction in predictions]


STATISTICS = ["running", "per-task", "recalibrated"]


@pytest.mark.parametrize("statistics", STATISTICS)
def test_accuracy_is_the_share_of_right_answers(statistics: Any) -> None:
    model, one = model_with(statistics), task()
    (accuracy,) = scores(model, [one])
    model.eval()
    inputs, labels = one.test.batch(torch.arange(53))
    right = [int(model(x[None]).argmax()) == int(y) for x, y in zip(inputs, labels, strict=True)]
    assert accuracy == sum(right) / 53


@pytest.mark.parametrize("statistics", STATISTICS)
def test_accuracy_depends_neither_on_batch_size_nor_on_order(
    statistics: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = scores(model_with(statistics), [task()])
    for size in (1, 7, 52, 53):
        monkeypatch.setattr(evaluation, "EVALUATION_BATCH", size)
        assert scores(model_with(statistics), [task()]) == expected
    one = task()
    shuffled = one.test.rows[torch.randperm(53, generator=torch.Generator().manual_seed(2))]
    other = replace(one, test=replace(one.test, rows=shuffled))
    assert scores(model_with(statistics), [other]) == expected


@pytest.mark.parametrize("change", ["pixels", "std"])
def test_inputs_that_are_not_finite_are_refused_where_a_layer_hides_them(change: str) -> None:
    one = task(1)
    pixels = one.test.pixels.float()
    pixels[40] = torch.nan
    broken = {"pixels": pixels, "std": torch.zeros(1, 1, 1)}
    bad = task(1, test=replace(one.test, **{change: broken[change]}))
    model = Model([nn.Flatten(), nn.LayerNorm(6), Sign(), nn.Linear(6, 4)])
    for ids in (False, True):
        with pytest.raises(RunError, match=r"test part of task 't1' gives .* not finite"):
            scores(model, [task(), bad], ids)


class Floats(StoredImages):
    """Stored images of floats, one of them broken."""

    shape = (90, 1, 2, 3)

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        for rows in pieces:
            yield torch.where(rows == 70, torch.inf, 1.0)[:, None, None, None].expand(-1, 1, 2, 3)


def test_stored_images_that_are_not_finite_are_refused_when_they_are_read() -> None:
    stored = replace(part(90, 0), pixels=Floats())
    assert len(stored.batch(torch.arange(70))[0]) == 70
    with pytest.raises(DataError, match="not finite: row 70"):
        stored.batch(torch.arange(90))
    with pytest.raises(DataError, match="not finite: row 70"):
        list(stored.batches(8))


def test_evaluating_leaves_the_model_in_training_mode() -> None:
    model = model_with("recalibrated")
    scores(model, [task()])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("task_ids", [False, True])
def test_recalibration_sees_training_images_only(
    task_ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tasks = model_with("recalibrated"), [task(0), task(1)]
    norm = next(m for m in model.modules() if isinstance(m, BatchNorm))
    asked: list[tuple[bool, Examples]] = []
    plain = Examples.batch

    def spy(self: Examples, positions: Tensor) -> tuple[Tensor, Tensor]:
        asked.append((norm.measured is not None, self))
        return plain(self, positions)

    monkeypatch.setattr(Examples, "batch", spy)
    scores(model, tasks, task_ids)
    measured = {id(examples) for measuring, examples in asked if measuring}
    scored = {id(examples) for measuring, examples in asked if not measuring}
    assert measured == {id(t.train) for t in tasks}
    assert scored == {id(t.test) for t in tasks}


def test_with_task_ids_a_task_is_recalibrated_on_its_own_images() -> None:
    tasks = [task(0), replace(task(1), train=part(90, 1, offset=50))]
    together = model_with("recalibrated")
    scores(together, tasks, task_ids=True)
    (norm,) = [m for m in together.modules() if isinstance(m, BatchNorm)]
    for index, each in enumerate(tasks):
        alone = model_with("recalibrated")
        scores(alone, [replace(each, index=0)], task_ids=True)
        (other,) = [m for m in alone.modules() if isinstance(m, BatchNorm)]
        torch.testing.assert_close(norm.mean[index], other.mean[0])


def test_a_task_is_scored_among_its_own_classes_only() -> None:
    model = Model([nn.Flatten(), nn.Linear(6, 4)])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.segments[1].bias.copy_(torch.tensor([9.0, 3.0, 2.0, 1.0]))
    one = task()
    assert scores(model, [one]) == [float((one.test.labels == 0).sum()) / 53]
    told = replace(one, classes=torch.tensor([False, False, True, True]))
    assert scores(model, [told], task_ids=True) == [float((one.test.labels == 2).sum()) / 53]


def predict(
    model: Model, optimizer: Optimizer, tasks: list[Task], **told: bool
) -> list[Prediction]:
    evaluator = Evaluator(model, optimizer, told.get("task_ids", False))
    return [each for group in evaluator.predict(tasks, tasks) for _, each in group]


def test_probabilities_add_up_to_1_over_the_tasks_classes() -> None:
    model = model_with("running").eval()
    told = task(classes=torch.tensor([True, False, True, False]))
    (found,) = predict(model, Still(model, lr=0.1), [told], task_ids=True)
    assert found.probabilities.shape == (53, 4)
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(53))
    assert not found.probabilities[:, [1, 3]].any()
    assert found.entropies.isfinite().all()


@pytest.mark.parametrize("task_ids", [False, True])
def test_tasks_predicted_together_are_those_predicted_alone(task_ids: bool) -> None:
    model, tasks = model_with("running"), [task(0), task(1), task(2)]
    together = predict(model, Still(model, lr=0.1), tasks, task_ids=task_ids)
    for each, own in zip(tasks, together, strict=True):
        (alone,) = predict(model, Still(model, lr=0.1), [each], task_ids=task_ids)
        torch.testing.assert_close(own.probabilities, alone.probabilities)
        assert torch.equal(own.targets, each.test.labels)


def test_a_part_that_tasks_share_is_predicted_once() -> None:
    model, one = model_with("running"), task()
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    first, second = predict(model, Still(model, lr=0.1), [one, replace(one, index=1)])
    assert sum(seen) == 53
    assert first is second


class Drawing(Still):
    """Draws the first layer's weights from the numbers it is given."""

    test_draws = 3

    def __init__(self, model: Model) -> None:
        first = model.get_parameter("segments.1.weight")
        super().__init__(model, lr=0.1, weights=[first])
        self.drawn: list[Tensor] = []

    def draw(self, parameter: Tensor) -> Tensor:
        g = torch.Generator().manual_seed(len(self.drawn))
        self.drawn.append(torch.randn(parameter.shape, generator=g))
        return self.drawn[-1]


def test_weights_are_drawn_once_per_evaluation_and_probabilities_averaged() -> None:
    model, tasks = model_with("running").eval(), [task(0), task(1)]
    before = model.segments[1].weight.detach().clone()
    optimizer = Drawing(model)
    found = predict(model, optimizer, tasks)
    assert len(optimizer.drawn) == 3
    assert torch.equal(model.segments[1].weight, before)
    for each, own in zip(tasks, found, strict=True):
        inputs, _ = each.test.batch(torch.arange(53))
        draws = []
        for weight in optimizer.drawn:
            model.segments[1].weight.data = weight
            draws.append(model(inputs).detach().softmax(-1))
        model.segments[1].weight.data = before
        p = torch.stack(draws)
        torch.testing.assert_close(own.probabilities, p.mean(0))
        torch.testing.assert_close(own.entropies, -(p * p.log2()).sum(-1).mean(0))
        wanted = p.mean(0)[torch.arange(53), own.targets].log()
        torch.testing.assert_close(own.log_likelihoods, wanted)


class Seeded(Still):
    """Draws the first layer's weights from its generator."""

    test_draws = 2

    def __init__(self, model: Model) -> None:
        first, seed = model.get_parameter("segments.1.weight"), torch.Generator().manual_seed(5)
        super().__init__(model, lr=0.1, weights=[first], generator=seed)
        self.count = 0

    def draw(self, parameter: Tensor) -> Tensor:
        self.count += 1
        return torch.randn(parameter.shape, generator=self.generator(parameter.device))


def test_few_predictions_are_held_and_the_draws_are_the_same_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tasks = model_with("running"), [task(0), task(1), task(2)]
    whole = predict(model, Seeded(model), tasks)
    monkeypatch.setattr("bnnlab.engine.evaluation.HELD_EXAMPLES", 2 * 53)
    optimizer = Seeded(model)
    parted = predict(model, optimizer, tasks)
    assert optimizer.count == 2 * 2
    for one, other in zip(whole, parted, strict=True):
        torch.testing.assert_close(one.probabilities, other.probabilities)
    monkeypatch.setattr("bnnlab.engine.evaluation.HELD_EXAMPLES", 1)
    assert len(predict(model, Seeded(model), tasks)) == 3


def test_a_model_trains_again_once_all_is_predicted() -> None:
    model = model_with("running").train()
    predict(model, Still(model, lr=0.1), [task(0), task(1)])
    assert model.training


def test_an_optimizer_without_a_posterior_draws_nothing() -> None:
    model = model_with("running")
    assert list(Still(model, lr=0.1).predictive(0)) == [None]
    with pytest.raises(Exception, match="Still has no posterior to draw 3 weights from"):
        next(Still(model, lr=0.1).predictive(3))


@pytest.mark.parametrize("room", [0, 6 * 40, 6 * 1000])
def test_inputs_are_prepared_once_for_all_draws_as_far_as_there_is_room(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 40)
    monkeypatch.setattr(evaluation, "HELD_NUMBERS", room)
    model, tasks, asked = model_with("running"), [task(0), task(1)], list[int]()
    plain = Examples.batch

    def spy(self: Examples, positions: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(len(positions))
        return plain(self, positions)

    monkeypatch.setattr(Examples, "batch", spy)
    found = predict(model, Drawing(model), tasks)
    kept = min(room // 6, 106)
    assert sum(asked) == 3 * 106 - 2 * kept
    monkeypatch.setattr(evaluation, "HELD_NUMBERS", 0)
    for mine, its in zip(found, predict(model, Drawing(model), tasks), strict=True):
        assert torch.equal(mine.probabilities, its.probabilities)


def test_in_inference_mode_predictions_are_the_same() -> None:
    model, tasks = model_with("running"), [task(0), task(1)]
    found = predict(model, Drawing(model), tasks)
    with torch.inference_mode():
        others = predict(model, Drawing(model), tasks)
    for mine, its in zip(found, others, strict=True):
        assert torch.equal(mine.probabilities, its.probabilities)


class Halving(nn.Module):
    """Writes into its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5)


def test_inputs_that_a_model_writes_into_are_prepared_anew_for_each_draw() -> None:
    def made() -> Model:
        model = model_with("running")
        return Model([nn.Flatten(), nn.Sequential(Halving(), model.segments[1]), model.segments[3]])

    model = made()
    optimizer = Drawing.__new__(Drawing)
    optimizer.drawn = []
    Still.__init__(optimizer, model, lr=0.1, weights=[model.get_parameter("segments.1.1.weight")])
    (found,) = predict(model, optimizer, [task()])
    inputs, probabilities = task().test.batch(torch.arange(53))[0], torch.zeros(53, 4)
    with torch.no_grad():
        for drawn in optimizer.drawn:
            hidden = nn.functional.linear(0.5 * inputs.flatten(1), drawn)
            hidden = hidden + model.get_parameter("segments.1.1.bias")
            probabilities += model.segments[2](hidden).softmax(-1) / 3
    torch.testing.assert_close(found.probabilities, probabilities)
