"""A report has what was recorded, as bnnlab-studies computes it, and says what is missing."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from page_reading import EVIL, Read

import bnnlab
from bnnlab.cli import main
from bnnlab.errors import UsageError, printable
from bnnlab.settings.run import ELSEWHERE
from bnnlab.storage.rows import packed
from bnnlab_report import render
from bnnlab_studies.gathering import gather

MakeRun = Callable[..., Path]


def read(*places: Path, **how: Any) -> Read:
    return Read(render(places, **how))


# -------------------------------------------------------------------- its figures


def test_its_comparison_is_that_of_bnn_compare(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(study), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)["comparisons"]
    page = read(study)
    for head, key in (
        ("cell", "other"),
        ("first", "first_mean"),
        ("other", "other_mean"),
        ("difference", "difference"),
        ("95 % interval from", "low"),
        ("to", "high"),
        ("d_z", "effect"),
        ("p (t)", "p_t"),
        ("p (Holm)", "p_holm"),
        ("p (Wilcoxon)", "p_wilcoxon"),
        ("least", "p_least"),
    ):
        for table in ("comparison", "differences"):
            assert page.column(table, head) == [each[key] for each in expected], head
    assert "Pairs: 3. Below 5, intervals are wide and tests are weak." in page.text


def test_only_the_columns_that_are_there_are_explained(study: Path) -> None:
    three, two = render([study]), render([study / "adam", study / "meta"])
    for page, has_holm in ((three, True), (two, False)):
        assert ("p (Holm): p (t), corrected" in page) == has_holm
        assert ("p (Holm)</" in page) == has_holm


def test_differences_of_percentages_are_points(study: Path) -> None:
    page = render([study])
    assert "difference: in points, other minus first" in page
    assert "difference of average accuracy, in points, to the first cell" in page
    assert "difference of seconds, to the first cell" in render([study], measure="seconds")


def test_the_line_of_no_difference_leaves_the_names_free(study: Path) -> None:
    drawing = (
        render([study]).split('aria-label="Differences to the first cell')[1].split("</svg>")[0]
    )
    names = [int(y) for y in re.findall(r'class="name halo".*? y="(\d+)"', drawing)]
    lines = re.findall(r'class="zero" d="M[\d.]+,(\d+)v(\d+)"', drawing)
    assert len(names) == len(lines) == 2
    for name in names:
        for start, length in lines:
            assert not int(start) - 2 < name < int(start) + int(length)


def test_its_means_are_those_of_the_study(study: Path) -> None:
    page, runs = read(study, measure="forgetting"), gather([study])
    summary = [*runs.summary("forgetting").values()]
    assert page.column("cells", "cell") == [*runs.cells]
    assert page.column("cells", "forgetting %") == [each.mean for each in summary]
    assert page.column("cells", "std") == [each.std for each in summary]
    assert page.column("cells", "95 % interval from") == [each.low for each in summary]
    assert page.column("cells", "to") == [each.high for each in summary]
    table = zip(
        *(page.column("measures", head) for head in ("measure", "cell", "mean")), strict=True
    )
    means = {(measure, cell): mean for measure, cell, mean in table}
    for cell in runs.cells:
        assert means["learning accuracy %", cell] == runs.summary("learning_accuracy")[cell].mean
        assert means["uncertainty.ece", cell] == runs.summary("uncertainty.ece")[cell].mean
    assert not any("plasticity" in str(measure) for measure, _ in means), "nobody measured it"
    (first, *_) = runs.cells
    level = f"{100 * summary[0].mean:.1f} %"
    assert f"Against {first}, forgetting {level} (mean of 3 seeds, standard dev" in page.text


def test_its_matrices_and_curves_are_those_of_the_results(study: Path) -> None:
    page, runs = read(study), gather([study])
    for place, (cell, its) in enumerate(runs.cells.items(), start=1):
        summaries = [runs.summary(f"accuracy.{i}.{j}")[cell].mean for i in (0, 1) for j in (0, 1)]
        matrix = page.tables[f"matrix-{place}"][1:]
        assert [value for _, *row in matrix for _, value in row] == summaries
        for head, measure in (("final", "accuracy.-1"), ("flips", "flips")):
            column = page.column(head, f"mean {'flips' if head == 'flips' else 'accuracy'} %")
            of_cell = column[2 * place - 2 : 2 * place]
            assert of_cell == [runs.summary(f"{measure}.{n}")[cell].mean for n in (0, 1)]
        assert len(its) == 3
    results = [json.loads((run.folder / "result.json").read_text()) for run in runs if run.folder]
    for number, result in enumerate(results, start=1):
        matrix = page.tables[f"run-matrix-{number}"][1:]
        assert [[value for _, value in row[1:]] for row in matrix] == result["accuracy"]
    assert page.column("forgetting", "forgetting %") == [it["forgetting"] for it in results]
    assert page.column("forgetting", "learning accuracy %") == [
        it["learning_accuracy"] for it in results
    ]
    assert "so learning accuracy stands in its place" in page.text
    averages = [it["average_accuracy"] for it in results[:3]]
    assert page.column("average", "mean accuracy %")[1] == pytest.approx(sum(averages) / 3)
    assert page.tables["training"][1][1][0] == "1"
    assert {cell for cell, *_ in page.tables["scales"][1:]} == {(cell, None) for cell in runs.cells}
    counts = page.column("latent-1-1", "weights")
    assert counts == [0, *[2] * 39, 1] * 2


@pytest.mark.slow  # torch, scikit-learn and a training take seconds
def test_a_real_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNLAB_DATA", str(tmp_path))
    settings: dict[str, Any] = {"epochs": 1, "uncertainty": True, "fresh": True}
    settings |= {"model": {"name": "mlp", "hidden": [8]}, "out": tmp_path, "name": "one"}
    stream = {"name": "permuted-digits", "tasks": 2}
    result = bnnlab.run(rule="dfa", optimizer="meta", stream=stream, **settings)
    page = read(tmp_path / "one")
    assert page.tables["versions"][1:]
    assert page.column("cells", "average accuracy %") == [result["average_accuracy"]]
    assert page.column("cells", "plasticity %") == [result["plasticity"]]
    assert page.column("uncertainty-ece", "mean") == [result["uncertainty"]["ece"]]
    assert page.column("flips", "mean flips %") == result["flips"]
    confidence = result["uncertainty"]["reliability"]["confidence"]
    assert page.column("reliability", "confidence %") == [it for it in confidence if it is not None]
    assert "dfa + meta + mlp + permuted-digits, seed 0" in page.text
    assert "There is one cell: nothing to compare it with." in page.text
    (per_value,) = page.column("cost", "bytes per value")
    assert isinstance(per_value, float)
    assert "bnn run --config cell.toml --seed 0\n" in page.text
    assert "install bnnlab. Then:" in page.text
    assert "bnn install analysis dfa metaplasticity mlp studies vision" in page.text
    toml = page.text.partition("cell.toml:\n")[2].partition("The command that")[0]
    told = tomllib.loads((tmp_path / "one" / "run.toml").read_text())
    assert tomllib.loads(toml).items() <= told.items()
    assert told.keys() - tomllib.loads(toml).keys() <= {"seed", "name", *ELSEWHERE}
    assert 12 < per_value < 14, "latent weights and two moments in float32, feedback matrices"


# -------------------------------------------------------------------- what is missing


def test_what_does_not_count_is_said(
    study: Path, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    meta = {"name": "acme/meta", "lr": 0.01}
    failed = make_run("study/meta/seed-3", seed=3, status="failed", optimizer=meta)
    (failed / "log.txt").write_text("2026-01-01 00:00:00 ERROR the loss is not finite\n")
    make_run("study/meta/seed-4", seed=4, status=None, optimizer=meta)
    (make_run("study/meta/seed-5", seed=5, optimizer=meta) / "result.json").write_text("{")
    metrics = make_run("study/meta/seed-6", seed=6, optimizer=meta) / "metrics.jsonl"
    metrics.write_text("{\n")
    page = read(study)
    assert "3 of 13 runs count in no mean (1 failed, 1 unfinished, 1 damaged)" in page.text
    assert "failed; error: the loss is not finite; to continue: bnn run --resume" in page.text
    assert "it was killed" in page.text
    assert re.search(r"seed-5.result.json is damaged", page.text)
    assert f"{metrics} is damaged" in page.text
    statuses = page.column("runs", "status")
    assert [statuses.count(each) for each in ("complete", "failed", "damaged")] == [10, 1, 1]
    assert "task 1: 2 of 2 epochs are done" in page.text, "the matrix of the unfinished run"
    cells = dict(zip(page.column("cells", "cell"), page.column("cells", "seeds"), strict=True))
    assert cells["optimizer=meta"] == 4


def test_lines_that_no_run_writes_are_damaged(study: Path) -> None:
    runs = [study / "adam" / f"seed-{seed}" for seed in range(3)]
    for run, line in zip(
        runs,
        (
            {"event": "epoch", "train_accuracy": "high", "loss": float("nan")},
            {"event": "weights", "layers": [{"name": "a", "latent": {"low": 0}}]},
            {"event": "weights", "layers": 3},
        ),
        strict=True,
    ):
        (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    page = read(study)
    assert f"{runs[0]}: metrics.jsonl or result.json is damaged" in page.text
    assert f"{runs[1]}: metrics.jsonl or result.json is damaged" in page.text
    assert "nan" not in page.text.lower()


def test_what_is_no_number_is_a_fault_of_its_run_alone(study: Path) -> None:
    """A report of many runs is made, whatever one of them holds."""
    said: list[dict[str, Any]] = [
        {"forgetting": [0.1]},
        {"components": {"rule": {"name": []}}},
        {"computed_on": [3]},
        {"uncertainty": {"ece": 1e308, "reliability": {"count": [[1]]}}},
    ]
    folders = [study / run for run in ("adam/seed-0", "adam/seed-1", "meta/seed-0", "bop/seed-2")]
    for folder, its in zip(folders, said, strict=True):
        file = folder / "result.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | its))
    page = read(study)
    assert "forgetting: forgetting of " in page.text
    assert f"{folders[1]}/result.json is damaged: its components is" in page.text
    assert f"{folders[2]}/result.json is damaged: its computed_on is" in page.text
    assert f"{folders[3]}: metrics.jsonl or result.json is damaged" in page.text
    assert page.column("cells", "seeds") == [2, 3, 2]


def test_of_a_tuned_study_the_best_trial_is_compared_with_the_first(
    study: Path, make_run: MakeRun
) -> None:
    best = tomllib.loads((study / "bop" / "seed-0" / "run.toml").read_text())
    (study / "best.toml").write_text(tomli_w.dumps(best | {"evaluate_on": "test", "seed": 7}))
    page = read(study)
    assert "Best of 3 trials: optimizer=bop, average accuracy" in page.text
    assert "optimizer=bop was chosen by these values" in page.text
    assert page.column("cells", "cell")[:2] == ["optimizer=adam", "optimizer=bop"]
    assert page.column("comparison", "cell") == ["optimizer=bop"]
    (study / "best.toml").write_text("[")
    assert "best.toml" in read(study).text
    assert "Best of" not in read(study).text


def test_settings_that_a_tuner_drew_are_shown_with_four_digits(make_run: MakeRun) -> None:
    for number, lr in enumerate((0.00123456789, 0.1)):
        make_run(f"study/{number}/seed-0", optimizer={"name": "acme/adam", "lr": lr})
    page = read(make_run("study/2/seed-0").parents[1])
    assert page.column("differing-settings", "optimizer.lr") == [0.001235, 0.1, 0.01]
    assert "lr = 0.00123456789" in page.text


def test_intervals_end_where_no_mean_can_be(make_run: MakeRun, tmp_path: Path) -> None:
    for cell, low in (("high", 0.9), ("wide", 0.0)):
        for seed, accuracy in enumerate((low, 1.0)):
            its = {"average_accuracy": accuracy, "retention": [1.0, accuracy]}
            make_run(f"study/{cell}/seed-{seed}", seed=seed, rule={"name": cell}, result=its)
    page = read(tmp_path / "study")
    for table in ("cells", "retention"):
        ends = page.column(table, "95 % interval from") + page.column(table, "to")
        assert (min(ends), max(ends)) == (0, 1), table
    (low,), (high,) = (page.column("comparison", head) for head in ("95 % interval from", "to"))
    assert (low, high) == (-1, 1)


def test_one_task_has_an_accuracy_and_no_average(make_run: MakeRun, tmp_path: Path) -> None:
    one = {"accuracy": [[0.5]], "tasks": ["one"], "forgetting": None}
    for cell in ("a", "b"):
        make_run(f"study/{cell}/seed-0", rule={"name": cell}, result=one)
    text = read(tmp_path / "study").text.lower()
    assert "accuracy 55.0 %" in text
    assert "average accuracy" not in text
    with pytest.raises(UsageError, match="forgetting needs several tasks, and these runs have one"):
        render([tmp_path / "study"], "forgetting")


def test_what_was_not_evaluated_is_told_as_not_measured(make_run: MakeRun) -> None:
    """Of a run with `evaluate = last:1`; its files have rows without what is not measured."""
    rows = [[0.6, None, None], [None, 0.6, None], [0.2, 0.3, 0.7]]
    result = {"accuracy": [*map(packed, rows)], "tasks": ["a", "b", "c"], "forgetting": None}
    folder = make_run("some", result={**result, "retention": [0.6, None, 0.2]})
    page = read(folder)
    assert page.column("matrix-1", "on task 1") == [0.6, "", 0.2]
    assert page.column("average", "tasks learned") == [1, 2, 3]
    assert page.column("average", "mean accuracy %")[1:] == [None, pytest.approx(0.4)]
    assert "No complete run measured forgetting." in page.text
    with pytest.raises(UsageError, match="forgetting was measured in no complete run"):
        render([folder], "forgetting")


def test_what_other_plugins_measure_is_shown(make_run: MakeRun) -> None:
    said = {"peak_memory": 123456789, "acme": {"depth": 3.25}}
    page = read(make_run("one", result=said))
    assert page.column("cost", "peak_memory") == [123456789]
    assert page.column("measures", "mean")[-1] == 3.25


def test_without_a_complete_run_a_report_says_how_far_they_came(make_run: MakeRun) -> None:
    page = read(make_run("one", status=None))
    assert "There is no figure yet: 1 unfinished." in page.text
    assert page.tables["run-matrix-1"][1] == [("1", None), ("60.0", 0.6), ("10.0", 0.1)]
    assert "nan" not in page.text.lower()


def test_settings_of_what_an_optimizer_goes_around_are_told(
    make_run: MakeRun, tmp_path: Path
) -> None:
    for name, m in (("one", 1.0), ("two", 2.0)):
        base = {"name": "acme-meta/meta", "lr": 0.1, "m": m}
        make_run(name, optimizer={"name": "acme-ewc/ewc", "base": base})
    page = read(tmp_path)
    assert "optimizer.base.m" in str(page.tables["differing-settings"])
    assert "optimizer.base.lr" in page.column("common-settings", "setting")
    assert "acme-ewc, acme-meta" in page.text, "what is to be installed"


def test_protocols_that_differ_are_never_compared_in_silence(
    study: Path, make_run: MakeRun
) -> None:
    other = {"protocol": "fedcba9876543210", "protocol_description": {"stream": {"tasks": 3}}}
    for seed in range(3):
        make_run(f"study/held/seed-{seed}", seed=seed, epochs=9, result=other)
    page = read(study)
    assert page.text.count("protocols differ") >= 2, "at the top, and in the section"
    assert page.tables["protocols-1-and-2"][1:] == [[("stream.tasks: 2 against 3", None)]]
    for table in ("cells", "final", "cost", "forgetting", "measures", "uncertainty-ece"):
        for cell in page.column(table, "cell"):
            assert re.search(r" \(protocol (0123456789abcdef|fedcba9876543210)\)$", str(cell))
    compared = page.column("comparison", "cell")
    assert len(compared) == 2
    assert not any("epochs=9" in str(cell) for cell in compared)
    assert "Not compared, as of another protocol: " in page.text


def test_a_kept_result_of_before_is_read(tmp_path: Path) -> None:
    results = Path(__file__).parents[3] / "docs" / "results" / "family"
    kept = [results / f"meta-{seed}.json" for seed in (0, 1)]
    page = read(*kept)
    (first, second) = (json.loads(file.read_text()) for file in kept)
    assert page.column("runs", "average accuracy %") == [
        first["average_accuracy"],
        second["average_accuracy"],
    ]
    assert "Environments of 2 runs are not known" in page.text


@pytest.mark.slow
def test_many_tasks_and_cells_are_thinned_out_and_it_is_said(make_run: MakeRun) -> None:
    tasks = 17
    matrix = [[0.5 if j <= i + 1 else None for j in range(tasks)] for i in range(tasks)]
    many = {"accuracy": matrix, "tasks": [str(n) for n in range(tasks)], "retention": [0.5] * tasks}
    for rate in range(13):
        optimizer = {"name": "acme/adam", "lr": rate + 0.5}
        folder = make_run(f"many/{rate}", optimizer=optimizer, result=many).parent
    content = render([folder])
    page = Read(content)
    assert "16 of 17 tasks are shown; result.json has all." in page.text
    assert [text for text, _ in page.tables["matrix-1"][-1][:1]] == ["17"]
    assert "The first 12 of 13 cells are drawn." in page.text
    assert "Not drawn, to keep this page small: the matrices of 4 runs" in page.text
    assert len(content) < 2_000_000


# -------------------------------------------------------------------- what a page is


def test_a_page_loads_nothing_and_is_small(study: Path) -> None:
    content = render([study])
    page = Read(content)
    assert len(content) < 500_000
    assert (page.tags["script"], page.tags["style"]) == (1, 1)
    assert not {"link", "img", "iframe", "object", "base", "form"} & {*page.tags}
    names = {name for _, name, _ in page.attributes}
    assert not {"src", "srcset", "style", "action"} & names
    assert not [name for name in names if name.startswith("on")]
    links = [value for _, name, value in page.attributes if name == "href"]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len({*ids})
    assert {link[0] for link in links} == {"#"}
    assert {link[1:] for link in links} <= {*ids}
    assert page.titles[0] == 1
    steps = zip(page.titles, page.titles[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps), "no level is left out"
    assert page.tags["svg"] == page.tags["figure"] > 10
    assert page.tags["caption"] == page.tags["table"] == len(page.tables)
    assert "url(" not in content.replace("createObjectURL(", "").replace("revokeObjectURL(", "")


def test_evil_names_are_text_everywhere(make_run: MakeRun, tmp_path: Path) -> None:
    said = {
        "rule": {"name": f"acme/{EVIL}", EVIL: EVIL},
        "layer": EVIL,
        "result": {
            "components": {"rule": {"name": EVIL, "distribution": EVIL, "version": EVIL}},
            "protocol": EVIL,
            "protocol_description": {EVIL: EVIL},
            EVIL: 1.5,
        },
    }
    name = EVIL.replace("/", "")
    for cell in (name, "=plain"):
        rate = {"name": EVIL, "lr": len(cell)}
        failed = {"seed": 2, "status": "failed", "optimizer": rate, **said}
        folders = [make_run(f"evil/{cell}/failed", **failed)]
        folders += (
            make_run(f"evil/{cell}/seed-{seed}", 0.6, seed=seed, optimizer=rate, **said)
            for seed in (0, 1)
        )
        for folder in folders:
            found = {"python": EVIL, "command": ["bnn", EVIL], "settings": [f"the recipe {EVIL}"]}
            (folder / "environment.json").write_text(json.dumps(found))
    content = render([tmp_path / "evil" / name, tmp_path / "evil" / "=plain"])
    page = Read(content)
    assert (page.tags["script"], page.tags["style"]) == (1, 1)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not re.search(r"[\u202e\x00-\x09\x0b-\x1f]", content)
    assert page.text.count(printable(EVIL)) > 15
    assert "Its settings came from the recipe <script>alert" in page.text
    assert printable(name) in {text for row in page.tables["cells"] for text, _ in row}


def test_no_figure_depends_on_where_or_when_it_is_written(study: Path) -> None:
    assert render([study]) == render([study])


# -------------------------------------------------------------------- the command


def test_the_command_writes_a_page_and_replaces_only_its_own(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    for _ in range(2):
        assert main(["report", str(study), "-o", str(out)]) == 0
        assert capsys.readouterr().out == f"written to {out}\n"
    assert main(["report", str(study), "-o", "-"]) == 0
    assert capsys.readouterr().out == out.read_text()
    toml = study / "adam" / "seed-0" / "run.toml"
    before = toml.read_text()
    for refused, why in (
        (toml, "exists and is no report of bnnlab: choose another name"),
        (study, "is a folder: name a file"),
        (tmp_path / "none" / "report.html", "there is no folder"),
        (tmp_path / ("x" * 300), "cannot read"),
    ):
        assert main(["report", str(study), "-o", str(refused)]) == 2
        assert why in capsys.readouterr().err
    assert toml.read_text() == before


def test_what_is_no_run_is_refused(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["-o", str(tmp_path / "report.html")]
    (tmp_path / "empty").mkdir()
    for words, why in (
        ([str(tmp_path / "nowhere")], "there is no folder"),
        ([str(tmp_path / "empty")], "holds no run"),
        ([str(study / "adam"), str(study / "adam" / "seed-0")], "is in two cells"),
        ([str(study), "--measure", "forgeting"], "Did you mean 'forgetting'?"),
        ([str(study), "--measure", "flips"], "flips of "),
    ):
        assert main(["report", *words, *out]) == 2, words
        assert why in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_a_failure(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(study), "-o", "/dev/full"]) == 1
    assert "cannot write /dev/full: No space left on device" in capsys.readouterr().err
