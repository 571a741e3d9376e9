"""Graphs for other programs compute what the model does, bit for bit where all sums are exact."""

import json
import sys
import warnings
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import (
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    Examples,
    Model,
    RunError,
    Sign,
    Task,
    UsageError,
)
from bnnlab.cli import main
from bnnlab.interfaces.signs import sign
from bnnlab_export import Exported, export

FORMS = ["torch", "onnx", "qonnx"]
BORDERS = torch.tensor([0.0, 1e-42, 1e-38, 0.5, 1.0, 2.0, 3e38, torch.inf])


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    needs(request.param)
    return str(request.param)


def needs(form: str) -> None:
    if form != "torch" and not hasattr(torch.compiler, "is_exporting"):
        pytest.skip("the exporter of torch 2.6 does not know batch normalisation")
    for package in {"torch": (), "onnx": ("onnxscript", "onnxruntime"), "qonnx": ("qonnx",)}[form]:
        pytest.importorskip(package, reason=f"needs {package}: make test-export installs it")


class Images(bnnlab.TaskStream):
    """Images whose inputs are small whole numbers: no sum rounds, and many are 0."""

    classes = 7
    class_names = tuple("abcdefg")
    input_shape = (2, 8, 6)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Task:
        draws = torch.Generator().manual_seed(index)
        pixels = torch.randint(0, 5, (210, *self.input_shape), generator=draws, dtype=torch.uint8)
        mean = torch.full((2, 1, 1), 2.0)
        part = Examples(pixels, torch.arange(210) % 7, torch.arange(210), mean)
        return Task(index, "images", part, part)

    def protocol(self) -> dict[str, Any]:
        return {}


def network(scale: float = 0.25) -> Model:
    """Return a network with signs of exact sums, of +0 and, where the scale is negative, -0.

    -0 is behind a linear layer: ONNX Runtime adds +0 to what convolutions make.
    """
    draws = torch.Generator().manual_seed(0)
    scaled = BinaryLinear(48, 64, scale="learned", generator=draws)
    nn.init.constant_(scaled.scale, scale)
    return Model(
        [
            nn.Sequential(
                BinaryConv2d(2, 8, 3, padding=1, generator=draws),
                BatchNorm(8),
                Sign(),
                BinaryConv2d(8, 8, 3, generator=draws),
                Sign(),
                nn.MaxPool2d(2),
                nn.Flatten(),
            ),
            nn.Sequential(scaled, Sign()),
            BinaryLinear(64, 7, generator=draws),
        ],
        (2, 8, 6),
    )


def outputs_of(form: str, path: Path, images: Tensor) -> np.ndarray:
    """Return what a program other than bnnlab computes."""
    if form == "torch":
        program = torch.export.load(BytesIO(path.read_bytes()))
        return np.asarray(program.module()(images).detach())
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return np.asarray(session.run(None, {"images": images.numpy()})[0])


def zeros(model: Model, inputs: Tensor) -> Counter[str]:
    """Return how many inputs of signs are +0 and -0."""
    found: Counter[str] = Counter()
    for part in model.modules():
        if isinstance(part, Sign):
            part.register_forward_pre_hook(
                lambda _, given: found.update(
                    str(float(each)) for each in given[0][given[0] == 0].flatten()
                )
            )
    model(inputs)
    return found


def test_a_graph_computes_what_the_model_does(form: str, tmp_path: Path) -> None:
    stream, path = Images(), tmp_path / "model"
    found = export(network(), path, stream=stream, to=form)
    assert (found.differing, found.images) == (0, 200 if form == "qonnx" else 210)
    assert (found.bytes, found.layers) == (path.stat().st_size, ())
    if form == "qonnx":  # for 2 weights of convolutions, 2 of linear layers, 3 signs
        assert found.steps["BipolarQuant"] == 7
        assert not {"Clip", "Gemm", "Reciprocal"} & {*found.steps}


def test_a_graph_has_the_signs_of_zeros(form: str, tmp_path: Path) -> None:
    stream, path, model = Images(), tmp_path / "model", network(-0.25).eval()
    if form == "qonnx":  # which has one zero
        with pytest.raises(RunError, match="predictions differ from the model's"):
            export(model, path, stream=stream, to=form)
        return
    export(model, path, stream=stream, to=form)
    part, positions = stream[0].test, torch.arange(9)
    inputs = part.batch(positions)[0]
    with torch.no_grad():
        expected = model(inputs).numpy()
        np.testing.assert_array_equal(outputs_of(form, path, part.raw(positions)[0]), expected)
        assert min(zeros(model, inputs)[each] for each in ("0.0", "-0.0")) > 20


def test_a_graph_of_one_task_has_its_classes_alone(form: str, tmp_path: Path) -> None:
    if form == "qonnx":
        pytest.skip("the graph is that of onnx")
    stream = bnnlab.create("stream", "split-digits", incremental="task")
    model = bnnlab.create(
        "model", "mlp", input_shape=(1, 8, 8), classes=10, norm="batch", statistics="per-task"
    )
    path = tmp_path / "model"
    with pytest.raises(UsageError, match=r"told which of 5 it is: choose one from 0, --task 0"):
        export(model, path, stream=stream, to=form)
    found = export(model, path, stream=stream, to=form, task=1)
    assert (found.tasks, found.images) == (1, len(stream[1].test))
    outputs = outputs_of(form, path, stream[1].test.raw(torch.arange(3))[0])
    assert np.isfinite(outputs[0]).nonzero()[0].tolist() == [2, 3]


def test_a_graph_has_the_permutation(form: str, tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "permuted-digits", tasks=1)
    part = stream[0].test
    model = bnnlab.create("model", "mlp", input_shape=(1, 8, 8), classes=10, norm="batch")
    found = export(model, tmp_path / "model", stream=stream, to=form)
    assert (found.differing, found.prepared) == (0, [])
    if form != "qonnx":
        images = replace(part, permutation=None).raw(torch.arange(9))[0]
        with torch.no_grad():
            expected = model.eval()(part.batch(torch.arange(9))[0]).numpy()
        outputs = outputs_of(form, tmp_path / "model", images)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_wrong_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = bnnlab.create("stream", "digits")
    model = bnnlab.create("model", "mlp", input_shape=(1, 8, 8), classes=10)
    optimizer = bnnlab.create("optimizer", "bayesbinn", model, examples=100)
    refused: dict[str, dict[str, Any]] = {
        "no form 'onx', but bnn, onnx, qonnx, torch. Did you mean 'onnx'": {"to": "onx"},
        "predicts by 3 weight draws": {"to": "torch", "optimizer": optimizer, "draws": 3},
        "task: 1, but the model is not told the task": {"to": "torch", "task": 1},
        "weights_only is for bnn": {"to": "torch", "weights_only": True},
    }
    for why, words in refused.items():
        with pytest.raises(UsageError, match=why):
            export(model, tmp_path / "model", stream=stream, **words)
    tasks = bnnlab.create("stream", "split-digits", incremental="task")
    with pytest.raises(UsageError, match="task: 5 is not in 0 to 4"):
        export(model, None, stream=tasks, task=5)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, sys)
    with pytest.raises(UsageError, match=r"onnx needs onnxscript: .*install 'export\[onnx\]'"):
        export(model, None, stream=stream, to="onnx")
    assert not [*tmp_path.iterdir()]


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_what_torch_cannot_record_is_refused() -> None:
    model = Model([nn.Sequential(BinaryLinear(4, 4), Untraceable(), BinaryLinear(4, 3))], (4,))
    with pytest.raises(UsageError, match="cannot record the model: "):
        export(model, None, to="torch")


def test_only_an_earlier_graph_is_replaced(form: str, tmp_path: Path) -> None:
    if form == "qonnx":
        pytest.skip("its first bytes are those of onnx")
    model = Model([nn.Sequential(BinaryLinear(4, 4), Sign(), BinaryLinear(4, 3))], (4,))
    mine, other = tmp_path / "mine", tmp_path / "other"
    for _ in range(2):
        export(model, mine, to=form)
    other.write_text("bnnlab-export is a plugin")
    with pytest.raises(UsageError, match="is no export of bnnlab"):
        export(model, other, to=form)


def test_torchs_own_exporters_take_a_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="make test-export installs it")
    stream = Images()
    inputs = stream[0].test.batch(torch.arange(9))[0]
    model = network(-0.25).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (inputs,), tmp_path / "model", dynamo=False, input_names=["images"]
        )
    with torch.no_grad():
        outputs = outputs_of("onnx", tmp_path / "model", inputs)
        np.testing.assert_array_equal(outputs, model(inputs).numpy())


def test_exported_signs_are_those_of_the_sign_bit() -> None:
    class Signs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return sign(x)

    x = torch.cat([BORDERS, -BORDERS])
    program = torch.export.export(Signs(), (torch.zeros(len(x)),), strict=False)
    assert "copysign" not in str(program)
    assert torch.equal(program.module()(x), sign(x))


def test_a_runs_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = "run --quiet --epochs 1 --rule bp --optimizer adam --stream digits --set model.hidden=[9]"
    assert main([*run.split(), "--out", str(tmp_path), "--name", "digits"]) == 0
    capsys.readouterr()
    file = tmp_path / "model.pt2"
    words = ["export", str(tmp_path / "digits"), "--to", "torch", "-o", str(file)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = {"bnnlab-run": "", "bnnlab-classes": ""}
    torch.export.load(BytesIO(file.read_bytes()), extra_files=told)
    assert json.loads(told["bnnlab-run"])["name"] == "digits"
    assert json.loads(told["bnnlab-run"])["accuracy"] == found["accuracy"]


# ---------------------------------------------------------------------- models of plugins

MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [70, 70], "norm": "layer"},
    "convnet": {},
    "vgg-binaryconnect": {"width": 0.0625, "activations": "binary"},
    "resnet18": {},
    "mobilenet_v2": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_can_be_exported(name: str, form: str) -> None:
    pytest.importorskip("bnnlab_convnets")
    stream = bnnlab.create("stream", "digits")
    model = bnnlab.create("model", name, input_shape=(1, 8, 8), classes=10, **MODELS[name])
    rule = bnnlab.create("rule", "bp", model)
    optimizer = bnnlab.create("optimizer", "adam", model)
    for batch in [*stream[0].train.batches(100)][:5]:
        optimizer.step(rule.closure(model.train(), batch))
    found: Exported = export(model, None, stream=stream, to=form)
    if name != "mlp":  # numbers that are the mean of their row are signs by rounding
        assert found.differing == 0
