"""Pictures show what was recorded, and say why there is nothing to show."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="plots need matplotlib")

from bnnlab import UsageError
from bnnlab.cli import main
from bnnlab.plots import plot_diagnosis


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


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_it_is_written_where_it_was_asked_for(tmp_path: Path, suffix: str) -> None:
    record(tmp_path / "run", segments=45)
    assert main(["plot", "diagnosis", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    other = tmp_path / f"other{suffix}"
    assert main(["plot", "diagnosis", str(tmp_path / "run"), "--out", str(other)]) == 0
    assert other.stat().st_size > 10_000


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no run's folder: there is no metrics\.jsonl"):
        plot_diagnosis(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"event": "epoch"}\n')
    with pytest.raises(UsageError, match="run it with --set diagnose=true"):
        plot_diagnosis(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"event": "ep')
    with pytest.raises(UsageError, match=r"metrics\.jsonl is damaged"):
        plot_diagnosis(tmp_path)


def test_a_format_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "run")
    out = tmp_path / "x.xyz"
    assert main(["plot", "diagnosis", str(tmp_path / "run"), "--out", str(out)]) == 2
    assert ".png" in capsys.readouterr().err
    assert not out.exists()
