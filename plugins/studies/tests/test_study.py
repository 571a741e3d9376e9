"""Records of runs, cells, means, and what is left out of them."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w

from bnnlab import PluginHost
from bnnlab.errors import UsageError
from bnnlab.storage.folder import RunFolder
from bnnlab_studies.finding import find_records
from bnnlab_studies.membership import HEAD
from bnnlab_studies.plan import make_plan
from bnnlab_studies.record import Record
from bnnlab_studies.study import Study

MakeRun = Callable[..., Path]


def test_a_record_answers_by_name(make_run: MakeRun) -> None:
    record = Record.read(str(make_run("one", 0.75, seed=3)))
    names = {
        "name": "one",
        "status": "complete",
        "optimizer": "adam",
        "optimizer.name": "acme/adam",
        "optimizer.lr": 0.01,
        "seed": 3,
        "epochs": 1,
        "batch_size": 100,  # a default: the run is of a version without this setting
        "model.hidden": [16],
        "model.hidden.0": 16,
        "average_accuracy": 0.75,
        "accuracy.-1.0": 0.5,
        "accuracy.0.-1": 0.1,
        "uncertainty": False,
        "uncertainty.ece": 0.25,
        "forgetting": None,
        "protocol": "epochs1",
        "protocol_description.epochs": 1,
        "seconds": 1.5,
    }
    assert {name: record[name] for name in names} == names
    for absent in (
        "optimiser",
        "optimizer.m",
        "accuracy.2",
        "accuracy.x",
        "seed.0",
        "",
        "accuracy.",
    ):
        assert absent not in record, absent
    assert {*record} >= {name.partition(".-")[0] for name in names if "accuracy." not in name} - {
        "model.hidden.0"
    }
    assert all(name in record for name in record)
    assert len(record) == len([*record])


def test_a_record_is_equal_to_the_same_run_in_the_same_state(make_run: MakeRun) -> None:
    one, other = make_run("a/seed-0", 0.5), make_run("b/seed-0", 0.5)
    record = Record.read(one)
    assert {record, Record.read(one)} == {record}
    assert record != Record.read(other), "of another study"
    (one / "result.json").unlink()
    assert record != Record.read(one)


def test_runs_are_found_by_their_folders(make_run: MakeRun, tmp_path: Path) -> None:
    for name in ("a/seed-10", "a/seed-2", "b"):
        make_run(name, 0.5)
    make_run("b/checkpoint/inner", 0.5)  # in a run's folder nothing is a run
    assert [each.name for each in find_records(tmp_path)] == ["a/seed-2", "a/seed-10", "b"]
    assert [each.name for each in find_records(str(tmp_path / "b"))] == ["b"]
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "links" / "again").symlink_to(tmp_path / "links")
    assert [each.name for each in find_records(tmp_path / "links")] == ["b"]
    (tmp_path / "empty").mkdir()
    for place, words in (("empty", "holds no run"), ("nowhere", "no folder .*nowhere")):
        with pytest.raises(UsageError, match=words):
            find_records(tmp_path / place)
    for read in (Study.read, partial(make_plan, PluginHost())):
        with pytest.raises(UsageError, match=r"cannot read a*: File name too long"):
            read(Path(300 * "a"))
    with pytest.raises(UsageError, match=r"no run's folder: there is no run\.toml"):
        Record.read(tmp_path / "empty")


def test_the_status_is_what_the_folder_says(make_run: MakeRun) -> None:
    folder = make_run("one")
    assert Record.read(folder).status == "unfinished"
    make_run("two", 0.5, status="interrupted")
    assert Record.read(folder.parent / "two").status == "interrupted"
    run = RunFolder(folder.parent / "two")
    run.lock()
    going_on = Record.read(run.path)
    assert (going_on.status, dict(going_on.result)) == ("running", {})
    run.unlock()
    assert Record.read(run.path).status == "interrupted"
    (run.path / ".owner").write_text(f"process {os.getpid()} on elsewhere, since 2026")
    assert Record.read(run.path).status == "running", "it is believed"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("result.json", '{"status": "comp'),
        ("result.json", "[1]"),
        ("result.json", "{}"),
        ("run.toml", "seed = "),
    ],
)
def test_a_damaged_file_is_named_and_stops_nothing(
    make_run: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, text: str
) -> None:
    (make_run("a", 0.5) / file).write_text(text)
    make_run("b", 0.7, seed=1)
    found = find_records(tmp_path)
    assert [each.status for each in found] == ["damaged", "complete"]
    assert str(tmp_path / "a" / file) in caplog.text
    assert [each.mean for each in Study(found).summary().values()][-1] == 0.7


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("average_accuracy", float("nan")),
        ("average_accuracy", "0.9"),
        ("forgetting", True),
        ("accuracy", [["x"]]),
        ("accuracy", []),
        ("accuracy", [[0.5, 0.5]]),  # of two tasks
        ("accuracy", [[0.5], [0.5]]),
        ("tasks", ["one"]),
        ("accuracy", [[1.5, 0.5], [0.5, 0.5]]),
        ("average_accuracy", 90.0),
        ("forgetting", -1.5),
        ("components", None),
        ("components", {"rule": "bp"}),
        ("seconds", None),
        ("seed", 1),  # run.toml says 0
        ("seed", "0"),
        ("evaluate_on", "validation"),
        ("status", "Complete"),
        ("tasks", None),
    ],
)
def test_a_result_that_no_run_has_written_does_not_count(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, key: str, value: object
) -> None:
    record = Record.read(make_run("a", 0.5, evaluate_on="test", result={key: value}))
    assert (record.status, record.get("average_accuracy")) == ("damaged", None)
    assert key in caplog.text or "NaN" in caplog.text


def test_a_mean_is_over_runs_of_one_protocol(make_run: MakeRun, tmp_path: Path) -> None:
    for seed, epochs in enumerate([1, 1, 2]):
        make_run(f"{seed}", 0.5, seed=seed, protocol={"epochs": epochs})
    (summary,) = Study.read(tmp_path).summary().values()
    assert (summary.count, summary.missing) == (2, ("2: another protocol than 0",))


def test_kept_results_are_records(make_run: MakeRun, tmp_path: Path) -> None:
    names = {"adam": "acme-b/adam", "meta": "acme-b/meta"}
    for cell, name in names.items():
        for seed in (0, 1):
            components = {"optimizer": {"name": name.partition("/")[2], "version": "0.1"}}
            folder = make_run(f"{cell}{seed}", 0.5, seed=seed, result={"components": components})
            (folder / "result.json").rename(tmp_path / f"{cell}-{seed}.json")
            (folder / "run.toml").unlink()
    study = Study.read(tmp_path)
    assert {cell: [r.name for r in runs] for cell, runs in study.cells.items()} == {
        "adam": ["adam-0", "adam-1"],
        "meta": ["meta-0", "meta-1"],
    }
    record = Record.of_result(tmp_path / "meta-1.json")
    assert (record["optimizer"], record["seed"], record.get("epochs")) == ("meta", 1, None)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match=r"other\.json is not the result of a run"):
        Record.of_result(tmp_path / "other.json")


def test_every_kept_result_of_the_project_can_be_read() -> None:
    folder = Path(__file__).parents[3] / "docs" / "results"
    kept = [Study.read(each) for each in folder.iterdir() if [*each.glob("*-0.json")]]
    assert len(kept) > 5
    for study in kept:
        assert all(record.is_complete and record["optimizer"] for record in study)
        assert all(each.mean is not None for each in study.summary().values())


def adam(lr: float) -> dict[str, object]:
    return {"name": "acme/adam", "lr": lr}


def meta(m: float) -> dict[str, object]:
    return {"name": "acme/meta", "lr": 0.5, "m": m}


def test_a_cell_is_named_by_what_differs(make_run: MakeRun, tmp_path: Path) -> None:
    for number, optimizer in enumerate([adam(0.1), adam(0.2), meta(5.0)]):
        for seed in (0, 1):
            where = {"device": ("cpu", "cuda")[seed], "threads": seed + 1}
            make_run(f"{number}-{seed}", 0.5, seed=seed, optimizer=optimizer, **where)
    study = Study.read(tmp_path)
    assert [*study.cells] == [
        "optimizer=adam, optimizer.lr=0.1",
        "optimizer=adam, optimizer.lr=0.2",
        "optimizer=meta",
    ]
    assert [len(runs) for runs in study.cells.values()] == [2, 2, 2]
    assert [*Study(study[4:]).cells] == ["bp + meta + mlp + digits"]
    assert len(study[4:]) == 2


def test_numbers_in_names_are_as_short_as_tells_the_cells_apart(
    make_run: MakeRun, tmp_path: Path
) -> None:
    rates = [0.00123456789, 0.1, 0.12345678, 1e-20]
    for number, lr in enumerate(rates):
        make_run(str(number), 0.5, optimizer=adam(lr))
    names = [f"optimizer.lr={lr}" for lr in (0.001235, 0.1, 0.1235, 1e-20)]
    assert [*Study.read(tmp_path).cells] == names
    for number, lr in enumerate([0.12345699, 0.1 + 2**-56], start=len(rates)):
        make_run(str(number), 0.5, optimizer=adam(lr))
    names = [f"optimizer.lr={lr}" for lr in (*rates, 0.12345699, 0.1 + 2**-56)]
    assert [*Study.read(tmp_path).cells] == names


def test_a_run_without_one_of_its_components_has_its_cell(
    make_run: MakeRun, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        make_run(name)
    (tmp_path / "a" / "run.toml").write_text("rule = {name = 'bnnlab-dfa/dfa'}")
    assert len(Study.read(tmp_path).cells) == 2


def test_a_probe_without_options_tells_cells_apart(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("plain", 0.5)
    make_run("probed", 0.5, probe={"acme/weights": {}})
    cells = Study.read(tmp_path).cells.values()
    assert [[run.name for run in runs] for runs in cells] == [["plain"], ["probed"]]


def test_runs_are_sorted_by_name_and_number(make_run: MakeRun, tmp_path: Path) -> None:
    names = ["adam", "b", "lr=0.01/2", "lr=0.01/10", "lr=0.1/1", "meta-2", "meta-10"]
    for name in names:
        make_run(name, 0.5)
    assert [run.name for run in find_records(tmp_path)] == names


def test_cells_with_components_of_one_name_are_told_apart(
    make_run: MakeRun, tmp_path: Path
) -> None:
    for plugin in ("one", "two"):
        make_run(plugin, 0.5, rule={"name": f"{plugin}/bp"})
    assert [*Study.read(tmp_path).cells] == ["rule=one/bp", "rule=two/bp"]


def test_a_setting_that_came_later_has_its_default_in_earlier_runs(
    make_run: MakeRun, tmp_path: Path
) -> None:
    make_run("early", 0.5, seed=0)
    make_run("later", 0.7, seed=1, batch_size=100)
    assert len(Study.read(tmp_path).cells) == 1


def test_the_cells_of_a_plan_have_its_names_and_order(make_run: MakeRun, tmp_path: Path) -> None:
    named = [{"name": "small"}, {"name": "a/b", "folder": "3f2a", "optimizer": {"lr": 0.5}}]
    (tmp_path / "study.toml").write_text(tomli_w.dumps({"sweep": {"cell": named}}))
    for name in ("later", "3f2a", "small"):
        make_run(f"{name}/seed-0", 0.5)
    assert [*Study.read(tmp_path).cells] == ["small", "a/b", "later"]


@pytest.mark.parametrize("text", ["seed =", "", "epochs = 1\n", f"{HEAD}[sweep]\nseeds = 2\n"])
def test_a_damaged_plan_is_said_once_and_hides_no_run(
    make_run: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    for seed in (0, 1):
        make_run(f"study/cell/seed-{seed}", 0.5, seed=seed)
    (tmp_path / "study" / "study.toml").write_text(text)
    for place in (tmp_path, tmp_path / "study", tmp_path / "study" / "cell" / "seed-0"):
        caplog.clear()
        assert {run.status for run in find_records(place)} == {"complete"}
        (message,) = caplog.messages
        assert str(tmp_path / "study" / "study.toml") in message
        assert "not checked" in message


def test_a_run_that_its_plan_does_not_have_is_foreign_from_wherever_it_is_found(
    make_run: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = {"epochs": 1, "sweep": {"seeds": [0, 1], "cell": [{"name": "c", "folder": "cell"}]}}
    study, others = tmp_path / "runs" / "study", ("cell/seed-1", "cell/seed-9", "cell/other0")
    make_run("runs/study/cell/seed-0", 0.5)
    make_run("runs/study/cell/seed-1", 0.5, seed=1, epochs=2)
    make_run("runs/study/cell/seed-9", 0.5, seed=9)
    make_run("runs/study/cell/other0", 0.5)
    make_run("runs/study/more/seed-0", 0.5)
    (study / "study.toml").write_text(HEAD + tomli_w.dumps(plan))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "to").symlink_to(study / "cell")
    for place, count in ((tmp_path / "runs", 5), (study, 5), (study / "cell", 4)):
        assert [
            run.name.rpartition("seed-")[2] for run in find_records(place) if run.is_complete
        ] == ["0"]
        assert len(find_records(place)) == count
    for other in (*others, "more/seed-0"):
        assert [run.status for run in find_records(study / other)] == ["foreign"]
        assert f"{study / other} is no run of its study: " in caplog.text
    assert [run.status for run in find_records(tmp_path / "links")].count("foreign") == 3
    assert [*Study.read(study).cells] == ["c", "more"]


def test_what_is_not_complete_is_left_out_by_name(make_run: MakeRun, tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.7, 0.8, 0.9]):
        make_run(f"{seed}", accuracy, seed=seed)
    make_run("3", 0.1, seed=3, status="failed")
    make_run("4", 0.1, seed=4, status="stopped")
    make_run("5", seed=5)
    study = Study.read(tmp_path)
    (summary,) = study.summary().values()
    assert (summary.count, summary.mean) == (3, pytest.approx(0.8))
    assert summary.missing == ("3: failed", "4: stopped", "5: unfinished")
    (summary,) = study.summary("forgetting").values()
    assert (summary.count, summary.mean) == (0, None)
    assert summary.missing[0] == "0: forgetting was not measured"


def test_a_measure_that_cannot_be_averaged_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("0", 0.7)
    study = Study.read(tmp_path)
    with pytest.raises(UsageError, match=r"'average_acuracy'.* mean 'average_accuracy'"):
        study.summary("average_acuracy")
    with pytest.raises(UsageError, match=r"accuracy of 0 is no number.* as accuracy\.-1"):
        study.summary("accuracy")
    for name in ("protocol_description", "optimizer", "optimizer.lr", "seed", "status"):
        with pytest.raises(UsageError, match=f"measure '{name}': it is a setting or says"):
            study.summary(name)
    make_run("1", 0.9)
    with pytest.raises(UsageError, match=r"have the seed 0: .*/0 and .*/1\. Take one"):
        Study.read(tmp_path).summary()


def test_a_part_of_a_list_is_a_measure_and_counts_as_its_mean(
    make_run: MakeRun, tmp_path: Path
) -> None:
    for seed, accuracy in enumerate((0.7, 0.9)):  # rows (accuracy, 0.1) and (0.5, accuracy)
        make_run(f"{seed}", accuracy, seed=seed)
    study = Study.read(tmp_path)
    record = study[0]
    assert record["accuracy.-1.-1:"] == [0.7]
    assert record["accuracy.-1.:1"] == record["accuracy.-1.-2:-1"] == [0.5]
    assert record["accuracy.*.0"] == [0.7, 0.5]
    assert record["accuracy.0:.*"] == [[0.7, 0.1], [0.5, 0.7]]
    for name in ("accuracy.-1.1:2:1", "accuracy.*.5", "tasks.*.0", "accuracy.-:"):
        assert record.get(name) is None, name
    (summary,) = study.summary("accuracy.-1.:").values()
    assert summary.mean == pytest.approx(0.65)
    with pytest.raises(UsageError, match=r"accuracy\.\* of 0 is no number"):
        study.summary("accuracy.*")
    make_run("2", 0.8, seed=2, result={"accuracy": [[None, None], [None, 0.8]]})
    (summary,) = Study.read(tmp_path).summary("accuracy.-1.:").values()
    assert summary.missing == ("2: accuracy.-1.: was not measured",)


def test_a_copy_of_a_run_does_not_count_twice(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):  # a copy whose seed was edited
        make_run(f"a/{seed}", 0.7, seed=seed, result={"run_id": "ab"})
    make_run("b/0", 0.5, seed=0, optimizer=meta(1.0), result={"run_id": "ab"})
    for place in (tmp_path, tmp_path / "a"):
        with pytest.raises(UsageError, match=r"a/0 and .*a/1 are copies of one run \(run_id ab\)"):
            Study.read(place).summary()
    one, _, other = Study.read(tmp_path)
    with pytest.raises(UsageError, match=r"a/0 and .*b/0 are copies"):
        Study([one, other]).compare()


def two_cells(make_run: MakeRun, tmp_path: Path, **of_meta: object) -> Study:
    for seed in range(4):
        make_run(f"adam-{seed}", 0.5 + 0.01 * seed**2, seed=seed, optimizer=adam(0.1))
        make_run(f"meta-{seed + 1}", 0.6, seed=seed + 1, optimizer=meta(1.0), **of_meta)
    make_run("meta-5", 0.9, seed=5, optimizer=meta(1.0), status="failed", **of_meta)
    return Study.read(tmp_path)


def test_cells_are_compared_seed_by_seed(make_run: MakeRun, tmp_path: Path) -> None:
    (found,) = two_cells(make_run, tmp_path).compare()
    assert (found.first, found.other) == ("optimizer=adam", "optimizer=meta")
    assert found.seeds == (1, 2, 3)
    assert found.difference == pytest.approx(0.6 - (0.51 + 0.54 + 0.59) / 3)
    assert found.left_out == (
        "meta-5: failed",
        "optimizer=adam, seed 0: no partner in optimizer=meta",
        "optimizer=meta, seed 4: no partner in optimizer=adam",
    )
    (ece,) = Study.read(tmp_path).compare("uncertainty.ece")
    assert ece.note.startswith("no pair differs")


def test_what_cannot_be_compared_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    study = two_cells(make_run, tmp_path, protocol={"epochs": 2})
    with pytest.raises(UsageError, match=r"adam: epochs1, optimizer=meta: epochs2.*--across"):
        study.compare()
    (found,) = study.compare(across_protocols=True)
    assert len(found.seeds) == 3
    with pytest.raises(UsageError, match="one cell only"):
        Study(study[:4]).compare()
    with pytest.raises(UsageError, match=r"no seed in common \(.*seed 0: no partner"):
        Study([study[0], study[5]]).compare(across_protocols=True)


def test_a_study_is_a_table_of_its_runs(make_run: MakeRun, tmp_path: Path) -> None:
    study = two_cells(make_run, tmp_path)
    make_run("later", seed=9, optimizer=adam(0.1))
    study = Study.read(tmp_path)
    text = study.to_csv(str(tmp_path / "runs.csv"))
    assert (tmp_path / "runs.csv").read_text() == text
    Study([replace(study[0], name="bad\udcff")]).to_csv(tmp_path / "odd.csv")
    assert r"bad\udcff" in (tmp_path / "odd.csv").read_text(), "a byte that is no UTF-8"
    rows = [*csv.DictReader(io.StringIO(text))]
    assert len(rows) == len(study) == 10
    assert rows[0]["cell"] == "optimizer=adam"
    assert float(rows[3]["average_accuracy"]) == 0.5 + 0.01 * 9
    assert json.loads(rows[0]["model.hidden"]) == [16]
    by_name = {row["name"]: row for row in rows}
    assert by_name["later"]["status"] == "unfinished"
    assert by_name["later"]["average_accuracy"] == ""
    assert by_name["meta-1"]["optimizer.m"] == "1.0"
    assert json.loads(json.dumps(study.as_dict()))["cells"]["optimizer=meta"]["average_accuracy"][
        "missing"
    ] == ["meta-5: failed"]


def test_a_frame_needs_pandas(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study.read(make_run("one", 0.5))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        study.to_frame()
    made = SimpleNamespace(DataFrame=lambda rows: rows)
    monkeypatch.setitem(sys.modules, "pandas", made)
    assert study.to_frame() == study.rows()
