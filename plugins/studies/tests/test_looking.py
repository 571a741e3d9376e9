"""`bnn runs`, `show` and `compare`: what they print, and what they refuse."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from bnnlab import PluginHost, run
from bnnlab.cli import main
from bnnlab.cli.display import print_result
from bnnlab.engine.figures import SHARE
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder
from bnnlab.storage.rows import packed
from bnnlab_studies.commands.summaries import print_summaries
from bnnlab_studies.commands.watching import Watch
from bnnlab_studies.gathering import gather
from bnnlab_studies.job import Job, Outcome
from bnnlab_studies.results import range_of, units_of
from bnnlab_studies.study import Study
from bnnlab_testing.pytest_plugin import MakePlugin

MakeRun = Callable[..., Path]


class Bnn:
    """Calls `bnn` in this process, before a terminal of 80 columns."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: object, code: int = 0) -> str:
        answer = main([str(word) for word in words])
        out, self.err = self._capsys.readouterr()
        assert answer == code, self.err
        if not {"--csv", "--json"} & {*words}:  # and a path is not folded
            assert all(len(line) <= 80 or os.sep in line for line in out.splitlines())
        return out

    def json(self, *words: object) -> Any:
        return json.loads(self(*words, "--json"))

    def refused(self, *words: object) -> str:
        self(*words, code=2)
        assert self.err.count("\n") == 1
        return self.err


@pytest.fixture
def bnn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bnn:
    monkeypatch.setenv("COLUMNS", "80")
    return Bnn(capsys)


TITLES = ("accuracy", "%", "forgetting", "%", "seconds")  # below `average`
ADAM = {"name": "acme/adam", "lr": 0.1}
META = {"name": "acme/meta", "lr": 0.001, "m": 5.0}


@pytest.fixture
def folder(make_run: MakeRun, tmp_path: Path) -> Path:
    """Return a folder with runs of two cells, a failed one and one without a result."""
    for seed, (one, two) in enumerate([(0.5, 0.61), (0.55, 0.64), (0.52, 0.6), (0.51, 0.67)]):
        make_run(f"adam/seed-{seed}", one, seed=seed, optimizer=ADAM)
        make_run(f"meta/seed-{seed}", two, seed=seed, optimizer=META)
    make_run("meta/seed-10", 0.1, seed=10, optimizer=META, status="failed")
    make_run("meta/seed-11", seed=11, optimizer=META)
    return tmp_path


def names(bnn: Bnn, folder: Path, *words: str) -> list[str]:
    return [each["name"] for each in bnn.json("runs", folder, *words)["runs"]]


# -------------------------------------------------------------------- runs


def test_runs_are_a_table(bnn: Bnn, folder: Path) -> None:
    lines = bnn("runs", folder).splitlines()
    assert lines[1].split() == ["name", "status", "optimizer", "seed", *TITLES]
    assert lines[2].split() == ["adam/seed-0", "complete", "adam", "0", "50.0", "-", "1.5"]
    assert lines[-3].split() == ["meta/seed-10", "failed", "meta", "10", "10.0", "-", "1.5"]
    assert lines[-2].split() == ["meta/seed-11", "unfinished", "meta", "11", "-", "-", "-"]
    assert lines[-1] == "All: rule bp, model mlp, stream digits."


def test_a_run_with_a_long_name_has_its_line(
    bnn: Bnn, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "dfa-meta-vgg-binaryconnect-split-image-folder-20260101-000000"
    vit = {"name": "acme/vgg-binaryconnect"}
    make_run(name, 0.5, model=vit, protocol={"epochs": 2})
    make_run("short", 0.5, stream={"name": "acme/split-image-folder"}, optimizer=META)
    for seed in (2, 10):
        make_run(f"{name}-study/cell/seed-{seed}", 0.6, seed=seed, model=vit)
    out = bnn("runs", tmp_path)
    lines = out.splitlines()
    assert "50.0" in lines[lines.index(name) + 1]
    of_study = lines[lines.index(f"{name}-study/cell/") :]
    seeds = [line.split()[0] for line in of_study if "seed-" in line]
    assert seeds == ["seed-2", "seed-10"]
    assert "These runs have 2 protocols" in out
    monkeypatch.setenv("COLUMNS", "30")
    assert "  average accuracy %: 50.0" in bnn("runs", tmp_path)


def test_cells_are_told_apart_by_what_their_optimizers_go_around(
    bnn: Bnn, make_run: MakeRun, tmp_path: Path
) -> None:
    def around(base: str, **options: Any) -> dict[str, Any]:
        return {"name": "acme/ewc", "base": {"name": f"acme/{base}", **options}}

    for seed in range(2):
        make_run(f"a/seed-{seed}", 0.5, seed=seed, optimizer=around("adam", lr=0.1))
        make_run(f"b/seed-{seed}", 0.6, seed=seed, optimizer=around("meta", lr=0.1, m=5.0))
        make_run(f"c/seed-{seed}", 0.7, seed=seed, optimizer=around("meta", lr=0.1, m=2.0))
    assert [*Study.read(tmp_path).cells] == [
        "optimizer.base=adam",
        "optimizer.base=meta, optimizer.base.m=5.0",
        "optimizer.base=meta, optimizer.base.m=2.0",
    ]
    found = names(bnn, tmp_path, "--where", "optimizer.base=meta", "--where", "optimizer.base.m>2")
    assert found == ["b/seed-0", "b/seed-1"]
    told = bnn("runs", tmp_path, "--columns", "optimizer.base,optimizer.base.name")
    assert "meta" in told
    assert "acme/meta" in told


def test_a_damaged_run_is_in_the_table_and_hides_nothing(
    bnn: Bnn, make_run: MakeRun, tmp_path: Path
) -> None:
    (make_run("bad", 0.5) / "run.toml").write_text("seed")
    make_run("good", 0.5)
    lines = bnn("runs", tmp_path).splitlines()
    assert str(tmp_path / "bad" / "run.toml") in bnn.err
    assert ["bad", "damaged", "-", "-", "-", "-"] in [line.split() for line in lines]
    assert lines[-1] == "All: rule bp, optimizer adam, model mlp, stream digits."
    assert bnn("show", tmp_path / "bad").startswith("bad: damaged\nunknown, seed ?\n")


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("optimizer=meta", 6),
        ("optimizer!=meta", 4),
        ("optimizer.lr=0.1", 4),
        ("optimizer.lr=1e-1", 4),
        ("optimizer.lr<0.1", 6),
        ("optimizer.m=5", 6),
        ("optimizer.m!=4", 6),
        ("average_accuracy >= 0.6", 4),
        ("seed<=1", 4),
        ("seed>9", 2),
        ("status=complete", 8),
        ("uncertainty=false", 10),
        ("uncertainty=0", 0),
        ("model.hidden=[16]", 10),
        ("forgetting=none", 9),
        ("accuracy.-1.0=0.5", 9),
        ("name=adam/seed-0", 1),
        ("name>1", 0),
    ],
)
def test_runs_are_chosen_by_conditions(bnn: Bnn, folder: Path, condition: str, count: int) -> None:
    assert len(names(bnn, folder, "--where", condition)) == count


def test_all_conditions_must_hold(bnn: Bnn, folder: Path) -> None:
    both = ("--where", "optimizer=meta", "--where", "seed=1")
    assert names(bnn, folder, *both) == ["meta/seed-1"]
    assert bnn("runs", folder, *both).splitlines()[-1] == "1 of 10 runs"
    assert bnn("runs", folder, "--where", "seed=99") == "0 of 10 runs\n"
    assert bnn("runs", folder, "--where", "seed=99", "--csv") == "\n"


def test_runs_are_sorted_and_what_has_no_value_is_last(bnn: Bnn, folder: Path) -> None:
    meta = ("--where", "optimizer=meta")
    seeds = [0, 1, 2, 3, 10, 11]
    assert names(bnn, folder, *meta) == [f"meta/seed-{seed}" for seed in seeds]
    assert names(bnn, folder, *meta, "--sort", "-name")[0] == "meta/seed-11"
    upwards = names(bnn, folder, *meta, "--sort", "average_accuracy")
    downwards = names(bnn, folder, *meta, "--sort", "-average_accuracy")
    assert upwards[:2] == ["meta/seed-10", "meta/seed-2"]
    assert downwards == [*reversed(upwards[:-1]), "meta/seed-11"]


def test_columns_are_chosen_and_csv_is_exact(bnn: Bnn, make_run: MakeRun, tmp_path: Path) -> None:
    third = 1 / 3
    make_run('odd, "name"', third)
    out = bnn("runs", tmp_path, "--csv", "--columns", "name,model.hidden,average_accuracy,accuracy")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["name"] == 'odd, "name"'
    assert float(row["average_accuracy"]) == third
    assert json.loads(row["model.hidden"]) == [16]
    assert json.loads(row["accuracy"])[0][0] == third
    (row,) = csv.DictReader(io.StringIO(bnn("runs", tmp_path, "--csv")))
    assert float(row["uncertainty.ece"]) == 0.25
    assert row["optimizer"] == "adam"
    out = bnn("runs", tmp_path, "--columns", "seed, uncertainty.ece, optimizer.lr")
    assert out.split() == ["seed", "uncertainty.ece", "optimizer.lr", "0", "0.25", "0.01"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--columns", "optimiser"), "--columns 'optimiser': no run has .* 'optimizer'?"),
        (
            ("--sort", "-sed"),
            "--sort 'sed': no run has this setting or measure. Did you mean 'seed'?",
        ),
        (("--where", "optimizer.rl=1"), "--where 'optimizer.rl'.* Did you mean 'optimizer.lr'?"),
        (("--where", "seed"), "--where 'seed': write NAME=VALUE, or with != < > <= >="),
        (("--where", "seed==1"), "--where 'seed==1': write NAME=VALUE"),
        (("--where", "seed=<1"), "--where 'seed=<1': write NAME=VALUE"),
        (("--where", "seed<x"), "--where 'seed<x': 'x' is no number to compare with"),
        (("--json", "--csv"), "--json and --csv: choose one"),
    ],
)
def test_a_wrong_word_is_refused(bnn: Bnn, folder: Path, words: tuple[str, ...], said: str) -> None:
    err = bnn.refused("runs", folder, *words)
    for part in said.split(".*"):
        assert part in err


def test_a_folder_without_runs_is_refused(bnn: Bnn, tmp_path: Path) -> None:
    assert f"{tmp_path} holds no run" in bnn.refused("runs", tmp_path)
    assert f"{tmp_path} holds no run" in bnn.refused("show", tmp_path)
    assert "there is no folder" in bnn.refused("show", tmp_path / "nowhere")
    assert "holds no run" in bnn.refused("compare", tmp_path, tmp_path)
    assert "there is no folder" in bnn.refused("runs", tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for command in ("runs", "show", "compare"):
        assert "pipe is no folder" in bnn.refused(command, tmp_path / "pipe")
    (tmp_path / "x.json").write_text("{}")
    assert "is not the result of a run" in bnn.refused("show", tmp_path / "x.json")


# -------------------------------------------------------------------- means


def summaries(capsys: pytest.CaptureFixture[str], study: Study) -> list[str]:
    print_summaries(study)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_means_of_cells_have_their_values_and_what_is_left_out(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    study = Study.read(folder)
    lines = summaries(capsys, study)
    values = [50.0, 55.0, 52.0, 51.0]
    mean, std = fmean(values), stdev(values)
    low, high = stats.t.interval(0.95, 3, mean, std / 2)
    assert lines[:2] == [
        "average accuracy %",
        "cell seeds 0 1 2 3 10 11 n mean std 95 % interval",
    ]
    assert lines[2] == (
        f"optimizer=adam 50.0 55.0 52.0 51.0 - - 4 {mean:.1f} {std:.2f} {low:.1f} to {high:.1f}"
    )
    assert "not counted: meta/seed-10: failed" in lines
    assert "not counted: meta/seed-11: unfinished" in lines
    assert not any("forgetting" in line for line in lines), "no run measured it"


def test_the_means_of_one_cell_are_those_of_all_measures(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    runs = Study.read(folder / "adam").records
    assert summaries(capsys, Study(runs))[2:-1] == [
        "average accuracy % 50.0 55.0 52.0 51.0 4 52.0 2.16 48.6 to 55.4",
        "uncertainty.ece 0.25 0.25 0.25 0.25 4 0.25 0 0.25 to 0.25",
        "seconds 1.5 1.5 1.5 1.5 4 1.5 0.00 1.5 to 1.5",
    ]
    lines = summaries(capsys, Study(runs[:1]))
    assert "average accuracy % 50.0 1 50.0 - -" in lines
    assert lines[-1] == "one seed: there is no interval"
    assert summaries(capsys, Study(Study.read(folder)[-1:])) == ["no run is complete"]


# -------------------------------------------------------------------- show


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the result of a real run."""
    tasks = {"name": "permuted-digits", "tasks": 2}
    return run(
        stream=tasks,
        model={"name": "mlp", "hidden": [16]},
        epochs=1,
        device="cpu",
        out=tmp_path_factory.mktemp("runs"),
        name="one",
    )


def test_show_prints_what_run_printed_and_what_is_no_default(
    bnn: Bnn, trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    print_result(trained.as_dict(), None)
    printed = capsys.readouterr().out
    out = bnn("show", trained.folder)
    assert printed in out
    assert out.startswith("one: complete\ndfa + meta + mlp + permuted-digits, seed 0\n")
    table = out.partition("setting")[2].partition("all other")[0]
    rows = [line.split() for line in table.splitlines()[1:]]
    assert rows == [
        ["epochs", "1", "5"],
        ["model.hidden", "[16]", "[512,", "512]"],
        ["stream.tasks", "2", "10"],
    ]
    assert f"torch {json.loads((trained.folder / 'environment.json').read_text())['torch']}" in out
    document = bnn.json("show", trained.folder)
    assert document["result"] == json.loads((trained.folder / "result.json").read_text())
    assert document["changed"][0] == {"name": "epochs", "value": 1, "default": 5}
    kept = bnn("show", trained.folder / "result.json")
    assert printed in kept


def test_show_prints_what_is_no_default_of_what_an_optimizer_goes_around(
    bnn: Bnn, make_run: MakeRun
) -> None:
    def shown(name: str, base: Any) -> list[list[str]]:
        folder = make_run(name, 0.5, optimizer={"name": "bnnlab-consolidation/ewc", "base": base})
        table = bnn("show", folder).partition("setting")[2].partition("all other")[0]
        return [line.split() for line in table.splitlines() if "optimizer" in line]

    sgd, meta = "bnnlab-backprop/sgd", "bnnlab-metaplasticity/meta"
    assert shown("as text", "sgd") == []
    assert shown("the default", {"name": sgd, "lr": 0.1}) == []
    assert shown("its own lr", {"name": sgd, "lr": 0.2}) == [["optimizer.base.lr", "0.2", "0.1"]]
    assert shown(
        "deeper", {"name": "bnnlab-consolidation/si", "base": {"name": meta, "m": 5.0}}
    ) == [
        ["optimizer.base", "bnnlab-consolidation/si", "sgd"],
        ["optimizer.base.base", meta, "sgd"],
        ["optimizer.base.base.m", "5.0", "1.35"],
    ]
    assert shown("not installed", {"name": "acme/x", "q": 1.0}) == [
        ["optimizer.base", "acme/x", "sgd"],
        ["optimizer.base.q", "1.0", "?"],
    ]


def test_of_one_task_show_prints_its_accuracy_and_those_on_the_validation_part(
    bnn: Bnn, make_run: Any
) -> None:
    one = {"accuracy": [[0.925]], "tasks": ["one"], "untrained_accuracy": [0.1]}
    folder = make_run("one", 0.925, result=one)
    assert "validation accuracy" not in bnn("show", folder)
    lines = [
        json.dumps({"event": "epoch", "validation_accuracy": 0.01 * epoch}) for epoch in range(100)
    ]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, ""]))
    out = bnn("show", folder)
    assert re.search(r"^accuracy +92\.5 % +on the test part of the task *$", out, re.MULTILINE)
    for absent in ("forgetting", "transfer", "on 1", "task 1"):
        assert absent not in out
    told = " ".join(out.partition("(after epoch): ")[2].split())
    assert told.startswith("0.0 (1), 11.0 (12), ")
    assert "99.0 (100)" in told
    (folder / "metrics.jsonl").write_text('{"event": "epoch", "validation_accuracy": []}\n')
    assert "metrics.jsonl is damaged" in bnn.refused("show", folder)


def test_show_imports_no_torch(trained: Any) -> None: ...


def test_a_run_without_a_result_is_shown_as_far_as_it_came(
    bnn: Bnn, trained: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(trained.folder, folder)
    (folder / "result.json").unlink()
    metrics = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    ended = next(n for n, line in enumerate(metrics) if '"evaluation"' in line)
    (folder / "metrics.jsonl").write_text("".join(metrics[: ended + 1]) + '{"event": "epo')
    out = bnn("show", folder)
    assert "killed: unfinished\n" in out
    assert f"to continue: bnn run --resume {folder}" in out.replace("\n", " ")
    assert "task 1: 1 of 1 epochs are done, training accuracy" in out
    first = trained.accuracy[0]
    assert bnn.json("show", folder)["result"]["accuracy"] == [first]
    assert f"average accuracy  {100 * first[0]:5.1f} %" in out
    run = RunFolder(folder)
    run.lock()
    assert f"process {os.getpid()} on " in bnn("show", folder)
    run.unlock()
    (folder / "metrics.jsonl").write_text("")
    assert "no epoch is done" in bnn("show", folder)
    (folder / "metrics.jsonl").write_text('{"event": "evaluation"}\n')
    assert "metrics.jsonl is damaged: KeyError: 'accuracy'" in bnn.refused("show", folder)


def test_of_a_run_without_a_result_its_settings_say_which_scores_there_are(
    bnn: Bnn, make_run: MakeRun
) -> None:
    folder = make_run("some", evaluate="last:1", evaluate_on="validation")
    rows = [[0.5, None], [None, 0.75]]
    lines = [{"event": "untrained", "accuracy": packed([None, None])}] + [
        {"event": "evaluation", "task": n, "accuracy": packed(row)} for n, row in enumerate(rows)
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    out = bnn("show", folder).replace("\n", " ")
    assert "validation accuracy in %; -: not measured (evaluate = last:1)" in out
    assert bnn.json("show", folder)["result"]["accuracy"] == rows
    assert "n/a  over all tasks after the last one" in out


def test_a_failed_run_is_shown_with_its_error(bnn: Bnn, make_run: MakeRun) -> None:
    folder = make_run("one", 0.5, status="failed", result={"flips": []})
    (folder / "log.txt").write_text(
        "2026-01-01 00:00:00,000 ERROR first\n2026-01-01 00:00:01,000 ERROR the loss is nan\n  at\n"
    )
    out = bnn("show", folder)
    assert "error: the loss is nan\n" in out
    assert "the defaults of rule acme/bp are not known" in out
    assert ["optimizer.lr", "0.01", "?"] in [line.split() for line in out.splitlines()]


def test_before_a_narrow_terminal_lines_are_wrapped_but_commands_are_not(
    bnn: Bnn, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    folder = make_run("one", seed=1)
    lines = [line.rstrip() for line in bnn("show", folder).splitlines()]
    assert lines[:3] == ["one: unfinished", "bp + adam + mlp +", "digits, seed 1"]
    assert f"to continue: bnn run --resume {folder}" in lines


def test_of_a_folder_of_runs_none_is_shown(bnn: Bnn, folder: Path) -> None:
    said = f"holds 6: bnn runs {folder / 'meta'} lists them"
    assert said in bnn.refused("show", folder / "meta")


@pytest.mark.slow  # a process of its own
def test_runs_are_looked_at_without_torch(folder: Path) -> None:
    words = (["runs", str(folder)], ["show", str(folder / "adam" / "seed-0")])
    code = (
        "import sys; from bnnlab.cli import main\n"
        f"assert [main(each) for each in {words}] == [0, 0]\n"
        "assert not {'torch', 'scipy', 'numpy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -------------------------------------------------------------------- compare


def test_compare_says_what_scipy_says(bnn: Bnn, folder: Path) -> None:
    one, two = [0.5, 0.55, 0.52, 0.51], [0.61, 0.64, 0.6, 0.67]
    places = (folder / "adam", folder / "meta")
    document = bnn.json("compare", *places)
    assert "WARNING: pairs: 4. Below 5" in bnn.err
    (found,) = document["comparisons"]
    test = stats.ttest_rel(two, one)
    assert found["p_t"] == pytest.approx(test.pvalue)
    assert [found["low"], found["high"]] == pytest.approx([*test.confidence_interval()])
    assert found["p_wilcoxon"] == pytest.approx(stats.wilcoxon(two, one).pvalue)
    assert found["p_holm"] is None
    out = bnn("compare", *places)
    assert out.startswith("average accuracy %: each cell is compared with the first one, adam\n")
    low, high = (f"{100 * each:+.1f}" for each in test.confidence_interval())
    row = f"meta 4 52.0 63.0 +11.0 {low} to {high} {found['effect']:.2f}".split()
    assert row in [line.split() for line in out.splitlines()]
    tests = f"meta {test.pvalue:.3g} 0.125 0.125".split()
    assert tests in [line.split() for line in out.splitlines()]
    assert f"left out: {folder / 'meta' / 'seed-10'}: failed" in out.replace("\n", "")
    (row_of_csv,) = csv.DictReader(io.StringIO(bnn("compare", *places, "--csv")))
    assert float(row_of_csv["p_t"]) == found["p_t"]
    assert json.loads(row_of_csv["seeds"]) == [0, 1, 2, 3]


def test_one_task_has_an_accuracy_and_no_average(
    bnn: Bnn, make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(4):
        for name, accuracy in (("adam", 0.5 + 0.01 * seed), ("meta", 0.6)):
            one = {"accuracy": [[accuracy]], "tasks": ["one"]}
            its = {"optimizer": {"name": f"acme/{name}"}, "seed": seed, "result": one}
            folder = make_run(f"{name}/seed-{seed}", accuracy, **its)
    job = Job(read_config(folder / "run.toml"), folder, "it")
    Watch(1, quiet=False).ended(job, Outcome("complete"))
    assert "it: accuracy 60.0 %, 1.5 s" in capsys.readouterr().err
    study = Study.read(tmp_path)
    assert bnn("compare", tmp_path / "adam", tmp_path / "meta").startswith("accuracy %: each cell")
    said = [*summaries(capsys, study), bnn("runs", tmp_path), study._repr_html_()]
    assert said[0] == "accuracy %"
    assert not any("average" in each for each in said)


def test_intervals_are_shown_cut_at_the_ends_of_what_is_possible(
    bnn: Bnn, make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, values in {"a": (0.99, 1.0, 0.92), "b": (0.1, 0.99, 0.98)}.items():
        for seed, accuracy in enumerate(values):
            optimizer = {"name": f"acme/{name}"}
            make_run(f"{name}/seed-{seed}", accuracy, seed=seed, optimizer=optimizer)
    note = "intervals are cut at the ends of what is possible"
    study = Study.read(tmp_path)
    assert study.summary()["optimizer=a"].high > 1
    lines = summaries(capsys, study)
    assert lines[2] == "optimizer=a 99.0 100.0 92.0 3 97.0 4.36 86.2 to 100.0"
    assert lines[3].endswith(" 0.0 to 100.0")
    assert lines[-1] == note
    assert " 100.0" in study._repr_html_()
    assert note in study._repr_html_()
    places = (tmp_path / "a", tmp_path / "b")
    (found,) = bnn.json("compare", *places)["comparisons"]
    assert found["low"] < -1, "other programs get the ends of the formula"
    out = bnn("compare", *places)
    assert "-100.0 to " in out
    assert note in out
    assert note not in bnn("compare", *places, "--measure", "uncertainty.ece")
    make_run("a/seed-3", 0.99, seed=3, optimizer={"name": "acme/a"}, result={"seconds": 99.0})
    lines = summaries(capsys, Study.read(tmp_path / "a"))
    assert "seconds 1.5 1.5 1.5 99.0 4 25.9 48.75 0.0 to 103.4" in lines


PROBE = """
from bnnlab import Component, Kind, hookimpl

@hookimpl
def bnnlab_components():
    measures = {"mine": ("its own", ""), "mine.share": ("0 to 0.5", ""), "loss": ("W, from -2", "")}
    return [Component(Kind.PROBE, "mine", "acme_p:P", "It.", "none", measures=measures)]
"""


def test_a_probe_declares_the_range_of_its_measures_and_of_their_parts(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("acme-probe", PROBE)
    units = units_of(PluginHost())
    ranges = {
        "seconds": (0, inf),
        "forgetting": (-1, 1),
        "mine.else": (-inf, inf),
        "mine.share.0": (0, 0.5),
        "mine.3.share": (0, 0.5),
        "loss": (-2, inf),
        "none": (-inf, inf),
        "uncertainty.ece": (0, 1),
        "uncertainty.nll": (0, inf),
        "uncertainty.reliability.count.14": (0, inf),
        "uncertainty.reliability.accuracy.-1": (0, 1),
        "diagnosis.0.1.angle": (0, 180),
    }
    assert {name: range_of(name, SHARE, units) for name in ranges} == ranges


def test_a_study_asks_the_plugins_of_its_host(make_plugin: MakePlugin, make_run: MakeRun) -> None:
    make_plugin("acme-probe", PROBE)
    run, other = make_run("one", 0.5), PluginHost(disabled=["acme-probe"])
    assert Study.read(run).units["mine.share"] == "0 to 0.5"
    assert gather([run], other).host is Study.read(run, other).host is other
    assert "mine.share" not in Study.read(run, other).units


def test_a_studys_cells_are_compared_with_its_first_and_corrected(
    bnn: Bnn, folder: Path, make_run: MakeRun
) -> None:
    for seed in range(4):
        make_run(f"more/seed-{seed}", 0.6, seed=seed, optimizer={"name": "acme/sgd"})
    found = bnn.json("compare", folder)["comparisons"]
    assert [each["other"] for each in found] == ["optimizer=meta", "optimizer=sgd"]
    smaller, larger = sorted(each["p_t"] for each in found)
    corrected = sorted(each["p_holm"] for each in found)
    assert corrected == pytest.approx([2 * smaller, max(2 * smaller, larger)])
    out = bnn("compare", folder)
    assert "p (Holm): p (t), 2 of them corrected together" in out
    assert "the first one, optimizer=adam\n" in out
    inner = bnn.json("compare", *(folder / cell for cell in ("adam", "more")))["comparisons"]
    assert [each["other"] for each in inner] == ["more"]


def test_cells_with_long_names_have_their_lines(
    bnn: Bnn, make_run: MakeRun, tmp_path: Path
) -> None:
    for lr in (0.1, 0.01, 0.001):
        optimizer = {"name": "acme/adam", "learning_rate_of_the_latent_weights": lr, "m": lr}
        for seed in range(5):
            make_run(f"{lr}/{seed}", 0.5 + lr * seed, seed=seed, optimizer=optimizer)
    lines = bnn("compare", tmp_path).splitlines()
    name = "optimizer.learning_rate_of_the_latent_weights=0.1, optimizer.m=0.1"
    assert lines.count(name) == 2, "one in each table"
    assert lines[lines.index(name) + 1].split()[:2] == ["5", "50.2"]


def test_places_of_one_name_are_told_apart(bnn: Bnn, folder: Path) -> None:
    places = (folder / "adam" / "seed-0", folder / "meta" / "seed-0")
    (found,) = bnn.json("compare", *places)["comparisons"]
    assert [found["first"], found["other"]] == [*map(str, places)]
    assert (found["low"], found["p_t"], found["note"][:8]) == (None, None, "one pair")
    assert "one pair: no interval and no test" in bnn("compare", *places)
    assert f"{places[0]} is given twice" in bnn.refused("compare", places[0], places[0])


def test_what_cannot_be_compared_is_refused(bnn: Bnn, folder: Path) -> None:
    adam, meta = folder / "adam", folder / "meta"
    assert "one cell only, adam" in bnn.refused("compare", adam)
    said = bnn.refused("compare", adam, meta, "--measure", "forgeting")
    assert (
        "measure 'forgeting': no run has this setting or measure. Did you mean 'forgetting'?"
        in said
    )
    said = bnn.refused("compare", adam / "seed-0", meta / "seed-1")
    assert "seed-0 has no pair with another cell: no seed in common (" in said
    assert "no run of seed-10 has a value (" in bnn.refused("compare", adam, meta / "seed-10")
    told = (
        "forgetting was measured in no complete run. Measured: average_accuracy, uncertainty.ece, s"
    )
    assert told in bnn.refused("compare", adam, meta, "--measure", "forgetting")


def test_a_measure_that_one_task_does_not_have_is_refused_with_those_that_it_has(
    bnn: Bnn, make_run: MakeRun, tmp_path: Path
) -> None:
    for cell, accuracy in (("a", 0.5), ("b", 0.6)):
        for seed in range(2):
            one = {"accuracy": [[accuracy]], "tasks": ["one"]}
            make_run(f"{cell}/{seed}", accuracy, seed=seed, rule={"name": cell}, result=one)
    said = bnn.refused("compare", tmp_path / "a", tmp_path / "b", "--measure", "forgetting")
    assert "forgetting needs several tasks, and these runs have one. Measured: average_acc" in said


def test_a_cell_without_a_pair_is_named_and_the_others_are_compared(
    bnn: Bnn, folder: Path, make_run: MakeRun
) -> None:
    for seed in range(7):
        make_run(f"broken/seed-{seed}", 0.1, seed=seed, status="failed")
    places = (folder / "adam", folder / "broken", folder / "meta")
    lost, found = bnn.json("compare", *places)["comparisons"]
    assert (lost["other"], lost["seeds"], lost["difference"]) == ("broken", [], None)
    assert (found["other"], found["seeds"], found["p_holm"]) == ("meta", [0, 1, 2, 3], found["p_t"])
    assert bnn("compare", *places, "--csv").splitlines()[1].startswith("adam,broken,[],,,")
    out = bnn("compare", *places)
    assert "pairs: 4" in bnn.err
    rows = [line.split() for line in out.splitlines()]
    assert ["broken", "0", *"-----"] in rows
    assert ["broken", *"----"] in rows
    assert "broken: no run of broken has a value\n" in out
    said = bnn.refused("compare", *places[1:])
    assert "broken has no pair with another cell: no run of broken has a value (" in said
    assert "broken/seed-4: failed; and 8 more). To compare with another cell, name" in said


def test_several_versions_are_told(bnn: Bnn, make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        about = {"rule": {"name": "bp", "distribution": "acme", "version": f"0.{seed}"}}
        for name, rate in (("a", 0.1), ("b", 0.2)):
            optimizer = {"name": "acme/adam", "lr": rate}
            said = {"optimizer": optimizer, "result": {"components": about}}
            make_run(f"{name}/{seed}", 0.5 + rate * seed, seed=seed, **said)
    for command in ("runs", "compare"):
        assert "Several versions computed these runs: acme 0.0 and 0.1." in bnn(command, tmp_path)


def test_a_run_is_not_compared_with_itself(bnn: Bnn, folder: Path) -> None:
    said = "is in two cells"
    assert said in bnn.refused("compare", folder / "adam", folder / "meta" / ".." / "adam")
    assert said in bnn.refused("compare", folder / "adam", folder / "adam" / "seed-1")


def test_protocols_are_not_mixed_unasked(bnn: Bnn, folder: Path, make_run: MakeRun) -> None:
    protocol = {"epochs": 1, "stream": {"data": [{"test": 5}]}, "score": "on the validation part"}
    for seed in range(5):
        make_run(f"held/seed-{seed}", 0.7, seed=seed, protocol=protocol)
    places = (folder / "adam", folder / "held")
    refusal = bnn.refused("compare", *places)
    assert "the protocols differ (adam: epochs1, held: " in refusal
    assert "score: none against on the validation part" in refusal
    rows = [line.strip() for line in bnn("compare", *places, "--across-protocols").splitlines()]
    assert "stream.data.0.test: none against 5" in rows
    assert "score: none against on the validation part" in rows
    document = bnn.json("compare", *places, "--across-protocols")
    ((_, entries),) = document["protocols"].items()
    assert {"name": "stream.data.0.test", "first": None, "other": 5} in entries
