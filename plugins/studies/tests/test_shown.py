"""Studies in notebooks: HTML with the figures of the terminal, and pictures."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bnnlab import UsageError
from bnnlab_studies.commands.summaries import print_summaries
from bnnlab_studies.study import Study

MakeRun = Callable[..., Path]


def shown(study: Study) -> str:
    html = study._repr_html_()
    return " ".join(" ".join(ElementTree.fromstring(f"<p>{html}</p>").itertext()).split())


@pytest.fixture
def folder(make_run: MakeRun, tmp_path: Path) -> Path:
    for name, shift in (("<script>\"&'", 0.0), ("meta", 0.2)):
        optimizer = {"name": f"acme/{name}"}
        for seed in range(3):
            accuracy = 0.5 + shift + 0.01 * seed**2
            make_run(f"study/{name}/{seed}", accuracy, seed=seed, optimizer=optimizer)
    return tmp_path / "study"


@pytest.mark.parametrize("place", [".", "meta"])
def test_a_study_is_shown_with_the_figures_of_the_terminal(
    folder: Path,
    place: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    study = Study.read(folder / place)
    text = shown(study)
    print_summaries(study)
    printed = capsys.readouterr().out
    rows = re.findall(r" 3 +(\d\S+) +(\S+) +(\S+) to (\S+)$", printed, re.MULTILINE)
    assert len(rows) == (1 if place == "." else 3) + (place == ".")
    for mean, std, low, high in rows:
        assert f" 3 {mean} {std} {low} to {high}" in text
        assert f" 3 {mean} {std} {low} to {high}" in " ".join(str(study).split())
    assert str(study).splitlines()[0].endswith(" of 6 runs complete" * (place == "."))
    assert ("mean over the seeds" in text) == (place != ".")
    assert "<script" not in study._repr_html_()


def test_a_study_of_one_task_has_no_matrix_and_no_measure_twice(make_run: MakeRun) -> None:
    one = {"accuracy": [[0.5]], "tasks": ["one"], "learning_accuracy": 0.5}
    make_run("a/0", 0.5, result=one)
    study = Study.read(make_run("a/1", 0.5, seed=1, result=one).parent)
    assert "learning_accuracy" not in study.told
    assert "mean over the seeds" not in shown(study)


def test_what_has_no_mean_is_printed_too(folder: Path, make_run: MakeRun) -> None:
    make_run("study/meta/again", 0.5, seed=0, optimizer={"name": "acme/meta"})
    assert "study: 2 cells, 7 of 7 runs complete. " in str(Study.read(folder))
    assert str(Study([])).startswith("study: 0 cells, 0 of 0 runs complete")


def test_a_study_is_plotted_also_with_one_cell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bnnlab_plots")
    pytest.importorskip("matplotlib")
    assert len(Study.read(folder / "meta").plot().axes) == 2
    assert len(Study.read(folder).plot().axes) == 3
    monkeypatch.setenv("BNNLAB_DISABLE", "bnnlab-plots")
    with pytest.raises(UsageError, match="needs bnnlab-plots, which is disabled"):
        Study.read(folder).plot()
