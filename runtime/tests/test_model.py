"""A file is loaded, and predicts."""

import json

import numpy as np
import pytest
from programs import Made, perceptron, write

import bnnlab_runtime
from bnnlab_runtime.bits import unpack
from bnnlab_runtime.errors import BadFile

BACKENDS = ["numpy", "numba"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def images_of(rng, *shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def by_hand(made, images):
    """Return the logits of `perceptron`, in float64 from the unpacked signs."""
    first, t, flip, second, a = made.tensors.values()
    inputs = images[0].size
    w = unpack(np.ascontiguousarray(first.T), inputs) * 2.0 - 1
    hidden = (images.reshape(len(images), -1) @ w.T >= t) ^ unpack(flip, len(t))
    w = unpack(np.ascontiguousarray(second.T), len(t)) * 2.0 - 1
    return (hidden * 2.0 - 1) @ w.T * a


@pytest.mark.parametrize("threads", [1, 2])
def test_a_perceptron_predicts_what_its_weights_say(tmp_path, rng, backend, threads):
    made = perceptron(rng)
    model = bnnlab_runtime.load(made.write(tmp_path / "m.bnn"), backend, threads)
    for batch in (0, 1, 9, 300):
        images = images_of(rng, batch, 1, 5, 7)
        logits = model.logits(images)
        assert logits.dtype == np.float32
        expected = by_hand(made, images) if batch else np.empty((0, 3))
        np.testing.assert_allclose(logits, expected, rtol=1e-6)
        assert (model.predict(images) == expected.argmax(-1)).all()
        assert model.predict(images).dtype == np.int64
        assert (model.predict(images[:, 0]) == expected.argmax(-1)).all(), "(B, H, W)"


def test_large_batches_go_in_pieces(tmp_path, rng, backend, monkeypatch):
    model = bnnlab_runtime.load(perceptron(rng).write(tmp_path / "m.bnn"), backend)
    images = images_of(rng, 50, 1, 5, 7)
    whole = model.logits(images)
    monkeypatch.setattr(model, "_piece", 7)
    assert (model.logits(images) == whole).all()


def ensemble(rng, draws, tasks):
    """Return a program whose first weights differ between draws, its thresholds between tasks."""
    made = perceptron(rng)
    made.program |= {"draws": draws, "tasks": tasks}
    many = max(1, len(tasks or []))
    for name, of in (("0.weight", lambda v: v // many), ("1.t", lambda v: v % many)):
        tensor = made.tensors.pop(name)
        for v in range(draws * many):
            made.tensors[f"{name}@{v}"] = np.roll(tensor, of(v), -1)
    return made


def single(made, variant):
    """Return the program of one variant."""
    alone = Made((1, 5, 7))
    alone.program = made.program | {"draws": 1, "tasks": None}
    names = {name.partition("@")[0]: name for name in made.tensors if "@" not in name}
    names |= {n.partition("@")[0]: n for n in made.tensors if n.endswith(f"@{variant}")}
    alone.tensors = {name: made.tensors[stored] for name, stored in sorted(names.items())}
    return alone


def test_draws_and_tasks_choose_tensors(tmp_path, rng, backend):
    tasks = [{"name": "a", "classes": [0, 2]}, {"name": "b", "classes": None}]
    made = ensemble(rng, 3, tasks)
    model = bnnlab_runtime.load(made.write(tmp_path / "m.bnn"), backend)
    images = images_of(rng, 6, 1, 5, 7)
    for task in (0, 1):
        each = []
        for draw in range(3):
            path = single(made, draw * 2 + task).write(tmp_path / "one.bnn")
            each.append(bnnlab_runtime.load(path, backend).logits(images))
        expected = np.array(each)
        if task == 0:
            expected[..., 1] = -np.inf
        assert (model.logits(images, task) == expected).all()
        p = np.exp(expected.astype(float)) / np.exp(expected.astype(float)).sum(-1, keepdims=True)
        probabilities = model.probabilities(images, task)
        np.testing.assert_allclose(probabilities, p.mean(0), rtol=1e-5, atol=1e-7)
        assert (model.predict(images, task) == probabilities.argmax(-1)).all()
        uncertain = model.uncertainty(images, task)
        entropy = [
            -np.sum(q * np.log2(q, where=q > 0, out=np.zeros_like(q)), -1) for q in [p.mean(0), p]
        ]
        np.testing.assert_allclose(uncertain.total, entropy[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(uncertain.aleatoric, entropy[1].mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(uncertain.epistemic, entropy[0] - entropy[1].mean(0), atol=1e-5)
    assert model.draws == 3
    assert [task.name for task in model.tasks] == ["a", "b"]


def test_a_task_must_be_one_of_the_models(tmp_path, rng):
    tasks = [{"name": "a", "classes": None}, {"name": "b", "classes": None}]
    path = ensemble(rng, 1, tasks).write(tmp_path / "m.bnn")
    model = bnnlab_runtime.load(path, "numpy")
    images = images_of(rng, 1, 1, 5, 7)
    with pytest.raises(ValueError, match="which task"):
        model.predict(images)
    with pytest.raises(ValueError, match="task 2: the model has 2 tasks"):
        model.predict(images, 2)
    alone = bnnlab_runtime.load(perceptron(rng).write(tmp_path / "one.bnn"), "numpy")
    with pytest.raises(ValueError, match="task 1: the model has no tasks"):
        alone.predict(images, 1)


def test_a_regression_predicts_the_mean_of_its_draws(tmp_path, rng, backend):
    made = ensemble(rng, 4, None)
    made.program["objective"] = "numbers"
    model = bnnlab_runtime.load(made.write(tmp_path / "m.bnn"), backend)
    images = images_of(rng, 5, 1, 5, 7)
    predicted = model.predict(images)
    assert predicted.dtype == np.float32
    assert (predicted == model.logits(images).mean(0)).all()
    with pytest.raises(ValueError, match="real numbers"):
        model.probabilities(images)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [(9, 4), (2, 3), (5, 7), (1, 1)])
def test_other_sizes_are_interpolated_as_torch_does(rng, dtype, size):
    torch = pytest.importorskip("torch")
    from bnnlab_runtime.images import as_stored
    from bnnlab_runtime.values import Value

    images = images_of(rng, 3, 2, *size).astype(dtype)
    found = as_stored(images, Value(dtype, (2, 5, 7)))
    assert found.dtype == dtype
    real = torch.from_numpy(images).float()
    wanted = torch.nn.functional.interpolate(real, (5, 7), mode="bilinear", antialias=False).numpy()
    near = 0.502 if dtype == "uint8" else 1e-4
    assert np.abs(found - wanted).max() <= near


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            np.zeros((2, 1, 5, 7)),
            "takes images of uint8, as they are stored, and these are float64",
        ),
        (np.zeros((2, 3, 5, 7), np.uint8), r"\(B, 1, 5, 7\), and these are \(2, 3, 5, 7\)"),
        (np.zeros((5, 7), np.uint8), r"these are \(5, 7\)"),
        (np.zeros((2, 1, 0, 7), np.uint8), r"these are \(2, 1, 0, 7\)"),
        (np.zeros((2, 1, 35), np.uint8), "these are 1 x 35 .* stretch them more than 4 times"),
        (np.zeros((2, 35, 1), np.uint8), "these are 35 x 1 .* stretch them more than 4 times"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, rng, images, said):
    model = bnnlab_runtime.load(perceptron(rng).write(tmp_path / "m.bnn"), "numpy")
    with pytest.raises(ValueError, match=said):
        model.predict(images)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, backend, number):
    made = Made((3,), "float32")
    made.program["outputs"] = 3
    made.add("normalise")
    model = bnnlab_runtime.load(made.write(tmp_path / "m.bnn"), backend)
    images = np.zeros((4, 3), np.float32)
    images[2, 1] = number
    with pytest.raises(ValueError, match=r"must be finite numbers, .* in image 2"):
        model.predict(images)


@pytest.mark.parametrize("first", ["plane_linear", "normalise"])
def test_any_memory_layout_is_taken(tmp_path, rng, backend, first):
    made = perceptron(rng) if first == "plane_linear" else Made((1, 5, 7))
    if first == "normalise":
        made.program["outputs"] = 35
        made.add("normalise")
        made.add("flatten")
    model = bnnlab_runtime.load(made.write(tmp_path / "m.bnn"), backend)
    images = images_of(rng, 9, 1, 5, 7)
    expected = model.logits(images)
    only_read = images.copy()
    only_read.flags.writeable = False
    images.tofile(tmp_path / "images")
    wide = np.repeat(np.repeat(images, 2, 0), 2, 3)
    for other in (
        only_read,
        np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape),
        np.memmap(tmp_path / "images", np.uint8, "r", shape=images.shape),
        np.asfortranarray(images),
        wide[::2, ..., ::2],
    ):
        assert (model.logits(other) == expected).all()
    assert (model.logits(np.broadcast_to(images[:1], images.shape)) == expected[:1]).all()


def test_prepared_images_are_not_resized(tmp_path, rng):
    made = perceptron(rng)
    made.program["input"]["prepared"] = ["turned by 30 degrees", "with a border"]
    model = bnnlab_runtime.load(made.write(tmp_path / "m.bnn"), "numpy")
    assert model.prepared == ("turned by 30 degrees", "with a border")
    assert str(model).startswith("  0 images uint8 1x5x7, turned by 30 degrees, with a border\n")
    assert len(model.predict(images_of(rng, 2, 1, 5, 7))) == 2
    with pytest.raises(ValueError, match="Prepare them as in training: turned by 30 degrees, with"):
        model.predict(images_of(rng, 2, 1, 5, 6))


def test_what_load_is_told_is_checked(tmp_path, rng):
    path = perceptron(rng).write(tmp_path / "m.bnn")
    with pytest.raises(ValueError, match="backend 'torch': choose from numba, numpy"):
        bnnlab_runtime.load(path, "torch")
    with pytest.raises(ValueError, match="threads must be 1 or more"):
        bnnlab_runtime.load(path, threads=0)


def test_a_model_shows_its_steps(tmp_path, rng):
    model = bnnlab_runtime.load(perceptron(rng).write(tmp_path / "m.bnn"), "numpy")
    lines = str(model).splitlines()
    assert lines[0] == "  0 images uint8 1x5x7"
    assert "plane_linear 0" in lines[1]
    assert "sums 70" in lines[1]
    assert lines[1].endswith("560 bytes")
    assert [step.word_operations for step in model.steps] == [8 * 70, 0, 2 * 3, 0]
    assert model.program["steps"][0]["op"] == "plane_linear"


def test_a_file_of_safetensors_is_read(tmp_path, rng):
    save = pytest.importorskip("safetensors.numpy").save_file
    made = perceptron(rng)
    program = json.dumps(made.program)
    mine = bnnlab_runtime.load(write(tmp_path / "m.bnn", program, made.tensors), "numpy")
    from bnnlab_runtime.file import digest

    about = {"format": "bnnlab-1", "program": program, "digest": digest(program, made.tensors)}
    save(made.tensors, tmp_path / "theirs.bnn", about)
    theirs = bnnlab_runtime.load(tmp_path / "theirs.bnn", "numpy")
    images = images_of(rng, 4, 1, 5, 7)
    assert (mine.logits(images) == theirs.logits(images)).all()


def test_a_file_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        bnnlab_runtime.load(tmp_path / "nowhere.bnn")
    assert issubclass(BadFile, ValueError)
