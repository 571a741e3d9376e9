"""benchmarks/run_queue.py: the order of its work, what it does with each run, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from engines import Here
from filelock import FileLock
from scripts import FOLDER, script

from bnnlab import PluginHost
from bnnlab_claims.card import FULL, QUICK, Budget, Card, Claim

run_queue, studies = map(script, ("run_queue", "generated.studies"))
SMALL: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "adam",
    "stream": {"name": "permuted-digits", "tasks": 2},
    "model": {"name": "mlp", "hidden": [16]},
    "epochs": 1,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of studies, of which the queue is; what it runs, runs in this process."""
    monkeypatch.setattr(studies, "HOME", tmp_path / "home")
    monkeypatch.setattr(run_queue, "QUEUE", tmp_path / "home" / "queue.toml")
    monkeypatch.setattr(run_queue, "LocalExecutor", Here().executor)
    monkeypatch.setenv("BNNLAB_DATA", str(tmp_path / "data"))
    return tmp_path / "home"


def write(home: Path, *jobs: dict[str, Any], **seeds_and_cells: tuple[Any, Any]) -> None:
    """Write the queue, and studies by their names."""
    for name, (seeds, cells) in seeds_and_cells.items():
        (home / name).mkdir(parents=True)
        named = [{"name": cell, **settings} for cell, settings in cells.items()]
        study = {**SMALL, "sweep": {"seeds": seeds, "cell": named}}
        (home / name / "study.toml").write_text(tomli_w.dumps(study))
    (home / "queue.toml").write_text(tomli_w.dumps({"job": [*jobs]}))


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """Call the script; return what it exits with."""
    monkeypatch.setattr("sys.argv", ["run_queue.py", *words])
    try:
        run_queue.main()
    except SystemExit as end:
        return end.code
    return 0


def results(runs: Path) -> list[str]:
    return sorted(it.parent.relative_to(runs).as_posix() for it in runs.rglob("result.json"))


def test_every_entry_of_the_queue_can_be_carried_out(tmp_path: Path) -> None:
    found, faults = run_queue.entries(PluginHost(), tmp_path, begin=False)
    assert [it for it in faults if "not chosen yet" not in it] == []
    folders = [job.folder for _, job in run_queue.in_order(found)]
    assert 0 < len({*folders}) == len(folders)


def test_the_first_seeds_of_a_tier_come_first_by_rank(home: Path, tmp_path: Path) -> None:
    write(
        home,
        {"study": "late", "tier": 2},
        {"study": "two"},
        {"study": "one"},
        late=([5], {"d": {}}),
        one=([7], {"a": {}}),
        two=([1, 0], {"b": {"epochs": 2}, "c": {}}),
    )
    found, _ = run_queue.entries(PluginHost(), tmp_path / "runs", begin=False)
    order = [f"{entry.title} {job}" for entry, job in run_queue.in_order(found)]
    assert order == [
        *("two b, seed 1", "two c, seed 1", "one a, seed 7", "two b, seed 0", "two c, seed 0"),
        "late d, seed 5",
    ]
    assert {job.settings["threads"] for _, job in run_queue.in_order(found)} == {1}
    assert not (tmp_path / "runs").exists()


def test_a_run_of_a_study_that_a_claim_has_is_made_for_the_claim(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget((0,), {**SMALL, "stream": {"tasks": 2}})
    claim = Claim("demo/tiny", recipe="demo/bp-adam", budgets={FULL: budget, QUICK: budget})
    monkeypatch.setattr(run_queue, "find_card", lambda *_: Card(claim))
    recipe = {"recipe": "demo/bp-adam", **budget.settings}
    quick = {"claim": "demo/tiny", "budget": "quick"}
    cells = {"a": recipe, "b": {**recipe, "epochs": 2}}
    write(home, {"study": "s"}, quick, {"claim": "demo/tiny"}, s=([0, 1], cells))
    found, _ = run_queue.entries(PluginHost(), tmp_path / "runs", begin=False)
    order = [f"{entry.title} {job}" for entry, job in run_queue.in_order(found)]
    assert order == [
        *("s b, seed 0", "demo/tiny, quick demo/tiny, seed 0", "demo/tiny, full demo/tiny, seed 0"),
        *("s a, seed 1", "s b, seed 1"),
    ]


def test_what_fails_is_named_and_left_and_what_is_done_is_not_done_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = {"taken": {"epochs": 2}, "fine": {}}
    write(home, {"study": "none"}, {"study": "some"}, some=([0], cells))
    runs = tmp_path / "runs"
    call(monkeypatch, str(runs), "--hours", "0")
    (runs / "some" / "taken" / "seed-0").mkdir(parents=True)
    (runs / "some" / "taken" / "seed-0" / "letter.txt").touch()
    ended = call(monkeypatch, str(runs))
    assert "not done:\nnone: " in ended
    assert "\nsome: taken, seed 0: " in ended
    assert "fine" not in ended
    assert results(runs) == ["some/fine/seed-0"]
    assert (runs / "some" / "study.toml").exists()  # as `bnn sweep` leaves a study
    assert "some: fine, seed 0: complete" in capsys.readouterr().out
    made = (runs / "some/fine/seed-0/result.json").read_bytes()
    call(monkeypatch, str(runs))
    assert (runs / "some/fine/seed-0/result.json").read_bytes() == made
    assert "fine" not in capsys.readouterr().out
    monkeypatch.setattr(run_queue, "hours_of", lambda *_: 2)
    call(monkeypatch, str(runs), "--status")
    assert "1 of 2 done     2.0 h left" in capsys.readouterr().out
    assert results(runs) == ["some/fine/seed-0"]


def test_a_run_that_another_one_has_is_left_to_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, {"study": "s"}, s=([0, 1], {"a": {}}))
    runs = tmp_path / "runs"
    (runs / run_queue.LOCKS).mkdir(parents=True)
    with FileLock(runs / run_queue.LOCKS / "s-a-seed-0.lock"):
        assert call(monkeypatch, str(runs)) == 0
    assert results(runs) == ["s/a/seed-1"]
    assert call(monkeypatch, str(runs), "--hours", "0") == 0
    assert results(runs) == ["s/a/seed-1"]
    assert call(monkeypatch, str(runs)) == 0
    assert results(runs) == ["s/a/seed-0", "s/a/seed-1"]


def test_the_fraction_of_a_run_is_that_of_its_epochs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, {"study": "s"}, s=([0], {"a": {"epochs": [1, 3]}, "b": {"steps": 2}}))
    assert call(monkeypatch, str(tmp_path / "runs")) == 0
    for cell, before in (("a", 0.25), ("b", 0.5)):
        folder = tmp_path / "runs" / "s" / cell / "seed-0"
        assert run_queue.fraction(folder) == 1
        lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        first = next(n for n, line in enumerate(lines) if json.loads(line)["event"] == "epoch")
        (folder / "metrics.jsonl").write_text("".join(lines[: first + 1]))
        assert run_queue.fraction(folder) == before
        (folder / "metrics.jsonl").write_text("")
        assert run_queue.fraction(folder) == 0


def test_a_cell_waits_until_its_settings_are_chosen(home: Path, tmp_path: Path) -> None:
    trials = {"adam: 1": {}, "adam: 2": {"epochs": 2}, "other: 1": {"epochs": 3}}
    write(home, {"study": "s"}, s=([0], {"adam": {}, "fixed": {"epochs": 2}}), t=([3], trials))
    tuning = (
        home / "t" / "study.toml"
    ).read_text() + '[[table]]\ncolumns = [{measure = "score"}]\n'
    (home / "s" / "tuning.toml").write_text(tuning)
    (home / "s" / "tuning").mkdir()
    for number in (1, 2):
        (entry,), faults = run_queue.entries(PluginHost(), tmp_path / "runs", begin=False)
        assert [cell.name for cell in entry.plan.cells] == ["fixed"]
        assert len(faults) == 1
        assert faults[0].startswith("s: 'adam' not chosen yet: keep the results of s/tuning")
        kept = {"accuracy": [[0.5]], "seconds": 1, "score": 0.5, "protocol": "p"}
        (home / "s" / "tuning" / f"adam-{number}-3.json").write_text(json.dumps(kept))
    (entry,), faults = run_queue.entries(PluginHost(), tmp_path / "runs", begin=False)
    assert [cell.name for cell in entry.plan.cells] == ["adam", "fixed"]
    assert faults == []


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"claim": "bop/x", "hours": 1},
        {"study": "s", "budget": "full"},
        {"study": 3},
        {"study": "s", "tier": "last"},
    ],
)
def test_what_is_no_job_is_named(job: dict[str, Any], home: Path, tmp_path: Path) -> None:
    write(home, job, {"study": "s"}, s=([0], {"a": {}}))
    found, (fault,) = run_queue.entries(PluginHost(), tmp_path / "runs", begin=False)
    assert "is no job: say a claim" in fault
    assert [entry.title for entry in found] == ["s"]


def test_a_folder_in_the_repository_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, str(FOLDER / "runs")) == 2
    assert "name a folder out of it" in capsys.readouterr().err


@pytest.mark.slow
def test_a_signal_saves_and_two_commands_share_the_work(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of a run that was stopped are those of one that was not."""
    write(home, {"study": "s"}, s=([0], {"a": {"epochs": 60, "batch_size": 10}, "b": {}}))
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import run_queue, pathlib\n"
        f"from generated import studies; studies.HOME = pathlib.Path({str(home)!r})\n"
        "run_queue.QUEUE = studies.HOME / 'queue.toml'; run_queue.main()"
    )
    whole, torn = tmp_path / "whole", tmp_path / "torn"

    def begin() -> subprocess.Popen[str]:
        words = [sys.executable, "-c", code, str(torn)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    first, folder = begin(), torn / "s" / "a" / "seed-0"
    metrics = folder / "metrics.jsonl"
    while first.poll() is None and not (metrics.exists() and '"epoch": 3' in metrics.read_text()):
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    assert first.communicate()[0].endswith("s: a, seed 0: begins\n")
    assert first.returncode == 128 + signal.SIGTERM
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    calls = [begin(), begin()]
    told = "".join(each.communicate()[0] for each in calls)
    assert [each.returncode for each in calls] == [0, 0]
    assert "s: a, seed 0: goes on" in told
    assert told.count("complete") == 2
    assert call(monkeypatch, str(whole)) == 0
    for cell in "ab":
        place = f"s/{cell}/seed-0/result.json"
        one, other = (json.loads((runs / place).read_text()) for runs in (torn, whole))
        assert one["accuracy"] == other["accuracy"]
