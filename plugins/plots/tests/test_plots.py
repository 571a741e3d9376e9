"""Pictures show what was recorded, and say why there is nothing to show."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="plots need matplotlib")

from bnnlab import UsageError
from bnnlab.cli import main
from bnnlab.storage.rows import packed
from bnnlab_plots import plot_accuracy, plot_diagnosis, plot_weights, save


def record(folder: Path, segments: int = 3, epochs: int = 4) -> list[list[dict[str, Any]]]:
    """Write the metrics of a run of two tasks; return what they say of each segment."""
    folder.mkdir()
    rows, lines = [], []
    for step in range(1, epochs + 1):
        rows.append(
            [
                {"angle": 80.0 - step - n, "norm": 2.0 + n, "exact_norm": 1.0, "window": 0.5}
                for n in range(segments - 1)
            ]
            + [{"angle": 0.0, "norm": 1.0, "exact_norm": 1.0, "window": None}]
        )
        task = int(step > epochs // 2)
        lines += [
            {"event": "epoch", "step": 10 * step},
            {"event": "diagnosis", "task": task, "step": 10 * step, "segments": rows[-1]},
        ]
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "metrics.jsonl").write_text(text + "\n")
    return rows


def test_every_segment_is_a_line_over_the_steps(tmp_path: Path) -> None:
    rows = record(tmp_path / "run")
    upper, middle, lower = plot_diagnosis(tmp_path / "run").axes
    of_segments = [line for line in upper.lines if str(line.get_label()).startswith("segment")]
    assert len(of_segments) == 3
    assert len([line for line in lower.lines if len(line.get_xdata()) == 4]) == 2  # type: ignore[arg-type]
    for number, line in enumerate(of_segments):
        assert list(line.get_xdata()) == [10, 20, 30, 40]  # type: ignore[arg-type]
        assert list(line.get_ydata()) == [row[number]["angle"] for row in rows]  # type: ignore[arg-type]
    assert list(middle.lines[1].get_ydata()) == [3.0] * 4  # type: ignore[arg-type]
    assert [np.unique(axes.lines[-1].get_xdata()).tolist() for axes in (upper, middle, lower)] == [
        [20]
    ] * 3
    assert lower.get_xlabel() == "optimizer steps"
    assert "degrees" in upper.get_ylabel()


def test_angles_of_zero_are_seen_beside_a_right_angle(tmp_path: Path) -> None:
    record(tmp_path / "run", segments=1)
    low, high = plot_diagnosis(tmp_path / "run").axes[0].get_ylim()
    assert low < 0
    assert high > 90


@pytest.mark.parametrize("norms", [[0.93, 1.02], [1.0, 1.0], [0.5, 3.0], [0.01, 50.0]])
def test_norms_have_plain_numbers_beside_them(tmp_path: Path, norms: list[float]) -> None:
    rows = [{"angle": 1.0, "norm": norm, "exact_norm": 1.0, "window": 0.5} for norm in norms]
    lines = [
        {"event": "diagnosis", "task": 0, "step": step, "segments": [row]}
        for step, row in enumerate(rows)
    ]
    figure = plot_diagnosis(write(tmp_path / "run", lines))
    figure.draw_without_rendering()
    axis = figure.axes[1].yaxis
    low, high = axis.get_view_interval()
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    said = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]
    said = [text for text in said if text]
    assert len(said) >= 2
    assert all(low <= float(text) <= high for text in said)


def test_it_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    record(tmp_path / "run", segments=45)
    assert main(["plot", "diagnosis", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    assert main(["plot", "diagnosis", str(tmp_path / "run"), "--out", str(tmp_path / "x.svg")]) == 0
    assert "<svg" in (tmp_path / "x.svg").read_text()


def test_a_folder_of_an_earlier_version_is_drawn_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "run")
    (tmp_path / "run" / "checkpoint").mkdir()
    (tmp_path / "run" / "checkpoint" / "state.pt").write_bytes(b"PK\3\4")
    assert main(["plot", "diagnosis", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().err.count("state.pt is of an earlier version of bnnlab") == 1


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run's folder: it has no metrics\.jsonl$"):
        plot_diagnosis(tmp_path)
    (tmp_path / "study" / "cell").mkdir(parents=True)
    record(tmp_path / "study" / "cell" / "seed-0")
    for folder in ("study", "study/cell"):
        with pytest.raises(UsageError, match=r"metrics\.jsonl\. Runs are below it, as .*/seed-0$"):
            plot_diagnosis(tmp_path / folder)
    (tmp_path / "metrics.jsonl").write_text('{"event": "epoch"}\n')
    with pytest.raises(UsageError, match="run it with --diagnose"):
        plot_diagnosis(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"event": "ep\n')
    with pytest.raises(UsageError, match=r"metrics\.jsonl is damaged"):
        plot_diagnosis(tmp_path)


@pytest.mark.parametrize(
    ("plot", "event", "values"),
    [
        (plot_diagnosis, "diagnosis", [{"step": 1, "segments": [{}]}, {"step": 2, "segments": []}]),
        (plot_diagnosis, "diagnosis", [{"step": 1}]),
        (plot_weights, "weights", [{"task": 0, "layers": [{}]}, {"task": 1, "layers": []}]),
        (plot_weights, "weights", [{"task": 0, "layers": None}]),
        (lambda run: plot_accuracy([run]), "evaluation", [{"accuracy": [0.5]}] * 2),
        (lambda run: plot_accuracy([run]), "evaluation", [{"accuracy": ["high"]}]),
        (lambda run: plot_accuracy([run]), "evaluation", [{"accuracy": None}]),
    ],
)
def test_records_of_another_form_are_damaged(
    tmp_path: Path, plot: Any, event: str, values: list[dict[str, Any]]
) -> None:
    run = write(tmp_path / "run", [{"event": event, **each} for each in values])
    with pytest.raises(UsageError, match=r"run/metrics\.jsonl is damaged: "):
        plot(run)


def test_a_format_that_needs_what_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "run")
    monkeypatch.setenv("PATH", "")  # no LaTeX
    with pytest.raises(UsageError, match=r"cannot write .*x\.pgf: .*not found"):
        save(plot_diagnosis(tmp_path / "run"), tmp_path / "x.pgf")


def test_a_format_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "run")
    out = tmp_path / "x.xyz"
    assert main(["plot", "diagnosis", str(tmp_path / "run"), "--out", str(out)]) == 2
    assert ".png" in capsys.readouterr().err
    assert not out.exists()


# -------------------------------------------------------------------- weights


def write(folder: Path, lines: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def layer(number: int, task: int, **changed: Any) -> dict[str, Any]:
    size = 0.1 * (task + 1) + number
    counts = [(20 - abs(n - 20)) * (task + number + 1) + number for n in range(41)]
    return {
        "name": f"segments.{number}.block.conv.weight",
        "flips": 0.02 * (number + 1) / (task + 1),
        "latent": {"low": -size, "high": size, "counts": counts},
        "scale": [0.1, 0.2, 0.3 + task, 0.4 + task, 0.5 + task],
        **changed,
    }


def record_weights(
    folder: Path, layers: int, tasks: int, real: bool = False, **changed: Any
) -> list[list[dict[str, Any]]]:
    rows = [[layer(n, task, **changed) for n in range(layers)] for task in range(tasks)]
    lines: list[dict[str, Any]] = []
    for task, row in enumerate(rows):
        lines.append({"event": "weights", "task": task, "step": task, "layers": row})
        lines.append({"event": "evaluation", "task": task, "flips": None if real else 0.1})
    write(folder, lines)
    return rows


def notes(figure: Any) -> str:
    return str(figure.get_suptitle())


@pytest.mark.parametrize("tasks", [1, 2, 20])
def test_weights_are_drawn_as_they_were_recorded(tmp_path: Path, tasks: int) -> None:
    rows = record_weights(tmp_path / "run", layers=3, tasks=tasks)
    figure = plot_weights(tmp_path / "run")
    panels = np.array(figure.axes).reshape(3, 3)
    chosen = [0, 3, 5, 8, 11, 14, 16, 19] if tasks == 20 else list(range(tasks))
    for number, (latents, scales, flips) in enumerate(panels):
        assert latents.get_title(loc="left") == f"segments.{number}.block.conv.weight"
        for task, stairs in zip(chosen, latents.patches, strict=True):
            histogram = rows[task][number]["latent"]
            density, edges, _ = stairs.get_data()
            assert stairs.get_label() == f"after task {task + 1}"
            assert edges == pytest.approx(np.linspace(histogram["low"], histogram["high"], 42))
            share = np.array(histogram["counts"]) / sum(histogram["counts"])
            assert density * np.diff(edges) == pytest.approx(share)
        lightness = [sum(stairs.get_edgecolor()[:3]) for stairs in latents.patches]
        assert lightness == sorted(lightness)
        quantiles = np.array([row[number]["scale"] for row in rows])
        ends = [np.array(lines.get_segments())[:, :, 1] for lines in scales.collections]
        assert ends[0] == pytest.approx(quantiles[:, [0, 4]])
        assert ends[1] == pytest.approx(quantiles[:, [1, 3]])
        assert scales.lines[0].get_ydata() == pytest.approx(quantiles[:, 2])
        assert list(flips.lines[0].get_xdata()) == list(range(1, tasks + 1))
        assert list(flips.lines[0].get_ydata()) == [100 * row[number]["flips"] for row in rows]
        assert flips.get_ylim() == panels[0, 2].get_ylim()
    assert "latent weight" in panels[-1, 0].get_xlabel()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(chosen) + 3


def test_of_many_layers_the_picture_says_how_many_it_shows(tmp_path: Path) -> None:
    record_weights(tmp_path / "run", layers=60, tasks=2, scale=None, real=True)
    figure = plot_weights(tmp_path / "run")
    names = [axes.get_title(loc="left").split(".")[1] for axes in figure.axes[::2]]
    assert (len(names), names[0], names[-1]) == (16, "0", "59")
    gaps = {int(b) - int(a) for a, b in pairwise(names)}
    assert gaps <= {3, 4}, "they are not evenly chosen"
    assert "16 of 60 layers are shown" in notes(figure)
    assert figure.axes[-2].get_xlabel() == "weight"


def test_a_method_without_latent_weights_has_flips_to_show(tmp_path: Path) -> None:
    record_weights(tmp_path / "run", layers=2, tasks=2, latent=None, scale=None)
    figure = plot_weights(tmp_path / "run")
    assert [axes.get_ylabel() for axes in figure.axes] == ["flips (%)"] * 2
    assert "keeps nothing behind the weights" in notes(figure)


def test_what_one_layer_lacks_is_blank(tmp_path: Path) -> None:
    rows = [[layer(0, task), layer(1, task, latent=None, scale=None)] for task in range(2)]
    rows[0][0]["scale"] = None
    lines = [{"event": "weights", "task": task, "layers": row} for task, row in enumerate(rows)]
    figure = plot_weights(write(tmp_path / "run", lines))
    assert [axes.axison for axes in figure.axes] == [True] * 3 + [False, False, True]
    median = np.array(figure.axes[1].lines[0].get_ydata())
    assert np.isnan(median).tolist() == [True, False]
    save(figure, tmp_path / "weights.png")


def test_flips_that_were_not_measured_are_blank(tmp_path: Path) -> None:
    rows = [[layer(0, task, flips=0.5 if task else None)] for task in range(2)]
    lines = [{"event": "weights", "task": task, "layers": row} for task, row in enumerate(rows)]
    flips = plot_weights(write(tmp_path / "run", lines)).axes[-1]
    assert np.isnan(np.array(flips.lines[0].get_ydata())).tolist() == [True, False]
    record_weights(tmp_path / "none", layers=2, tasks=2, flips=None)
    labels = [axes.get_ylabel() for axes in plot_weights(tmp_path / "none").axes]
    assert labels == ["density", "learned scale"] * 2
    record_weights(tmp_path / "nothing", layers=1, tasks=1, flips=None, latent=None, scale=None)
    with pytest.raises(UsageError, match="there is nothing to draw"):
        plot_weights(tmp_path / "nothing")


@pytest.mark.parametrize(("smallest", "scale"), [(0.1, "linear"), (1e-4, "symlog")])
def test_flips_over_decades_have_a_logarithmic_axis_with_zero_on_it(
    tmp_path: Path, smallest: float, scale: str
) -> None:
    rows = [layer(n, 0, flips=flips) for n, flips in enumerate([0.5, smallest, 0.0])]
    lines = [{"event": "weights", "task": 0, "layers": rows}]
    for axes in plot_weights(write(tmp_path / "run", lines)).axes[2::3]:
        assert axes.get_yscale() == scale
        assert axes.get_ylim()[0] == 0


def test_a_run_without_a_record_of_weights_is_told_apart(tmp_path: Path) -> None:
    old = write(tmp_path / "old", [{"event": "evaluation", "task": 0, "accuracy": [1.0]}])
    with pytest.raises(UsageError, match="was recorded by an older version"):
        plot_weights(old)
    with pytest.raises(UsageError, match="has not learned a task yet"):
        plot_weights(write(tmp_path / "new", [{"event": "epoch"}]))


# -------------------------------------------------------------------- accuracy


def matrix(tasks: int, learned: int | None = None, shift: float = 0.0) -> list[list[float | None]]:
    return [
        [None if on > after + 1 else shift + 0.9 / (1 + abs(after - on)) for on in range(tasks)]
        for after in range(tasks if learned is None else learned)
    ]


def record_accuracy(
    folder: Path, rows: list[list[float | None]], protocol: str | None = None
) -> Path:
    lines = [{"event": "evaluation", "task": n, "accuracy": row} for n, row in enumerate(rows)]
    write(folder, lines)
    if protocol:
        kinds = ("rule", "optimizer", "model", "stream")
        components = {kind: {"name": f"a-{kind}"} for kind in kinds}
        result = {"components": components, "seed": 3, "protocol": protocol}
        result["protocol_description"] = {"scenario": protocol}
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def percent(rows: list[list[float | None]]) -> Any:
    return 100 * np.array(rows, dtype=float)


def assert_heat_map(axes: Any, rows: list[list[float | None]]) -> None:
    """What was learned is a cell, what comes next a disc, and what was not measured is nothing."""
    expected, count = percent(rows), len(rows[0])
    (image,) = axes.images
    shown = np.ma.filled(image.get_array(), np.nan)
    assert shown.shape == (count, count)
    learned = np.where(np.tri(len(rows), count), expected, np.nan)
    np.testing.assert_array_equal(shown[: len(rows)], learned)
    assert np.isnan(shown[len(rows) :]).all()
    assert image.get_clim() == (0, 100)
    discs = {disc.get_center(): disc.get_facecolor() for disc in axes.patches}
    following = {
        (after + 2, after + 1): image.to_rgba(expected[after, after + 1])
        for after in range(len(rows))
        if after + 1 < count
    }
    assert discs == following


@pytest.mark.parametrize(("tasks", "text"), [(2, "90.0"), (5, "90.0"), (20, "90"), (60, None)])
def test_one_runs_accuracies_are_those_of_its_matrix(
    tmp_path: Path, tasks: int, text: str | None
) -> None:
    rows = matrix(tasks)
    figure = plot_accuracy([record_accuracy(tmp_path / "run", rows, "abc")])
    upper, lower = figure.axes[:2]
    for task, line in enumerate(upper.lines):
        assert list(line.get_xdata()) == list(range(task + 1, tasks + 1))  # type: ignore[arg-type]
        assert line.get_ydata() == pytest.approx(percent(rows)[task:, task])
    assert len(upper.lines) == tasks
    assert upper.get_ylim()[0] == 0
    assert 100 <= upper.get_ylim()[1] < 105
    legend = upper.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == min(tasks, 20)
    assert_heat_map(lower, rows)
    numbers = {each.get_position(): each.get_text() for each in lower.texts}
    assert numbers.get((1, 1)) == text
    assert notes(figure) == "a-rule + a-optimizer + a-model + a-stream, seed 3"


def test_of_one_task_no_matrix_is_drawn(tmp_path: Path) -> None:
    run = record_accuracy(tmp_path / "run", matrix(1), "abc")
    (axes,) = plot_accuracy([run]).axes
    assert axes.lines[0].get_ydata() == pytest.approx([90.0, 90.0])
    assert axes.lines[0].get_label() == "test part: 90.0 %"
    with (run / "metrics.jsonl").open("a") as file:
        for epoch in range(3):
            line = {"event": "epoch", "epoch": epoch, "train_accuracy": 0.1 * epoch}
            file.write(json.dumps({**line, "validation_accuracy": 0.2}) + "\n")
    (axes,) = plot_accuracy([run]).axes
    (_, training, validation) = axes.lines
    assert list(training.get_xdata()) == [1, 2, 3]  # type: ignore[arg-type]
    assert training.get_ydata() == pytest.approx([0, 10, 20])
    assert validation.get_ydata() == pytest.approx([20] * 3)


def test_a_run_that_has_not_ended_is_drawn_as_far_as_it_came(tmp_path: Path) -> None:
    rows = matrix(5, learned=2)
    run = record_accuracy(tmp_path / "run", rows)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "evaluation", "acc')  # in the writing
    figure = plot_accuracy([run])
    assert len(figure.axes[0].lines) == 2
    assert_heat_map(figure.axes[1], rows)
    assert notes(figure) == "run\n2 of 5 tasks learned"


def test_several_runs_are_told_apart_and_may_differ_in_length(tmp_path: Path) -> None:
    every = [matrix(tasks, learned, 0.01 * tasks) for tasks, learned in ((2, 2), (5, 3), (5, 5))]
    runs = [
        record_accuracy(tmp_path / name, rows, "abc")
        for name, rows in zip("xyz", every, strict=True)
    ]
    figure = plot_accuracy(runs)
    upper, middle, *maps = figure.axes
    for rows, name, line, latest, axes in zip(
        every, "xyz", upper.lines, middle.lines, maps, strict=False
    ):
        averages = [percent(rows)[n, : n + 1].mean() for n in range(len(rows))]
        assert line.get_ydata() == pytest.approx(averages)
        assert latest.get_ydata() == pytest.approx(percent(rows)[-1, : len(rows)])
        assert line.get_label() == axes.get_title() == name
        assert_heat_map(axes, rows)
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in upper.lines]
    assert len(upper.lines) == len(middle.lines) == 3
    for of_runs in zip(*looks, strict=True):
        assert len(set(of_runs)) == 3
    assert figure.legends[0].get_title().get_text() == ""


def test_protocols_that_differ_are_said_and_shown(tmp_path: Path) -> None:
    runs = [record_accuracy(tmp_path / each / "run", matrix(2), each) for each in ("abc", "def")]
    unknown = record_accuracy(tmp_path / "ghi", matrix(2))
    figure = plot_accuracy(runs)
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    assert labels == [f"{run} (protocol {run.parent.name})" for run in runs]
    said = figure.legends[0].get_title().get_text()
    assert "protocols differ: scenario: abc against def." in said
    third = record_accuracy(tmp_path / "xyz" / "run", matrix(2), "xyz")
    said = plot_accuracy([*runs, third]).legends[0].get_title().get_text()
    assert "protocols differ: these runs did not learn the same" in said
    figure = plot_accuracy([runs[0], unknown])
    labels = [str(line.get_label()) for line in figure.axes[0].lines]
    assert labels == ["run (protocol abc)", "ghi (protocol not known yet)"]
    assert "differ" not in figure.legends[0].get_title().get_text()


def test_what_runs_are_scored_on_is_said(tmp_path: Path) -> None:
    runs = [record_accuracy(tmp_path / each, matrix(2), each) for each in ("test", "validation")]
    for run in runs:
        (run / "run.toml").write_text(f'evaluate_on = "{run.name}"\n')
        figure = plot_accuracy([run])
        labels = figure.axes[0].get_ylabel(), figure.axes[-1].get_ylabel()
        assert labels == (f"{run.name} accuracy (%)",) * 2
    figure = plot_accuracy(runs)
    assert figure.axes[-1].get_ylabel() == "test or validation accuracy (%)"
    assert [str(line.get_label()) for line in figure.axes[0].lines] == [
        "test (test accuracy) (protocol test)",
        "validation (validation accuracy) (protocol validation)",
    ]


def test_of_many_runs_some_matrices_are_shown(tmp_path: Path) -> None:
    runs = [record_accuracy(tmp_path / f"run{n}", matrix(2)) for n in range(9)]
    figure = plot_accuracy(runs)
    assert sum(bool(axes.images) for axes in figure.axes[2:8]) == 6
    assert "matrices of the first 6 of 9 runs" in figure.get_supxlabel()
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    assert len(looks) == 9


def test_pictures_are_written_beside_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record_weights(tmp_path / "w", layers=2, tasks=3)
    runs = [str(record_accuracy(tmp_path / name, matrix(3))) for name in "ab"]
    assert main(["plot", "weights", str(tmp_path / "w")]) == 0
    assert main(["plot", "accuracy", *runs]) == 0
    for file in (tmp_path / "w" / "weights.png", tmp_path / "a" / "accuracy.png"):
        assert file.read_bytes().startswith(b"\x89PNG")
    assert main(["plot", "accuracy", str(tmp_path / "nowhere")]) == 2
    assert "is not a run's folder" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has not learned a task yet"):
        plot_accuracy([write(tmp_path / "new", [{"event": "epoch"}])])


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = [r"$\frac{1$", "a$b_{x}", "_under"]
    figure = plot_accuracy([record_accuracy(tmp_path / each, matrix(2), "abc") for each in names])
    save(figure, tmp_path / "accuracy.svg")
    (legend,) = figure.legends
    assert [each.get_text().strip().replace(r"\$", "$") for each in legend.get_texts()] == names
    record_weights(tmp_path / "run", layers=1, tasks=2, name=" ".join(names))
    save(plot_weights(tmp_path / "run"), tmp_path / "weights.svg")


LAST_TWO: list[list[float | None]] = [
    [0.9, None, None, None],
    [0.7, 0.9, None, None],
    [None, 0.7, 0.9, None],
    [0.3, 0.4, 0.7, 0.9],
]
"""Of a run with `evaluate = last:2`."""


def test_averages_are_drawn_where_all_tasks_learned_were_scored(tmp_path: Path) -> None:
    """The line does not bridge the others, and each of its points is marked."""
    whole = record_accuracy(tmp_path / "whole", matrix(4))
    some = record_accuracy(tmp_path / "some", [*map(packed, LAST_TWO)])
    figure = plot_accuracy([whole, some])
    figure.draw_without_rendering()
    _, line = figure.axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), [90, 80, np.nan, 57.5])  # type: ignore[arg-type]
    assert line.get_markevery() == [0, 1, 3]
    upper, lower = plot_accuracy([some]).axes[:2]
    np.testing.assert_allclose(upper.lines[0].get_ydata(), [90, 70, np.nan, 30])  # type: ignore[arg-type]
    shown = np.ma.filled(lower.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, percent(LAST_TWO))
