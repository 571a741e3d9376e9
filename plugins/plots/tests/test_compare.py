"""The picture of a comparison has the figures of `bnn compare`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

pytest.importorskip("matplotlib", reason="plots need matplotlib")
pytest.importorskip("bnnlab_studies", reason="comparisons need bnnlab-studies")

from bnnlab import UsageError
from bnnlab.cli import main
from bnnlab_plots import plot_compare, save
from bnnlab_studies.study import Study


def cell(folder: Path, level: float, seeds: int = 3, tasks: int = 2, protocol: str = "abc") -> Path:
    for seed in range(seeds):
        place = folder / f"seed{seed}"
        place.mkdir(parents=True)
        accuracy = level + np.random.default_rng([round(10 * level), seed]).uniform(0, 0.1)
        rows = [
            [accuracy if on <= after else None for on in range(tasks)] for after in range(tasks)
        ]
        settings = {"seed": seed, "optimizer": {"name": "acme/adam", "lr": level}}
        result = {
            "status": "complete",
            "accuracy": rows,
            "average_accuracy": accuracy,
            "ticks": 3.0 + accuracy,
            "tasks": [f"task {n}" for n in range(tasks)],
            "protocol": protocol,
            "protocol_description": {"data": protocol},
            "seed": seed,
            "seconds": 1.0,
            "components": {},
        }
        (place / "run.toml").write_text(tomli_w.dumps(settings))
        (place / "result.json").write_text(json.dumps(result))
    return folder


def bnn(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    assert main([*map(str, args)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("measure", ["average_accuracy", "ticks"])
def test_its_figures_are_those_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], measure: str
) -> None:
    cells = [cell(tmp_path / f"c{n}", level) for n, level in enumerate((0.5, 0.6, 0.8))]
    out = bnn(capsys, "compare", *cells, "--measure", measure, "--json")
    comparisons = json.loads(out)["comparisons"]
    curves, values, differences = plot_compare(cells, measure).axes
    scale = 100 if measure == "average_accuracy" else 1
    drawn = [line for line in differences.lines if len(line.get_xdata()) == 2][1:]  # type: ignore[arg-type]
    marks = [line for line in differences.lines if len(line.get_xdata()) == 1]  # type: ignore[arg-type]
    for each, interval, mean in zip(comparisons, drawn, marks, strict=True):
        ends = [scale * each["low"], scale * each["high"]]
        assert list(interval.get_xdata()) == pytest.approx(ends)  # type: ignore[arg-type]
        assert mean.get_xdata()[0] == pytest.approx(scale * each["difference"])  # type: ignore[index]
    said = [each.get_text() for each in differences.texts]
    assert said[0] == "reference"
    table = bnn(capsys, "compare", *cells, "--measure", measure)
    for each, beside in zip(comparisons, said[1:], strict=True):
        assert f"p {each['p_holm']:.3g}" in beside
        size = beside.partition(" (")[0]
        assert size in table
    study = Study.read(tmp_path)
    for summary, curve in zip(study.summary().values(), curves.lines, strict=True):
        last = curve.get_ydata()[-1]  # type: ignore[index]
        assert last == pytest.approx(100 * summary.mean)  # type: ignore[operator]
        band = curves.collections[list(curves.lines).index(curve)].get_paths()[0].vertices
        assert np.min(np.abs(band[:, 1] - 100 * summary.low)) < 1e-9  # type: ignore[index,operator]
    assert [each.get_text() for each in values.get_yticklabels()] == ["c0", "c1", "c2"]


def test_intervals_end_where_no_mean_can_be(tmp_path: Path) -> None:
    cells = [cell(tmp_path / name, level, seeds=2) for name, level in (("a", 0.9), ("b", 0.0))]
    curves, values, _ = plot_compare(cells).axes
    for axes, side in ((curves, 1), (values, 0)):
        lines = [line.get_xydata()[:, side] for line in axes.lines]  # type: ignore[index]
        bands = [part.get_paths()[0].vertices[:, side] for part in axes.collections]
        ends = np.concatenate([*lines, *bands])
        assert (ends.min(), ends.max()) == (0, 100)


def test_of_one_task_or_one_seed_there_is_what_can_be_said(tmp_path: Path) -> None:
    one = [cell(tmp_path / each, level, 1, 1) for each, level in (("a", 0.5), ("b", 0.6))]
    figure = plot_compare(one)
    assert len(figure.axes) == 2, "there is no curve over one task"
    assert figure.get_suptitle().startswith("accuracy: b minus a")
    assert " points, one pair: no interval and no test" in figure.get_suptitle()
    assert not any("average" in axes.get_xlabel() for axes in figure.axes)
    study = Study.read(tmp_path)
    assert plot_compare(study).get_suptitle().count("minus") == 1


def test_the_commands_refusals_are_the_same_and_protocols_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [str(cell(tmp_path / p, 0.5, protocol=p)) for p in ("abc", "def")]
    assert main(["plot", "compare", *cells]) == 2
    assert "--across-protocols" in capsys.readouterr().err
    assert main(["plot", "compare", *cells, "--across-protocols"]) == 0
    assert (tmp_path / "abc" / "compare.png").exists()
    figure = plot_compare([*map(Path, cells)], across_protocols=True)
    labels = [each.get_text() for each in figure.axes[1].get_yticklabels()]
    assert labels == ["abc (protocol abc)", "def (protocol def)"]
    assert "protocols differ: data: abc against def." in figure.get_suptitle()
    with pytest.raises(UsageError, match="one cell only"):
        plot_compare([tmp_path / "abc"])


def test_a_measure_that_no_run_has_a_value_of_is_not_drawn(tmp_path: Path) -> None:
    places = [cell(tmp_path / name, level, tasks=1) for name, level in (("a", 0.5), ("b", 0.6))]
    for place in (each for cells in places for each in cells.glob("*/result.json")):
        place.write_text(json.dumps({**json.loads(place.read_text()), "forgetting": None}))
    for cells in (places, Study.read(places[0])):
        with pytest.raises(UsageError, match="forgetting needs several tasks"):
            plot_compare(cells, "forgetting")


def test_names_of_cells_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = [r"$\frac{1$", "_x " + "long " * 20, "<script>\nb"]
    figure = plot_compare([cell(tmp_path / name, 0.5) for name in names])
    save(figure, tmp_path / "compare.svg")
    labels = [each.get_text() for each in figure.axes[1].get_yticklabels()]
    shown = [" ".join(each.replace(r"\$", "$").split()) for each in labels]
    assert shown == [" ".join(name.split()) for name in names]


def test_without_the_studies_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BNNLAB_DISABLE", "bnnlab-studies")
    assert main(["plot", "compare", str(tmp_path)]) == 2
    assert "this needs bnnlab-studies, which is disabled" in capsys.readouterr().err
