"""Pictures of what probes measured: confusion matrices, calibration, detection of the unknown."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="plots need matplotlib")

import bnnlab
from bnnlab import UsageError
from bnnlab.cli import main
from bnnlab_plots import plot_accuracy, plot_confusion, plot_uncertainty, save

Lines = list[dict[str, Any]]


def write(folder: Path, lines: Lines, result: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    row = [0.5] * len(lines)
    evaluations = [
        {"event": "evaluation", "task": n, "accuracy": row, **line} for n, line in enumerate(lines)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(it) + "\n" for it in evaluations))
    if result:
        (folder / "result.json").write_text(json.dumps({"seed": 0, "components": {}, **result}))
    return folder


def confusions(classes: int, tasks: int) -> Lines:
    """A class-incremental run: of ten examples of each class seen, two are taken for the first."""
    lines: Lines = []
    for task in range(tasks):
        seen = classes * (task + 1) // tasks
        cells = [[n, n, 8] for n in range(1, seen)] + [[n, 0, 2] for n in range(1, seen)]
        shares = [1.0, *[0.8] * (seen - 1), *[None] * (classes - seen)]
        lines.append({"confusion": [[0, 0, 10], *cells], "class_accuracy": shares})
    return lines


@pytest.mark.parametrize(("classes", "tasks"), [(2, 1), (10, 5), (100, 2), (1000, 4)])
def test_a_confusion_matrix_is_drawn_in_shares_of_each_class(
    tmp_path: Path, classes: int, tasks: int
) -> None:
    run = write(tmp_path / "run", confusions(classes, tasks))
    figure = plot_confusion(run)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == (2 if tasks > 1 else 1)
    shown = np.ma.filled(images[0].get_array(), np.nan)
    expected = np.diag(np.full(classes, 80.0))
    expected[:, 0] += 20
    if classes <= 200:
        np.testing.assert_array_equal(shown, expected)
    else:  # the largest share of 5 x 5 cells
        np.testing.assert_array_equal(shown.diagonal(), [100, *[80] * 199])
        np.testing.assert_array_equal(shown[1:, 0], [20] * 199)
        assert "largest of 5 x 5" in figure.axes[0].get_xlabel()
    assert f"{10 * classes:,} test examples" in figure.axes[0].get_xlabel()
    numbers = {each.get_position(): each.get_text() for each in figure.axes[0].texts}
    assert numbers.get((1, 1)) == ("80" if classes <= 10 else None)
    listed = figure.axes[1].texts[0].get_text()
    assert "1 taken for 0: 2 (20\u00a0%)" in listed
    assert listed.count("taken") == min(classes - 1, 10)
    if tasks > 1:
        over_tasks = np.ma.filled(images[1].get_array(), np.nan)
        assert over_tasks.shape == (classes, tasks)
        assert np.isnan(over_tasks[-1, 0])
        assert over_tasks[1, -1] == 80


def test_classes_without_examples_are_blank(tmp_path: Path) -> None:
    figure = plot_confusion(write(tmp_path / "run", confusions(10, 5)[:2]))
    shown = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    assert np.isnan(shown).any(1).tolist() == [n >= 4 for n in range(10)]


def test_classes_are_named_if_the_run_knows_their_names(tmp_path: Path) -> None:
    names = ["_cat", "a$b", "sea\nlion", "x" * 99]
    parts = {kind: {"name": kind} for kind in ("rule", "optimizer", "model", "stream")}
    about = {"class_names": names, "components": parts}
    run = write(tmp_path / "run", confusions(4, 2), about)
    figure = plot_confusion(run)
    shown = [each.get_text() for each in figure.axes[0].get_yticklabels()]
    assert shown == [" _cat", r"a\$b", "sea lion", "x" * 13 + "\u2026"]
    assert r"a\$b taken for  _cat: 2" in figure.axes[1].texts[0].get_text()
    save(figure, tmp_path / "named.png")


def test_a_matrix_that_was_too_large_for_its_line_is_in_the_result_of_a_stopped_run(
    tmp_path: Path,
) -> None:
    lines = confusions(10, 5)[:2]
    cells = lines[1]["confusion"]
    lines[1]["confusion"] = None
    figure = plot_confusion(write(tmp_path / "unfinished", lines))
    assert "too large to be recorded" in figure.get_suptitle()
    assert sum(bool(axes.images) for axes in figure.axes) == 1
    stopped = {"status": "stopped", "confusion": cells, "seed": 0}
    kinds = ("rule", "optimizer", "model", "stream")
    stopped["components"] = {kind: {"name": kind} for kind in kinds}
    figure = plot_confusion(write(tmp_path / "stopped", lines, stopped))
    assert sum(bool(axes.images) for axes in figure.axes) == 2


BINS = {
    "count": [0, 10, 30],
    "confidence": [None, 0.5, 0.9],
    "accuracy": [None, 0.4, 0.7],
}


def uncertain(tasks: int, **more: Any) -> Lines:
    return [
        {
            "uncertainty": {
                "ece": 0.175,
                "entropy": 1.0 + n,
                "aleatoric": 0.75 + n,
                "epistemic": 0.25,
                **more,
            }
        }
        for n in range(tasks)
    ]


@pytest.mark.parametrize("tasks", [1, 2, 100])
def test_the_reliability_diagram_has_the_bins_and_their_error(tmp_path: Path, tasks: int) -> None:
    detection = {"ood_auroc": 0.9, "ood_auroc_epistemic": 0.4}
    run = write(tmp_path / "run", uncertain(tasks, reliability=BINS, **detection))
    upper, lower, entropies, detected = plot_uncertainty(run).axes
    assert [bar.get_height() for bar in upper.patches][1:] == [40, 70]
    assert [bar.get_height() for bar in lower.patches] == BINS["count"]
    assert [each.get_text() for each in lower.texts] == ["10", "30"]
    confidence = np.array(upper.lines[1].get_xdata(), float)
    np.testing.assert_allclose(confidence, [np.nan, 50, 90])
    gaps = np.nansum(np.abs(confidence - upper.lines[1].get_ydata()) * [0, 10, 30]) / 40
    assert gaps == pytest.approx(17.5)
    assert upper.get_title(loc="left") == "ECE 17.5 %, 40 examples"
    total, aleatoric, epistemic = (np.array(line.get_ydata()) for line in entropies.lines)
    assert total == pytest.approx(aleatoric + epistemic)
    assert list(entropies.lines[0].get_xdata()) == list(range(1, tasks + 1))  # type: ignore[arg-type]
    assert list(detected.lines[0].get_ydata()) == [0.9] * tasks  # type: ignore[arg-type]
    assert detected.get_ylim()[0] < 0.4


def test_what_an_earlier_version_recorded_is_drawn_without_bins_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run", uncertain(2))
    assert main(["plot", "uncertainty", str(run)]) == 0
    assert "an earlier version recorded no bins. Run it again" in capsys.readouterr().err
    assert (run / "uncertainty.png").exists()
    figure = plot_uncertainty(run)
    assert len(figure.axes) == 1
    assert "Run it again" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("plot", "key", "how"),
    [
        (plot_confusion, "class_accuracy", "--probe confusion"),
        (plot_uncertainty, "uncertainty", "--uncertainty"),
    ],
)
def test_what_was_not_measured_or_is_damaged_is_said(
    tmp_path: Path, plot: Any, key: str, how: str
) -> None:
    with pytest.raises(UsageError, match=f"plain recorded no .*{how}"):
        plot(write(tmp_path / "plain", [{"accuracy": [1.0]}]))
    for number, value in enumerate((["high"], 3, {"ece": 1})):
        line = {key: value, "confusion": [[0, 0, 1]]}
        with pytest.raises(UsageError, match=rf"{number}/metrics\.jsonl is damaged"):
            plot(write(tmp_path / str(number), [line]))


@pytest.mark.slow
def test_a_result_without_a_folder_is_drawn_like_its_run(tmp_path: Path) -> None:
    small: dict[str, Any] = {
        "rule": "bp",
        "optimizer": {"name": "bimu", "test_draws": 2},
        "model": {"name": "mlp", "hidden": [8]},
        "stream": {"name": "permuted-digits", "tasks": 2},
        "epochs": 1,
        "batch_size": 500,
        "device": "cpu",
    }
    there = bnnlab.run(small, probe="confusion", out=tmp_path, name="run")
    result = replace(there, folder=None)
    for number, plot in enumerate((plot_confusion, plot_uncertainty)):
        figure, expected = plot(result), plot(tmp_path / "run")
        assert figure.get_suptitle() == expected.get_suptitle()
        for axes, other in zip(figure.axes, expected.axes, strict=False):
            for one, two in zip(axes.images, other.images, strict=True):
                assert np.ma.allequal(one.get_array(), two.get_array())
        save(figure, tmp_path / f"{number}.svg")
    ours, theirs = plot_accuracy([result]), plot_accuracy([tmp_path / "run"])
    assert ours.get_suptitle() == theirs.get_suptitle()
    for line, other in zip(ours.axes[0].lines, theirs.axes[0].lines, strict=True):
        assert list(line.get_ydata()) == list(other.get_ydata())  # type: ignore[arg-type]
    (legend,) = plot_accuracy([result, there]).legends
    names = [each.get_text() for each in legend.get_texts()]
    assert names == ["bp + bimu + mlp + permuted-digits, seed 0", "run"]


def test_what_is_over_some_tasks_only_is_said_and_gaps_are_blank(tmp_path: Path) -> None:
    rows = [[0.5, None, None, None], [None] * 4, [None, None, 0.5, None], [0.5] * 4]
    of_all = [
        {"task": task, "accuracy": row, **confused, **its}
        for task, (row, confused, its) in enumerate(
            zip(rows, confusions(4, 4), uncertain(4), strict=True)
        )
    ]
    lines = [line for line in of_all if line["task"] != 1]
    for plot in (plot_uncertainty, plot_confusion):
        text = plot(write(tmp_path / plot.__name__, lines)).get_suptitle()
        assert "after task 4, over all tasks learned\nbefore: over the tasks that were" in text
        text = plot(write(tmp_path / f"{plot.__name__}-stopped", lines[:2])).get_suptitle()
        assert "after task 3, over the tasks that were scored then" in text
        assert "before: " not in text
    figure = plot_confusion(write(tmp_path / "gap", lines))
    (over,) = (each for each in figure.axes if each.get_xlabel().startswith("tasks learned"))
    (image,) = over.images
    shown = np.ma.filled(image.get_array(), np.nan)
    assert np.isnan(shown[:, 1]).all()
    assert (shown[:, 3] == [100, 80, 80, 80]).all()
