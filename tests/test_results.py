"""The studies of docs/results: their files, their kept results, and the tables of these."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import tomli
import tomli_w
from engines import Here
from scripts import script

from bnnlab import PluginHost, UsageError
from bnnlab.registry.recipes import find_recipes
from bnnlab_studies.cells import file_name
from bnnlab_studies.record import Record

results, rendering, studies, chosen = map(
    script, ("results", "generated.rendering", "generated.studies", "chosen")
)
HOME = Path(__file__).parents[1] / "docs" / "results"
FILES = sorted(HOME.glob("*/*.toml"))
NAMES = [f"{file.parent.name}/{file.stem}" for file in FILES]
study_of = functools.cache(studies.study_of)  # each is resolved once


def run(seed: int, protocol: str = "p", **settings: Any) -> Record:
    result = {"seed": seed, "protocol": protocol, "score": 0.5 + seed / 10, "parts": [0.1, seed]}
    return Record("", None, "complete", {"seed": seed, **settings}, result)


SCORE = {"heading": "score", "measure": "score"}


# ------------------------------------------------------------------------- the committed files


@pytest.mark.parametrize("name", NAMES)
def test_a_study_resolves_and_its_tables_show_its_kept_results(name: str) -> None:
    study, place = study_of(name)  # every cell is resolved, and fits
    cells = studies.cells_of(study, place)
    assert bool([*rendering.tables(studies.described_in(study), cells)]) == any(cells.values())


@pytest.mark.parametrize("name", sorted({file.parent.name for file in FILES}))
def test_every_kept_result_is_a_run_of_a_study(name: str) -> None:
    known = set()
    for file in (HOME / name).glob("*.toml"):
        study, place = study_of(f"{name}/{file.stem}")
        known |= {place(cell, seed) for cell in study.cells for seed in study.seeds}
    assert {*(HOME / name).rglob("*.json")} - known == set()


@pytest.mark.parametrize("folder", ["convolutional", "rules", "schedules", "vit"])
def test_the_learning_rates_are_those_that_did_best_on_held_out_images(
    folder: str,
) -> None:
    def tuned(cell: Any) -> Any:
        its = cell.settings
        return its["rule"], its["model"], its["schedule"], its["stream"].get("folder")

    study, _ = study_of(folder)
    tuning, place = study_of(f"{folder}/tuning")
    accuracies = {
        name: run["average_accuracy"] for name, (run,) in studies.cells_of(tuning, place).items()
    }
    for cell in study.cells:
        tried = [each for each in tuning.cells if tuned(each) == tuned(cell)]
        best = max(tried, key=lambda each: accuracies[each.name]).settings["optimizer"]["lr"]
        rates = cell.settings["optimizer"]
        assert best == (rates["real_lr"] if cell.name.endswith("-slow") else rates["lr"])


@pytest.mark.parametrize(
    ("name", "tuned", "beside"),
    [
        ("rehearsal", "tuning", "bp, lr 0.001"),
        ("rehearsal/mnist", "mnist-tuning", "mnist, bp, lr 0.001"),
    ],
)
def test_the_settings_of_rehearsal_are_those_that_did_best_on_held_out_images(
    name: str, tuned: str, beside: str
) -> None:
    def method(cell: Any) -> Any:
        return [cell.settings[kind]["name"] for kind in ("rule", "optimizer", "stream")]

    def chosen(cell: Any) -> Any:
        rule, optimizer = cell.settings["rule"], cell.settings["optimizer"]
        return [optimizer["lr"], rule.get("alpha"), rule.get("strength")]

    study, _ = study_of(name)
    tuning, place = study_of(f"rehearsal/{tuned}")
    scores = {
        cell: fmean(run["average_accuracy"] for run in runs)
        for cell, runs in studies.cells_of(tuning, place).items()
    }
    for cell in study.cells:
        if cell.name != beside:
            tried = [each for each in tuning.cells if method(each) == method(cell)]
            best = max(tried, key=lambda each: scores[each.name])
            assert chosen(best) == chosen(cell), cell.name


def test_the_published_figures_of_recipes_are_those_that_the_recipes_say() -> None:
    said = {recipe.name: recipe.reproduces for recipe in find_recipes(PluginHost())}
    study, _ = study_of("recipes")
    figures = [each for table in study.table for each in table["figures"]["published"].items()]
    assert {name for name, _ in figures} <= {cell.name for cell in study.cells}
    for name, figure in figures:
        assert all(number in said[name] for number in re.findall(r"[\d.]+", figure)), name


# ----------------------------------------------------------------------------------- tables


def test_a_row_shows_each_seed_the_settings_and_figures_from_elsewhere() -> None:
    table = {
        "title": "seeds {seed}",
        "cells": "{rule}-{m}",
        "figures": {"published": {"bp-0": 49.0}},
        "columns": [
            {"heading": "rule", "text": "{rule}"},
            {**SCORE, "text": "{} at {optimizer.lr}"},
            {**SCORE, "less": "published", "show": "range", "format": "+.0f"},
            {"heading": "published", "figure": "published"},
            {"heading": "parts", "measure": "parts", "scale": 1, "show": "mean", "join": " "},
            {"heading": "none", "measure": "parts.7"},
        ],
    }
    cells = {"bp-0": [run(0, optimizer={"lr": 0.1}), run(1, optimizer={"lr": 0.1})], "other": []}
    assert [*rendering.tables([table], cells)] == [
        "seeds 0, 1",
        "",
        "| rule | score | score | published | parts | none |",
        "|---|---|---|---|---|---|",
        "| bp | 55.0 (50.0, 60.0) at 0.1 | +6 (+1 to +11) | 49.0 | 0.1 0.5 | - |",
        "",
    ]


def test_a_cell_is_compared_with_another_by_seed() -> None:
    columns = [{"heading": "m", "text": "{m}"}, {**SCORE, "minus": "bp-0"}]
    cells = {"bp-0": [run(0), run(1)], "bp-5": [run(1), run(2)], "bp-9": [run(7)]}
    lines = [*rendering.tables([{"cells": "bp-{m}", "columns": columns}], cells)]
    assert lines[2:] == ["| 5 | 0.0 (0.0) |", "| 9 | - |", ""]


def test_figures_of_two_protocols_stand_in_two_tables_and_never_in_one_row() -> None:
    cells = {"a": [run(0)], "b": [run(0, protocol="q")]}
    table: dict[str, Any] = {"by": "protocol", "title": "{protocol}", "columns": [SCORE]}
    lines = [*rendering.tables([table], cells)]
    assert lines[::6] == ["p", "q"]
    with pytest.raises(UsageError, match="different protocols"):
        [*rendering.tables([{"columns": [SCORE, {**SCORE, "cell": "b"}]}], cells)]


def test_cells_are_compared_with_the_first_in_pairs_as_bnn_compare_does() -> None:
    cells = {"a": [run(0), run(1)], "b": [run(1), run(2)], "none": [], "c": [run(0), run(1)]}
    cells["c"][0].result["score"] = 0.8
    lines = [*rendering.tables([{"compare": "score"}], cells)]
    assert lines[2:] == [
        "| b against a | 1 | +0.0 | - | - | - | - |",
        "| c against a | 2 | +15.0 | -175.6 to +205.6 | 0.5 | 0.5 | 1 |",
        "",
    ]
    assert [*rendering.tables([{"compare": "score"}], {"a": [run(0)], "b": []})] == []
    other = {"a": [run(0)], "b": [run(0, "q")]}
    for seed, (its,) in enumerate(other.values()):
        its.result["protocol_description"] = {"epochs": seed}
    with pytest.raises(UsageError, match="the protocols differ"):
        [*rendering.tables([{"compare": "score"}], other)]


@pytest.mark.parametrize("name", ["fair", "rules-by-optimizers", "six-tasks"])
def test_a_study_has_the_settings_that_did_best_in_its_tuning(name: str) -> None:
    """If this fails: python benchmarks/chosen.py NAME."""
    assert chosen.rewritten(name) == studies.file_of(name).read_text()
    study, _ = study_of(name)
    cells = {cell.name: cell.settings for cell in study.cells}
    tuning, _ = study_of(f"{name}/tuning")
    tried = {cell.name: cell.settings for cell in tuning.cells}
    for method, best in chosen.chosen(name).items():
        for part in ("rule", "optimizer", "model", "batch_size", "epochs"):
            assert cells[method][part] == tried[best][part]
    assert not {*study.seeds} & {*tuning.seeds}
    assert all(its["evaluate_on"] == "validation" for its in tried.values())


def test_the_best_settings_are_chosen_once_all_were_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "HOME", tmp_path)
    results_of = tmp_path / "own" / "tuning"
    results_of.mkdir(parents=True)
    base = 'rule = "bp"\noptimizer = "adam"\nstream = "permuted-digits"\n[table]\ncolumns = '
    base += '[{ heading = "score", measure = "score" }]\n[sweep]\nseeds = [3, 4]\ncell = [\n'
    line = '    {{ name = "{}", optimizer.lr = {} }},\n'
    tried = line.format("adam: 1", 0.1) + line.format("adam: 2", 0.2) + line.format("adam: 3", 0.3)
    (tmp_path / "own" / "tuning.toml").write_text(base + tried + "]\n")
    (tmp_path / "own" / "study.toml").write_text(base + line.format("adam", 9) + "]\n")
    for number, scores in ((1, (0.5, 0.6)), (2, (0.9, 0.4))):
        for seed, score in zip((3, 4), scores, strict=True):
            kept(results_of / f"adam-{number}-{seed}.json", score)
    assert chosen.rewritten("own") == base + line.format("adam", 0.1) + "]\n"  # 3 was not tried
    kept(results_of / "adam-3-3.json", 0.1)
    assert chosen.rewritten("own") == base + line.format("adam", 0.2) + "]\n"
    other = line.format("own", 9)
    (tmp_path / "own" / "study.toml").write_text(base + other + "]\n")
    assert chosen.rewritten("own") == base + other + line.format("adam", 0.2) + "]\n"


def kept(place: Path, score: float) -> None:
    place.write_text(json.dumps({"accuracy": [[score]], "seconds": 1, "score": score}))


# ------------------------------------------------------------------------ studies, carried out

SHORT = {
    "eqprop": ["fc-1h", "permuted-mnist"],
    "family": ["mesu", "ewc"],
    "permuted-mnist": ["bp, adam, lr 0.0005", "dfa, meta, lr 0.005, m = auto"],
}
TINY = ["model.hidden=[16]", "stream=permuted-digits", "stream.tasks=2", "epochs=1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_sweep_carries_out_a_study_and_its_table_shows_it(
    name: str,
    bnn: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = tomli.loads((HOME / name / "study.toml").read_text())
    cells = [each for each in study["sweep"]["cell"] if each["name"] in SHORT[name]]
    study["sweep"] = {"seeds": [0, 1], "cell": cells}
    file, runs = tmp_path / "short.toml", tmp_path / name
    file.write_text(tomli_w.dumps(study))
    where = ["--out", str(tmp_path), "--name", name]
    tiny = [word for each in TINY for word in ("--set", each)]
    monkeypatch.setattr("bnnlab_studies.commands.sweep.make_engine", lambda *_: Here())
    answer = bnn("sweep", str(file), *where, *tiny, "--quiet")
    assert (answer.code, answer.err) == (0, "")

    def printed(*words: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["results.py", name, *words])
        results.main()
        return capsys.readouterr().out.splitlines()

    lines = printed("--runs", str(runs))
    for cell in SHORT[name]:
        row = next(line for line in lines if line.startswith(f"| {cell} | "))
        files = [runs / file_name(cell) / f"seed-{seed}" / "result.json" for seed in (0, 1)]
        assert by_hand(*(json.loads(file.read_text()) for file in files), cell) in row
    with pytest.raises(SystemExit, match="other settings than the study"):
        printed("--runs", str(runs), "--keep")

    own = tmp_path / "home" / name  # a study of these settings keeps them
    own.mkdir(parents=True)
    (own / "study.toml").write_text((runs / "study.toml").read_text())
    monkeypatch.setattr(studies, "HOME", own.parent)
    assert printed("--runs", str(runs), "--keep") == lines
    assert printed() == lines
    assert len([*own.glob("*.json")]) == 4


def by_hand(first: dict[str, Any], second: dict[str, Any], cell: str) -> str:
    """Return the first measure in a row, from the results of both seeds."""
    if cell.startswith("fc-"):  # test error
        one, two = (100 - 100 * each["accuracy"][1][1] for each in (first, second))
        return f" {(one + two) / 2:.2f} ({one:.2f}, {two:.2f}) "
    one, two = (50 * sum(each["accuracy"][1][:2]) for each in (first, second))
    return f" {(one + two) / 2:.1f} ({one:.1f}, {two:.1f}) "
