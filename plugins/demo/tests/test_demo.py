"""`bnn demo`: what it trains, what it says of any runs, and how it ends."""

from pathlib import Path
from typing import Any

import pytest
import tomli
from engines import Here

from bnnlab.cli import main
from bnnlab.registry.host import PluginHost
from bnnlab_demo import commands
from bnnlab_demo.story import matrices, sentences
from bnnlab_studies.plan import make_plan
from bnnlab_studies.record import Record
from bnnlab_studies.study import Study

TINY = """
name = "demo"
epochs = 1
threads = 1
model = { name = "mlp", hidden = [8] }
stream = { name = "permuted-digits", tasks = 2 }
[sweep]
seeds = 2
[sweep.grid]
optimizer = ["adam", "meta"]
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the demo a study of two small cells that this process trains; return its file."""
    file = tmp_path / "study.toml"
    file.write_text(TINY)
    monkeypatch.setattr(commands, "STUDY", file)
    monkeypatch.setattr(commands, "make_engine", lambda *_: Here())
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)
    return file


def test_it_trains_draws_and_says_what_is_next_and_the_second_time_shows_the_same(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err.count("average accuracy") == 4
    assert "After 2 tasks, optimizer=meta remembers" in out
    assert out.index("task 2") < out.index("picture: runs/demo/compare.png") < out.index("next:")
    assert all(len(line) <= 60 for line in out.splitlines())
    assert Path("runs/demo/compare.png").read_bytes().startswith(b"\x89PNG")
    assert [line[:6] for line in out[out.index("next:") :].splitlines()[1::2]] == ["  bnn "] * 3
    assert main(["compare", "runs/demo"]) == 0
    capsys.readouterr()
    assert main(["demo", "--quiet"]) == 0
    assert capsys.readouterr() == (out, "trained before: to train again, delete runs/demo\n")


@pytest.mark.slow
def test_the_second_time_nothing_is_written_as_the_disk_may_be_read_only(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--quiet"]) == 0
    shown = capsys.readouterr().out
    files = {each: each.stat().st_mtime_ns for each in Path("runs").rglob("*")}
    assert main(["demo", "--quiet"]) == 0
    assert {each: each.stat().st_mtime_ns for each in Path("runs").rglob("*")} == files
    picture = Path("runs/demo/compare.png")
    picture.unlink()
    picture.mkdir()  # nothing can be written there
    assert main(["demo", "--quiet"]) == 0
    fault = f"no picture: cannot write {picture}: Is a directory"
    assert capsys.readouterr().out == shown + shown.replace(f"picture: {picture}", fault)


@pytest.mark.slow
def test_a_run_that_fails_is_named_with_what_goes_on(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_text(TINY + '"optimizer.lr" = [1e38, 0.1]')
    assert main(["demo", "-q", "--out", "my runs"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "optimizer.lr=1e+38, seed 0: " in err
    assert err.endswith("to continue: bnn demo --out 'my runs'\n")


def test_its_settings_are_those_that_did_best_on_held_out_images() -> None:
    page = Path(__file__).parents[3] / "docs" / "results" / "demo"
    if not page.exists():
        pytest.skip("the results are in the repository alone")
    host = PluginHost()
    tuned = make_plan(host, page / "study.toml", {"out": "runs"})
    kept = [Record.of_result(file) for file in page.glob("*.json")]
    scores = {
        cell.name: [run["average_accuracy"] for run in kept if run.cell == cell.folder]
        for cell in tuned.cells
    }
    assert {len(values) for values in scores.values()} == {len(tuned.seeds)}
    with commands.as_file(commands.STUDY) as file:
        shown = make_plan(host, file)
    assert not {*shown.seeds} & {*tuned.seeds}
    for cell in shown.cells:
        tried = [
            each
            for each in tuned.cells
            if each.settings["rule"] == cell.settings["rule"]
            and each.settings["optimizer"]["name"] == cell.settings["optimizer"]["name"]
        ]
        assert len(tried) == 12
        best = max(tried, key=lambda each: sum(scores[each.name]))
        assert best.settings["evaluate_on"] == "validation"
        held_out = {**cell.settings["stream"], "validation": 0.2}
        as_tuned = {**cell.settings, "stream": held_out, "evaluate_on": "validation"}
        apart = {"name", "seed"}
        assert {**best.settings, **dict.fromkeys(apart)} == {**as_tuned, **dict.fromkeys(apart)}


def test_its_distribution_needs_what_its_runs_use() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    needed = tomli.loads(project.read_text())["project"]["dependencies"]
    with commands.as_file(commands.STUDY) as file:
        cells = make_plan(PluginHost(), file).cells
    kinds = ("rule", "optimizer", "model", "stream")
    homes = {cell.settings[kind]["name"].split("/")[0] for cell in cells for kind in kinds}
    assert homes <= {each.split(">")[0] for each in needed}


# ---------------------------------------------------------------------------- what it says


def study(**cells: list[float]) -> Study:
    """Return a study of two tasks from the average accuracies of its cells per seed."""
    return Study(
        Record(
            f"{cell}-{seed}",
            None,
            "complete",
            {},
            {
                "accuracy": [[0.9, 0.1], [2 * value - 0.8, 0.8]],
                "average_accuracy": value,
                "tasks": ["one", "two"],
                "seed": seed,
                "protocol": "x",
                "evaluate_on": "test",
                "run_id": f"{cell}{seed}",
            },
            cell,
        )
        for cell, values in cells.items()
        for seed, value in enumerate(values)
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([0.61, 0.62, 0.63], "remembers on average 62.0 % (61.0 to 63.0, 3 seeds)"),
        ([0.61, 0.62, 0.63], "where first remembers 52.0 % (51.0 to 53.0, 3 seeds): +10.0 points"),
        ([0.61, 0.62, 0.64], "+10.3 points, more than chance (95 % interval +8.9 to +11.8)"),
        ([0.41, 0.42, 0.44], "-9.7 points, more than chance (95 % interval -11.1 to -8.2)"),
        ([0.41, 0.72, 0.44], "+0.3 points, which may be chance (95 % interval -42.0 to +42.7)"),
        ([0.41], "-10.0 points, and one seed does not say whether that is chance."),
        ([0.61, 0.62, 0.63], "On the newest task alone it has 80.0 %, and first 80.0 %."),
    ],
)
def test_a_sentence_says_what_the_runs_say(other: list[float], said: str) -> None:
    first = [0.51, 0.52, 0.53][: len(other)]
    (sentence,) = sentences(study(first=first, other=other))
    assert sentence.startswith("After 2 tasks, other remembers")
    assert said in sentence


def test_each_further_method_has_a_sentence_and_each_method_its_mean_matrix() -> None:
    values: dict[str, Any] = {"a": [0.5, 0.6], "b": [0.6, 0.7], "c": [0.7, 0.8]}
    assert [each.split()[3] for each in sentences(study(**values))] == ["b", "c"]
    tables = matrices(study(**values))
    assert [table.title for table in tables] == ["a", "b", "c"]
    shown = [[str(cell) for cell in column.cells] for column in tables[0].columns]
    assert shown == [["task 1", "task 2"], ["90.0", "30.0"], ["10.0", "80.0"]]
