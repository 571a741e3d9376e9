"""Exports of models of streams: tasks, draws, what is refused, and what is said of a file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnnlab
import bnnlab_runtime
from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, Model, RunError, Sign, UsageError
from bnnlab_export import acceptance, export


def trained(
    stream: Any, steps: int = 3, optimizer: str = "adam", learned: int = 10, **options: Any
) -> Any:
    """Return a small mlp, and its optimizer, after some steps on each of the first tasks."""
    options = {"hidden": [70], **options}
    shape, classes = stream.input_shape, stream.classes
    model = bnnlab.create("model", "mlp", input_shape=shape, classes=classes, **options)
    rule = bnnlab.create("rule", "bp", model)
    about = {"examples": 1000} if optimizer == "bayesbinn" else {}
    made = bnnlab.create("optimizer", optimizer, model, **about)
    for task in [*stream][:learned]:
        if stream.gives_task_ids:
            model.select_task(task.index)
        model.train()
        for x, y in list(task.train.batches(100))[:steps]:
            made.step(rule.closure(model, (x, y)))
    return model, made


def stored(task: Any) -> np.ndarray:
    return task.test.raw(torch.arange(len(task.test)))[0].numpy()


def test_a_task_has_its_statistics_and_its_classes(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "split-digits", incremental="task")
    model, _ = trained(stream, norm="batch", statistics="per-task")
    found = export(model, tmp_path / "model.bnn", stream=stream)
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    assert (found.tasks, found.differing) == (len(stream), 0)
    assert [each.name for each in runtime.tasks] == [task.name for task in stream]
    with torch.no_grad():
        for task in stream:
            model.eval().select_task(task.index)
            inputs = task.test.batch(torch.arange(len(task.test)))[0]
            logits = runtime.logits(stored(task), task=task.index)
            np.testing.assert_allclose(logits, task.mask(model(inputs)), rtol=1e-4, atol=1e-4)
    weights = [name for name in bnnlab_runtime_tensors(tmp_path) if "weight" in name]
    assert not any("@" in name for name in weights)  # only what differs is there for each task


def test_a_task_that_was_not_learned_has_fresh_statistics(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "split-digits", incremental="task")
    options = {"norm": "batch", "statistics": "per-task", "output_norm": True}
    model, _ = trained(stream, learned=2, **options)
    found = export(model, tmp_path / "model.bnn", stream=stream)
    assert (found.tasks, found.differing) == (5, 0)


def bnnlab_runtime_tensors(folder: Path) -> list[str]:
    return [*bnnlab_runtime.file.read(folder / "model.bnn")[1]]


def test_one_task_can_be_exported_alone(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "split-digits", incremental="task")
    model, _ = trained(stream)
    found = export(model, tmp_path / "model.bnn", stream=stream, task=1)
    assert (found.tasks, found.images) == (1, len(stream[1].test))
    assert found.lines()[0].endswith(", 1 task")
    assert [each.name for each in bnnlab_runtime.load(found.path).tasks] == [stream[1].name]


def published(stream: Any) -> np.ndarray:
    """Return the test images as they are before they are permuted."""
    part = replace(stream[0].test, permutation=None)
    return part.raw(torch.arange(len(part)))[0].numpy()


def expected_of(model: Model, task: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(task.test.batch(torch.arange(len(task.test)))[0]).argmax(1)


@pytest.mark.parametrize("options", [{}, {"normalise": False}])
def test_one_permutation_is_in_the_file(options: dict[str, Any], tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "permuted-digits", tasks=1, **options)
    model, _ = trained(stream, norm="batch")
    found = export(model, tmp_path / "model.bnn", stream=stream)
    assert (found.differing, found.prepared, found.steps["permute"]) == (0, [], 1)
    expected = expected_of(model, stream[0])
    for backend in ("numpy", "numba"):
        runtime = bnnlab_runtime.load(tmp_path / "model.bnn", backend)
        assert np.array_equal(runtime.predict(published(stream)), expected)


def test_each_task_that_is_told_has_its_permutation(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "permuted-digits", tasks=3, task_ids=True)
    model, _ = trained(stream, norm="batch", statistics="per-task")
    found = export(model, tmp_path / "model.bnn", stream=stream)
    assert (found.tasks, found.differing, found.prepared) == (3, 0, [])
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    for task in stream:
        model.select_task(task.index)
        predicted = runtime.predict(published(stream), task=task.index)
        assert np.array_equal(predicted, expected_of(model, task))


def test_permutations_of_tasks_that_are_not_told_are_said(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "permuted-digits", tasks=3)
    model, _ = trained(stream)
    found = export(model, tmp_path / "model.bnn", stream=stream)
    assert found.images == sum(len(task.test) for task in stream)
    assert (found.tasks, "permute" in found.steps) == (0, False)
    said = "with the pixels in the order of their task, which the model is not told"
    assert f"it takes images {said}" in "\n".join(found.lines())
    assert said in found.as_dict()["prepared"][0]
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    assert said in runtime.prepared[0]
    assert said in str(runtime)
    assert np.array_equal(runtime.predict(stored(stream[1])), expected_of(model, stream[1]))
    one = export(model, tmp_path / "one.bnn", stream=stream, task=1)
    assert (one.images, one.prepared) == (len(stream[1].test), [])
    runtime = bnnlab_runtime.load(tmp_path / "one.bnn")
    assert np.array_equal(runtime.predict(published(stream)), expected_of(model, stream[1]))


PREPARED: dict[str, tuple[str, dict[str, Any]]] = {
    "with a black border up to 10 x 10 pixels": ("digits", {"side": 10}),
    "of task '30 degrees' turned counter-clockwise by 30 degrees": (
        "rotated-digits",
        {"angles": [0, 30]},
    ),
    "with permuted pixels": ("joint", {"base": "permuted-digits"}),
}


@pytest.mark.parametrize("said", PREPARED)
def test_what_a_stream_does_to_images_is_said(said: str, tmp_path: Path) -> None:
    name, options = PREPARED[said]
    if name == "joint":
        pytest.importorskip("bnnlab_rehearsal")
    stream = bnnlab.create("stream", name, **options)
    found = export(trained(stream)[0], tmp_path / "model.bnn", stream=stream)
    assert said in "; ".join(found.prepared)
    assert f"it takes images {found.prepared[0]}" in "\n".join(found.lines())
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    assert [*runtime.prepared] == found.prepared
    with pytest.raises(ValueError, match="Prepare them as in training: "):
        runtime.predict(np.zeros((2, 1, 9, 9), np.uint8))


def test_a_file_names_the_classes_that_were_learned(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "split-digits", labels=[7, 3], tasks=1)
    export(trained(stream)[0], tmp_path / "model.bnn", stream=stream)
    assert bnnlab_runtime.load(tmp_path / "model.bnn").classes == ("3", "7")


def test_draws_are_an_ensemble(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "digits")
    model, optimizer = trained(stream, optimizer="bayesbinn", norm="batch")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    found = export(model, tmp_path / "model.bnn", stream=stream, optimizer=optimizer, draws=3)
    assert (found.draws, found.differing) == (3, 0)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    inputs = stream[0].test.batch(torch.arange(len(stream[0].test)))[0]
    images = stored(stream[0])
    with torch.no_grad():
        logits = [model.eval()(inputs) for _ in optimizer.predictive(3)]
    np.testing.assert_allclose(runtime.logits(images), torch.stack(logits), rtol=1e-4, atol=1e-4)
    expected = stream[0].objective.predict(
        iter(logits), stream[0].test.labels[stream[0].test.rows], 3
    )
    np.testing.assert_allclose(
        runtime.probabilities(images), expected.probabilities, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        runtime.uncertainty(images).aleatoric, expected.entropies, rtol=1e-3, atol=1e-4
    )
    one = export(model, tmp_path / "mode.bnn", stream=stream, optimizer=optimizer, draws=0)
    assert one.draws == 1
    assert one.bytes < found.bytes


def test_draws_that_are_all_the_same_are_one(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "digits")
    model, optimizer = trained(stream, optimizer="bayesbinn", norm="batch")
    for parameter in optimizer.learned():
        optimizer.state[parameter]["lambda"].fill_(100)
        parameter.data.fill_(1)
    found = export(model, tmp_path / "model.bnn", stream=stream, optimizer=optimizer, draws=3)
    assert (found.draws, found.differing) == (1, 0)


class Twice(bnnlab.Optimizer):
    """Its draws are a weight and its opposite: their mean probabilities are a tie."""

    def step(self, closure: Any) -> Any:
        raise NotImplementedError

    drawn = 0

    def draw(self, parameter: Tensor) -> Tensor:
        self.drawn += len(parameter) == 2  # of the last layer
        return -parameter if len(parameter) == 2 and self.drawn % 2 else parameter.clone()


def test_ties_of_draws_are_broken_alike(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(200, 9, generator=draws)
    stream = bnnlab.stream_from((x, torch.arange(200) % 2), test=0.5)
    weight = torch.randn(1, 70, generator=draws).sign()
    last = BinaryLinear(70, 2)
    last.weight.data.copy_(torch.cat([weight, -weight]))
    model = Model([nn.Sequential(BinaryLinear(9, 70), Sign(), last)], (9,))
    optimizer = Twice(model, lr=0.1)
    found = export(model, tmp_path / "model.bnn", stream=stream, optimizer=optimizer, draws=2)
    assert (found.draws, found.differing) == (2, 0)
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    predicted = runtime.predict(stored(stream[0]))
    assert not predicted.any()  # all are ties, and the first class is taken
    labels = stream[0].test.labels[stream[0].test.rows].numpy()
    assert found.accuracy == (predicted == labels).mean()


def test_more_networks_than_a_file_takes_are_refused_at_once() -> None:
    stream = bnnlab.create("stream", "split-digits", incremental="task")
    model, optimizer = trained(stream, optimizer="bayesbinn", learned=1)
    with pytest.raises(UsageError, match="20,000 weight draws of 5 tasks are more networks than"):
        export(model, None, stream=stream, optimizer=optimizer, draws=20_000)


def test_where_nothing_rounds_no_prediction_may_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = acceptance._predicted

    def with_one_wrong(*given: Any) -> Tensor:
        found = predicted(*given)
        found[0] = (found[0] + 1) % 10
        return found

    monkeypatch.setattr(acceptance, "_predicted", with_one_wrong)
    for normalise, differs in ((False, True), (True, False)):
        stream = bnnlab.create("stream", "digits", normalise=normalise)  # 16 grey values
        model, _ = trained(stream, norm="batch")
        if differs:
            with pytest.raises(RunError, match=r"^1 of 360 predictions differ .* and 0 may"):
                export(model, tmp_path / "model.bnn", stream=stream)
        else:
            assert export(model, tmp_path / "model.bnn", stream=stream).unexplained == 1


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    model = bnnlab.create("model", "mlp", input_shape=(9,), classes=3, hidden=[65, 64])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(RunError, match=r"cannot write a temporary file.*TMPDIR.*No space left"):
            export(model, tmp_path / "model.bnn")
    monkeypatch.setattr("bnnlab_export.exporting.write_atomically", full)
    with pytest.raises(RunError, match=r"cannot write .*model.bnn: No space left"):
        export(model, tmp_path / "model.bnn")


def test_regression_predicts_numbers(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=draws)
    stream = bnnlab.stream_from((x, x[:, :2] ** 2), test=0.2)
    layers = [
        nn.Linear(5, 64),
        Sign(),
        BinaryLinear(64, 64),
        BatchNorm(64),
        Sign(),
        BinaryLinear(64, 2),
    ]
    found = export(Model([nn.Sequential(*layers)], (5,)), tmp_path / "model.bnn", stream=stream)
    assert found.score == "R2"
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    assert runtime.predict(stored(stream[0])).shape == (40, 2)


def test_without_a_stream_it_takes_the_models_own_inputs(tmp_path: Path) -> None:
    model = bnnlab.create("model", "mlp", input_shape=(9,), classes=3, hidden=[65, 66])
    found = export(model, tmp_path / "model.bnn")
    assert (found.images, found.accuracy, found.differing) == (1000, None, 0)
    runtime = bnnlab_runtime.load(tmp_path / "model.bnn")
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        np.testing.assert_allclose(runtime.logits(x.numpy()), model.eval()(x), rtol=1e-4, atol=1e-4)


def test_it_says_what_is_in_the_file(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "digits")
    model, _ = trained(stream, hidden=[128, 64], norm="batch", real_output=True)
    found = export(model, tmp_path / "model.bnn", stream=stream)
    assert found.operations() == {"1 x 8 bits": 64 * 128, "1 bit": 128 * 64, "32 bits": 64 * 10}
    assert found.bytes == (tmp_path / "model.bnn").stat().st_size
    assert found.bytes_unpacked == 4 * (64 * 128 + 128 * 64 + 640 + 2 * (128 + 64))
    said = "\n".join(found.lines())
    assert "stays real: 'segments.2.0' (Linear): its weights are real" in said
    assert f"0 of {found.images} images of the test part differ" in said
    assert said.endswith(f"; accuracy {100 * found.accuracy:.1f} %")
    assert json.loads(json.dumps(found.as_dict()))["steps"] == found.steps
    about = bnnlab_runtime.load(tmp_path / "model.bnn").program
    assert about["run"]["accuracy"] == pytest.approx(found.accuracy)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "split-digits", incremental="task")
    model, _ = trained(stream, norm="batch", statistics="per-task")
    model.train()
    model.select_task(1)
    norm = model.segments[0][2]
    before = (norm.slot, norm.mean.clone())
    export(model, None, stream=stream)
    assert (norm.slot, norm.training) == (before[0], True)
    assert torch.equal(norm.mean, before[1])


# ---------------------------------------------------------------------- what is refused


class Squares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, x, alpha=2)


class Computing(nn.Module):
    """Computes with a tensor of its own."""

    def __init__(self, numbers: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.get_buffer("numbers"))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def sequential(*layers: nn.Module) -> Model:
    return Model([nn.Sequential(BinaryLinear(8, 8), Sign(), *layers, BinaryLinear(8, 3))], (8,))


def hooked() -> Model:
    model = sequential(Sign())
    model.segments[0][1].register_forward_hook(lambda *_: None)
    return model


def inferring() -> Model:
    model = sequential()
    model.inference = lambda model, x: x
    return model


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "square() in 'segments.0.2' cannot be exported": lambda: sequential(Squares()),
    "argument 'alpha', which is not known here": lambda: sequential(Doubling()),
    "'segments.0.2' (Branching) cannot be exported": lambda: sequential(Branching()),
    "elu() in 'segments.0.2' cannot be exported": lambda: sequential(nn.ELU()),
    "sort() in 'segments.0.2' cannot be exported: it is of no known kind": lambda: sequential(
        Computing(torch.ones(8), lambda x, _: x.sort(dim=1)[0])
    ),
    "chunk() in 'segments.0.2' cannot be exported: it is of no known kind": lambda: sequential(
        Computing(torch.ones(8), lambda x, _: torch.cat(x.chunk(2, 1)[::-1], 1))
    ),
    "equal() in 'segments.0.2' cannot be exported: it is of no known kind": lambda: sequential(
        Computing(torch.ones(8), lambda x, ones: x * torch.equal(x, ones))
    ),
    "'segments.0.2' (Linear) cannot be exported: addmm: mat1": lambda: sequential(nn.Linear(7, 8)),
    "it computes with (2, 8) and (2, 8)": lambda: sequential(
        Computing(torch.ones(2, 8), torch.add)
    ),
    "it divides by 0": lambda: sequential(Computing(torch.zeros(8), torch.div)),
    "its min_val is 0": lambda: sequential(nn.Hardtanh(0)),
    "it has hooks, which may do anything": hooked,
    "a rule that set model.inference": inferring,
    "its statistics are recalibrated": lambda: sequential(BatchNorm(8, "recalibrated"), Sign()),
    "it has no binary weights": lambda: Model([nn.Linear(8, 3)], (8,)),
    "no layer has both weights and inputs that are signs": lambda: Model(
        [nn.Sequential(BinaryLinear(8, 8), nn.ReLU(), BinaryLinear(8, 3))], (8,)
    ),
    "the shape of the inputs is not known": lambda: BinaryLinear(8, 3),
}


@pytest.mark.parametrize("ends", [[], [Sign()]], ids=["numbers", "signs"])
def test_layers_may_compute_with_numbers_per_channel(ends: list[nn.Module], tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    numbers = torch.randn(8, generator=draws)
    sides = (8, 9), (9, 8), (8, 3)  # a sum of 9 signs is not 0, so logits differ between classes
    first, then, last = (BinaryLinear(*each, generator=draws) for each in sides)
    functions: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, a: x - a,
        lambda x, a: a[None] - x,
        lambda x, a: x * a,
        lambda x, a: x / (a + 0.1) + a[0],
    ]
    for function in functions:
        layers = first, Sign(), then, Computing(numbers, function), *ends, last
        model = Model([nn.Sequential(*layers)], (8,))
        found = export(model, tmp_path / "model.bnn")
        x = torch.randn(200, 8, generator=draws)
        logits = bnnlab_runtime.load(tmp_path / "model.bnn").logits(x.numpy())
        np.testing.assert_allclose(logits, model(x).detach(), rtol=1e-5, atol=1e-5)
        assert (found.differing, found.steps["threshold"]) == (0, 1 + len(ends))


def test_maps_may_compute_with_numbers_per_channel(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    number, numbers = torch.randn(4, 1, 1, generator=draws), torch.randn(16, generator=draws)
    first, then = (BinaryConv2d(each, 4, 3, generator=draws) for each in (1, 4))
    last = BinaryLinear(16, 3, generator=draws)
    middle = [Computing(number, torch.mul), nn.Flatten(), Computing(numbers, torch.add)]
    model = Model([nn.Sequential(first, Sign(), then, *middle, last)], (1, 6, 6))
    export(model, tmp_path / "model.bnn")
    x = torch.randn(50, 1, 6, 6, generator=draws).sign()
    logits = bnnlab_runtime.load(tmp_path / "model.bnn").logits(x.numpy())
    np.testing.assert_allclose(logits, model(x).detach(), rtol=1e-5, atol=1e-5)
    model.segments[0][3].numbers = torch.arange(4.0).view(2, 2)
    with pytest.raises(UsageError, match="other numbers at other positions"):
        export(model, tmp_path / "model.bnn")


def test_prelu_may_rise_and_fall(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    for channels in (1, 4):
        slopes = torch.randn(channels, generator=draws)
        rows, maps = nn.PReLU(channels), Computing(slopes, nn.functional.prelu)
        rows.weight.data.copy_(slopes)
        first, then = BinaryConv2d(1, 4, 3), BinaryConv2d(4, 4, 4)
        layers = [first, maps, Sign(), then, nn.Flatten(), rows, BinaryLinear(4, 3)]
        model = Model([nn.Sequential(*layers)], (1, 6, 6))
        export(model, tmp_path / "model.bnn")
        x = torch.randn(50, 1, 6, 6, generator=draws).sign()  # so no sum of 9 is 0
        logits = bnnlab_runtime.load(tmp_path / "model.bnn").logits(x.numpy())
        np.testing.assert_allclose(logits, model(x).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("why", REFUSED)
def test_it_is_refused_in_words(why: str, tmp_path: Path) -> None:
    model = REFUSED[why]()
    with pytest.raises(UsageError) as refused:
        export(model, tmp_path / "model.bnn")
    assert why in str(refused.value)
    assert not [*tmp_path.iterdir()]


def test_weights_alone_are_packed_if_asked_for(tmp_path: Path) -> None:
    layers = [BinaryLinear(100, 500), nn.ReLU(), BinaryLinear(500, 3)]
    model = Model([nn.Sequential(*layers)], (100,))
    found = export(model, tmp_path / "model.bnn", weights_only=True)
    assert found.ratio > 15
    assert found.operations() == {"32 bits": 51500}


def test_other_predictions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = acceptance._predicted
    monkeypatch.setattr(acceptance, "_predicted", lambda *given: (predicted(*given) + 1) % 3)
    model = bnnlab.create("model", "mlp", input_shape=(9,), classes=3)
    with pytest.raises(RunError, match="of 1,000 predictions differ from the model's"):
        export(model, tmp_path / "model.bnn")
    assert not [*tmp_path.iterdir()]


def test_where_the_model_rounds_its_prediction_in_float64_counts(tmp_path: Path) -> None:
    model = bnnlab.create("model", "mlp", input_shape=(9,), classes=3, hidden=[65, 64])
    found = export(model, tmp_path / "model.bnn")  # of 64 sums, some are often equal to the mean
    assert found.unexplained == 0


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    model = bnnlab.create("model", "mlp", input_shape=(9,), classes=3, hidden=[65, 64])
    mine, other = tmp_path / "model.bnn", tmp_path / "thesis.pdf"
    export(model, mine)
    export(model, mine)
    other.write_text("years of work")
    for place in (other, tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(UsageError):
            export(model, place)
    assert other.read_text() == "years of work"
