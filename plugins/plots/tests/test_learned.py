"""Pictures of what a network learned: they show what the model and its weight draws predict."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="plots need matplotlib")
pytest.importorskip("bnnlab_bayesbinn", reason="these runs have a posterior")
pytest.importorskip("bnnlab_tables", reason="these runs learn tables")

import bnnlab
from bnnlab import UsageError
from bnnlab.cli import main
from bnnlab.engine.loading import reopen
from bnnlab.interfaces.prediction import Prediction
from bnnlab_plots import plot_band, plot_regions
from bnnlab_plots.landscape import landscape

SMALL: dict[str, Any] = {
    "rule": "bp",
    "model": {"name": "mlp", "hidden": [8], "activation": "tanh", "norm": "none", "bias": True},
    "optimizer": {"name": "bayesbinn", "test_draws": 4},
    "epochs": 3,
    "batch_size": 50,
    "device": "cpu",
}
Arrays = dict[str, Any]


def run(out: Path, **changed: Any) -> Path:
    bnnlab.run(**{**SMALL, **changed}, out=out, name="run")
    return out / "run"


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("moons"), stream="two-moons")


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("curve"), stream="snelson-like")


def outputs(folder: Path, x: Any) -> list[Any]:
    """Return the outputs at inputs (..., F), in float64: by the deployed weights and each draw."""
    made = reopen(folder)
    deployed = arrays(bnnlab.load(folder))
    drawn = [arrays(made.model) for _ in made.optimizer.predictive(4)]
    train = made.tasks[0].train
    assert train.mean is not None
    assert train.std is not None
    x = (x - train.mean.double().numpy()) / train.std.double().numpy()
    return [forward(its, x) for its in (deployed, *drawn)]


def arrays(model: torch.nn.Module) -> Arrays:
    return {key: value.double().numpy().copy() for key, value in model.state_dict().items()}


def forward(its: Arrays, h: Any) -> Any:
    """Return W h / sqrt(inputs) + b, and the same of its tanh."""
    matrices = [each for each in its.values() if each.ndim == 2]
    biases = [value for key, value in its.items() if key.endswith("bias")]
    assert len(matrices) == len(biases) == 2
    for number, (w, b) in enumerate(zip(matrices, biases, strict=True)):
        h = (np.tanh(h) if number else h) @ w.T / w.shape[1] ** 0.5 + b
    return h


def softmax(z: Any) -> Any:
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def bits(p: Any) -> Any:
    return -(p * np.log2(p)).sum(-1)


def test_regions_are_those_of_the_weights_and_of_the_mean_of_their_draws(moons: Path) -> None:
    found = landscape(moons, 2, Prediction, {})
    x = np.stack(np.meshgrid(*found.sides), -1)
    deployed, *drawn = map(softmax, outputs(moons, x))
    assert len(drawn) == 4
    assert not np.allclose(drawn[0], drawn[1])
    mean = np.mean(drawn, 0)
    for view, expected in zip(found.views, (deployed, mean), strict=True):
        shown = view.grid.probabilities.view(201, 201, 2).numpy()
        np.testing.assert_allclose(shown, expected, atol=1e-5)
    figure = plot_regions(moons)
    first, second, third = figure.axes[:3]
    for which, (axes, p) in enumerate(((first, deployed), (second, mean))):
        blue, orange = axes.images[0].get_array()[..., 2], axes.images[0].get_array()[..., 0]
        is_second = p[..., 1] > 0.501
        assert (orange >= blue)[is_second].all()
        assert (blue >= orange)[p[..., 1] < 0.499].all()
        border = axes.collections[0].get_paths()[0].vertices
        one, *others = [softmax(z)[:, 1] for z in outputs(moons, border)]
        at = np.mean(others, 0) if which else one
        np.testing.assert_allclose(at, 0.5, atol=0.02)
    disagreement = bits(mean) - np.mean([bits(each) for each in drawn], 0)
    np.testing.assert_allclose(third.images[0].get_array(), disagreement, atol=1e-4)


def test_the_points_and_the_score_are_those_of_the_run(moons: Path) -> None:
    figure = plot_regions(moons)
    train = reopen(moons).tasks[0].train
    for axes in figure.axes[:3]:
        for number, line in enumerate(axes.lines):
            own = train.pixels[train.rows][train.labels[train.rows] == number]
            np.testing.assert_array_equal(np.array(line.get_data()).T, own)
        low, high = axes.get_xlim()
        assert low < float(train.pixels[:, 0].min()) - 1
        assert high > float(train.pixels[:, 0].max()) + 1
    result = json.loads((moons / "result.json").read_text())
    accuracy = 100 * result["accuracy"][0][0]
    assert f"mean of 4 weight draws\ntest accuracy {accuracy:.1f} %" == figure.axes[1].get_title()
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == ["upper", "lower"]
    assert "before they are normalised" in legend.get_title().get_text()


def test_the_band_is_the_deviation_of_the_weight_draws(curve: Path) -> None:
    (axes,) = plot_band(curve).axes
    x = axes.lines[0].get_xdata()
    deployed, *drawn = [each[:, 0] for each in outputs(curve, np.array(x)[:, None])]
    mean, deviation = np.mean(drawn, 0), np.std(drawn, 0)
    assert deviation.max() > 0.05
    for line, expected in zip(axes.lines, (mean, deployed), strict=False):
        np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-5)
    for times, band in zip((2, 1), axes.collections, strict=True):
        ends = band.get_paths()[0].vertices
        for number in (0, 60, 200):
            at = ends[np.isclose(ends[:, 0], x[number])][:, 1]
            expected = [mean[number] + side * times * deviation[number] for side in (-1, 1)]
            assert [at.min(), at.max()] == pytest.approx(expected, abs=1e-4)
        assert band.get_label().startswith(f"\u00b1 {times} standard deviation")
    train = reopen(curve).tasks[0].train
    np.testing.assert_array_equal(axes.lines[2].get_xdata(), train.pixels[train.rows][:, 0])
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), train.labels[train.rows][:, 0])


def test_only_the_picture_is_new_in_the_folder(moons: Path, curve: Path) -> None:
    def content(folder: Path) -> dict[str, str]:
        files = (each for each in folder.rglob("*") if each.is_file())
        return {str(it): hashlib.sha256(it.read_bytes()).hexdigest() for it in files}

    for kind, folder in (("regions", moons), ("band", curve)):
        before = content(folder)
        assert main(["plot", kind, str(folder)]) == 0
        after = content(folder)
        assert after.pop(str(folder / f"{kind}.png"))
        assert after == before


def test_without_a_posterior_there_is_one_panel_also_of_objects_and_more_classes(
    tmp_path: Path,
) -> None:
    x = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.3).long()
    stream = bnnlab.stream_from((x, y), test=0.2)
    folder = run(tmp_path, stream=stream, optimizer="adam")
    with pytest.raises(UsageError, match="stream: it had an object"):
        plot_regions(folder)
    figure = plot_regions(folder, stream=stream)
    panel, bar = figure.axes
    assert panel.get_title().startswith("deployed weights\n")
    assert bar.get_ylabel() == "probability of the predicted class"
    assert len(panel.lines) == 3
    assert "1,000 of 1,200 training points are shown" in figure.get_suptitle()


def test_of_real_numbers_without_a_posterior_there_is_a_line_per_number(tmp_path: Path) -> None:
    x = torch.linspace(0, 1, 60)[:, None]
    stream = bnnlab.stream_from((x, torch.cat([x.sin(), x.cos()], 1)), test=0.2)
    figure = plot_band(run(tmp_path, stream=stream, optimizer="adam"), stream=stream)
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert not any(axes.collections for axes in figure.axes)
    assert figure.axes[1].get_ylabel() == "target 2"


def test_what_cannot_be_drawn_is_said(tmp_path: Path, moons: Path, curve: Path) -> None:
    with pytest.raises(UsageError, match=r"shape \(2,\).* bnn plot regions draws"):
        plot_band(moons)
    with pytest.raises(UsageError, match=r"targets that are real numbers: .* bnn plot band"):
        plot_regions(curve)
    digits = run(tmp_path, stream={"name": "permuted-digits", "tasks": 1}, epochs=1)
    with pytest.raises(UsageError, match=r"shape \(1, 8, 8\)"):
        plot_regions(digits)
    with pytest.raises(UsageError, match=r"is no run's folder"):
        plot_regions(tmp_path)
    (digits / "result.json").unlink()
    with pytest.raises(UsageError, match=r"has not ended: go on with it by bnn run --resume"):
        plot_regions(digits)


def test_a_run_without_its_checkpoint_or_of_other_data_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path, stream="two-moons", epochs=1)
    file = folder / "run.toml"
    file.write_text(file.read_text().replace("noise = 0.1", "noise = 0.2"))
    with pytest.raises(UsageError, match="does not go with its checkpoint"):
        plot_regions(folder)
    (folder / "checkpoint" / "state.pt").unlink()
    with pytest.raises(UsageError, match=r"state\.pt is missing\. To go on with the run"):
        plot_regions(folder)
