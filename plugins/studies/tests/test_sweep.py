"""Studies that are carried out, most of them in this process."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from engines import Faulty, Here, ended

from bnnlab import BnnlabError, PluginHost, RunError, UsageError
from bnnlab.cli import main
from bnnlab.storage.folder import RunFolder
from bnnlab_studies.job import Job, Outcome, finished, perform
from bnnlab_studies.plan import Plan, make_plan
from bnnlab_studies.study import Study
from bnnlab_studies.sweep import sweep

FILE = """
rule = "bp"
stream = {{ name = "permuted-digits", tasks = 1 }}
model = {{ name = "mlp", hidden = [{hidden}] }}
epochs = {epochs}
batch_size = 400
device = "cpu"
[sweep]
seeds = {seeds}
[sweep.grid]
optimizer = {optimizers}
"""


class Studies:
    """Writes sweep files, and carries them out in this process."""

    def __init__(self, folder: Path) -> None:
        self.file, self.folder = folder / "small.toml", folder / "runs" / "small"
        self.host = PluginHost()
        self.ended: dict[str, Outcome] = {}

    def write(self, optimizers: Any = ("sgd", "adam"), seeds: Any = 2, epochs: int = 1) -> None:
        said = {"optimizers": [*optimizers], "seeds": seeds, "epochs": epochs, "hidden": 4}
        self.file.write_text(FILE.format(**said))

    def plan(self, **spoken: Any) -> Plan:
        return make_plan(self.host, self.file, {"out": str(self.folder.parent), **spoken})

    def carry_out(self, **spoken: Any) -> None:
        """Carry the study out; `ended` has the outcome of each run that was left."""
        self.ended.clear()
        sweep(self.host, self.plan(**spoken), Here(), lambda j, it: self.ended.update({j.name: it}))


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    made = Studies(tmp_path)
    made.write()
    return made


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run only leaves the files that it would leave."""

    def perform(job: Job) -> Outcome:
        job.folder.mkdir(parents=True)
        (job.folder / "run.toml").write_text(tomli_w.dumps(job.settings))
        about = {"components": {}, "protocol": "p", "protocol_description": {}, "tasks": ["t"]}
        ran = {
            "status": "complete",
            "accuracy": [[0.5]],
            "seconds": 1.0,
            "seed": job.settings["seed"],
        }
        result = {**ran, **about}
        (job.folder / "result.json").write_text(json.dumps(result))
        return Outcome("complete")

    monkeypatch.setattr("bnnlab_studies.sweep.perform", perform)


@pytest.mark.usefixtures("no_training")
def test_every_cell_is_run_with_every_seed_once_and_a_larger_file_extends_it(
    studies: Studies,
) -> None:
    studies.carry_out()
    assert {*studies.ended} == {
        "optimizer=sgd, seed 0",
        "optimizer=adam, seed 0",
        "optimizer=sgd, seed 1",
        "optimizer=adam, seed 1",
    }
    assert {it.status for it in studies.ended.values()} == {"complete"}
    assert len((studies.folder / "runs.csv").read_text().splitlines()) == 5
    before = (studies.folder / "optimizer=sgd" / "seed-0" / "result.json").read_bytes()

    studies.write(optimizers=["adam", "bop", "sgd"], seeds=[2, 0, 1])
    studies.carry_out()
    assert len(studies.ended) == 5
    assert len((studies.folder / "runs.csv").read_text().splitlines()) == 10
    assert before == (studies.folder / "optimizer=sgd" / "seed-0" / "result.json").read_bytes()


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("of", ["optimizer=adam/seed-0", "optimizer=sgd/seed-1"])
def test_a_run_of_another_cell_or_seed_is_not_taken_for_this_one(
    studies: Studies, caplog: pytest.LogCaptureFixture, of: str
) -> None:
    studies.carry_out()
    folder = studies.folder / "optimizer=sgd" / "seed-0"
    shutil.rmtree(folder)
    shutil.copytree(studies.folder / of, folder)
    caplog.clear()
    assert main(["sweep", str(studies.folder), "--dry-run"]) == 0
    assert "1 run cannot begin, as runs with other settings are in their folders" in caplog.text
    study = Study.read(studies.folder)
    assert {run.name: run.status for run in study if not run.is_complete} == {
        "optimizer=sgd/seed-0": "foreign"
    }
    assert f"{folder} is no run of its study: " in caplog.text
    job = next(each for each in studies.plan().jobs(1) if each.folder == folder)
    assert "holds a run with other settings" in perform(job).error


@pytest.mark.usefixtures("no_training")
def test_the_runs_are_in_the_order_of_the_file_and_have_its_names(studies: Studies) -> None:
    text = studies.file.read_text().partition("[sweep.grid]")[0]
    for name in ("z", "b/c", "a"):
        text += f"[[sweep.cell]]\nname = '{name}'\nmodel.hidden = [{ord(name[0])}]\n"
    studies.file.write_text(text)
    studies.carry_out()
    assert [*Study.read(studies.folder).cells] == ["z", "b/c", "a"]
    studies.carry_out()
    assert not studies.ended


@pytest.mark.usefixtures("no_training")
def test_a_renamed_cell_is_known_by_its_settings(studies: Studies) -> None:
    studies.carry_out()
    text = studies.file.read_text().partition("[sweep.grid]")[0]
    for name in ("sgd", "adam", "bop"):
        text += f"[[sweep.cell]]\nname = 'my {name}'\noptimizer = '{name}'\n"
    studies.file.write_text(text)
    studies.carry_out()
    assert {*studies.ended} == {"my bop, seed 0", "my bop, seed 1"}


@pytest.mark.usefixtures("no_training")
def test_a_new_cell_may_have_the_name_of_an_old_one(studies: Studies) -> None:
    text = studies.file.read_text().partition("[sweep.grid]")[0]
    one, two = ("[[sweep.cell]]\nname = '{}'\noptimizer = '" + it + "'\n" for it in ("sgd", "bop"))
    studies.file.write_text(text + one.format("a"))
    studies.carry_out()
    studies.file.write_text(text + two.format("a") + one.format("b"))
    for left in (2, 0):
        studies.carry_out()
        assert len(studies.ended) == left
    cells = Study.read(studies.folder).cells
    assert {name: {run["optimizer"] for run in its} for name, its in cells.items()} == {
        "a": {"bop"},
        "b": {"sgd"},
    }


@pytest.mark.usefixtures("no_training")
def test_a_folder_with_more_than_the_file_is_another_study(studies: Studies) -> None:
    studies.carry_out()
    studies.write(optimizers=["adam"])
    with pytest.raises(UsageError, match="holds another study: it has 'optimizer=sgd'"):
        studies.carry_out()
    studies.write(seeds=[0])
    with pytest.raises(UsageError, match="holds another study: it has seed 1"):
        studies.carry_out()
    studies.carry_out(name="other")
    assert len(studies.ended) == 2


@pytest.mark.usefixtures("no_training")
def test_a_folder_that_holds_no_study_is_left_alone(studies: Studies) -> None:
    studies.folder.mkdir(parents=True)
    (studies.folder / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds no study, but 'thesis\\.tex'"):
        studies.carry_out()
    mine = studies.folder.parent / "mine"
    mine.mkdir()
    (mine / "study.toml").write_text(studies.file.read_text())
    with pytest.raises(UsageError, match="is a sweep file, and its folder none of a study"):
        sweep(studies.host, make_plan(studies.host, mine), Here())


@pytest.mark.usefixtures("no_training")
def test_two_processes_do_not_carry_out_one_study(studies: Studies) -> None:
    studies.folder.mkdir(parents=True)
    other = RunFolder(studies.folder)
    other.lock()
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        studies.carry_out()
    other.unlock()
    studies.carry_out()


@pytest.mark.usefixtures("no_training")
def test_a_table_that_cannot_be_written_is_named_after_the_figures(
    studies: Studies, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.carry_out()
    (studies.folder / "runs.csv").unlink()
    (studies.folder / "runs.csv").mkdir()
    monkeypatch.setattr("bnnlab_studies.commands.sweep.make_engine", lambda *_: Here())
    assert main(["sweep", str(studies.folder)]) == 1
    out, err = capsys.readouterr()
    assert f"written to {studies.folder}" in out
    table = studies.folder / "runs.csv"
    assert err.splitlines()[-2:] == [
        f"error: runs.csv: cannot write to {table}: Is a directory",
        f"to continue: bnn sweep {studies.folder}",
    ]


def test_a_failed_run_stops_no_other_and_is_tried_again(
    studies: Studies, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: RunFolder, line: Any) -> None:
        if "sgd" in str(self.path):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bnnlab_studies.commands.sweep.make_engine", lambda *_: Here())
        patch.setattr(RunFolder, "append_metrics", full)
        code = main(["sweep", str(studies.file), "--out", str(studies.folder.parent)])
    said = capsys.readouterr().err
    assert code == 1
    assert "optimizer=sgd, seed 1: " in said.partition("error: ")[2]
    assert "--resume" not in said
    assert said.endswith(f"\nto continue: bnn sweep {studies.folder}\n")
    assert [finished(each) is None for each in sorted(studies.folder.glob("*/*"))] == [
        *[False] * 2,
        *[True] * 2,
    ]
    studies.carry_out()
    assert {*studies.ended} == {"optimizer=sgd, seed 0", "optimizer=sgd, seed 1"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OSError("the queue lost it"), "OSError: the queue lost it"),
        (None, "engine engines.Faulty: a call was answered None, and not what it returned"),
    ],
)
def test_a_call_that_an_engine_loses_is_a_failed_run(
    studies: Studies, answer: Any, said: str
) -> None:
    lost: list[str] = []
    engine = Faulty(submitted=lambda: ended(answer))
    sweep(studies.host, studies.plan(), engine, lambda _, outcome: lost.append(outcome.error))
    assert lost == [said] * 4


def test_an_engine_that_fails_leaves_what_is_done_and_the_table(studies: Studies) -> None:
    studies.write(["sgd"], 1)
    for last in (OSError("no line"), RunError("no line")):
        with pytest.raises(BnnlabError, match="no line"):
            sweep(studies.host, studies.plan(), Faulty(left=last))
        assert "complete" in (studies.folder / "runs.csv").read_text()
        (studies.folder / "runs.csv").unlink()
        (studies.folder / "optimizer=sgd" / "seed-0" / "result.json").unlink()


def test_a_kill_before_a_run_has_its_file_does_not_wedge_the_study(studies: Studies) -> None:
    studies.carry_out()
    killed, foreign = (studies.folder / f"optimizer={it}" / "seed-0" for it in ("sgd", "adam"))
    for folder in (killed, foreign):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / ".lock").touch()
        (folder / ".run.toml.1.part").touch()
    (foreign / "notes.txt").touch()
    no_folder = studies.folder / "optimizer=sgd" / "seed-1"
    shutil.rmtree(no_folder)
    no_folder.touch()
    studies.carry_out()
    assert "Not a directory" in studies.ended["optimizer=sgd, seed 1"].error
    assert studies.ended["optimizer=sgd, seed 0"].status == "complete"
    assert studies.ended["optimizer=adam, seed 0"].status == "failed"
    assert "not empty: there is 'notes.txt'" in studies.ended["optimizer=adam, seed 0"].error


def test_a_run_with_other_settings_in_its_place_is_not_gone_on_with(studies: Studies) -> None:
    studies.carry_out()
    folder = studies.folder / "optimizer=sgd" / "seed-0"
    (folder / "result.json").unlink()
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(text.replace("epochs = 1", "epochs = 2"))
    studies.carry_out()
    (outcome,) = studies.ended.values()
    assert outcome.status == "failed"
    assert "holds a run with other settings" in outcome.error


def test_the_plan_is_printed_and_nothing_is_run(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", str(studies.file), "--out", str(studies.folder.parent), "--dry-run"]
    assert main([*words, "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 cells x 2 seeds = 4 runs, 0 done" in out
    assert "2 at a time" in out
    assert "0 of 2" in out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [0, 1]
    assert not studies.folder.exists()


def test_a_stream_without_a_validation_part_is_refused_before_the_first_run(
    studies: Studies,
) -> None:
    with pytest.raises(UsageError, match="has no validation part") as caught:
        studies.carry_out(evaluate_on="validation")
    assert str(caught.value).startswith("optimizer=sgd, optimizer=adam: ")
    assert not studies.ended
    studies.carry_out(evaluate_on="validation", stream={"validation": 0.1}, name="small")
    assert {it.status for it in studies.ended.values()} == {"complete"}


def test_what_only_a_stream_can_say_is_refused_before_the_first_run(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    text = studies.file.read_text().replace("epochs = 1", "epochs = [1, 2, 3]\nkeep = 'best'")
    studies.file.write_text(text)
    with pytest.raises(UsageError, match=r"epochs: 3 numbers for the .* tasks"):
        studies.carry_out()
    assert not studies.ended
    assert main(["sweep", str(studies.file), "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "before the first run begins: epochs: a number for each task; keep: a valid" in out


def test_what_many_runs_warn_of_is_said_once(
    studies: Studies, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = Outcome("complete", said=((30, "the data are old"),))
    monkeypatch.setattr("bnnlab_studies.sweep.perform", lambda _: said)
    studies.carry_out()
    (message,) = caplog.messages
    assert message.endswith(": the data are old")


def test_a_run_on_a_machine_without_the_studys_folder_is_refused(tmp_path: Path) -> None:
    outcome = perform(Job({}, tmp_path / "gone" / "cell" / "seed-0", "it"))
    assert outcome.status == "failed"
    assert "all machines of a study need it" in outcome.error
    assert not (tmp_path / "gone").exists()
