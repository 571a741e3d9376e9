"""`bnn reproduce`: a study, its card, and what it would cost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli
from claim_files import CLAIM

from bnnlab import PluginHost, UsageError
from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.preparing import prepare
from bnnlab.settings.layers import resolve
from bnnlab_claims.card import FULL, QUICK, Measured
from bnnlab_claims.cost import Cost, Piece, Work, cost_of, further_inputs, work_of
from bnnlab_claims.finding import find_card
from bnnlab_claims.measuring import as_text, measured
from bnnlab_claims.reading import measured_of
from bnnlab_claims.study import plan_of
from bnnlab_studies.record import Record
from bnnlab_studies.study import Study
from bnnlab_studies.study_folder import held

Acme = Callable[..., Path]
Bnn = Callable[..., Any]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.mark.usefixtures("here")
def test_a_claim_is_measured_and_its_card_written(acme: Acme, bnn: Bnn, runs: Path) -> None:
    acme()
    answer = bnn("reproduce", "acme/tiny", "--out", runs)
    assert answer.code == 0, answer.err
    assert "expected   0 to 60: inside" in answer.out
    folder = runs / "claims" / "acme-tiny-quick"
    study, host = Study.read(folder), PluginHost()
    assert {run["epochs"] for run in study} == {1}  # the short form
    card = tomli.loads((folder / "card.toml").read_text())["tiny"]["quick"]
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*/*/result.json"))]
    rows = [result["accuracy"][-1] for result in results]
    assert card["values"] == [pytest.approx(50 * (row[0] + row[1]), abs=1e-4) for row in rows]
    assert (card["seeds"], card["protocol"]) == ([0, 1], results[0]["protocol"])
    assert card["torch"].startswith("2.")
    assert card["commit"]
    found = measured(study, find_card(host, "acme/tiny").claim, QUICK)
    assert as_text({"tiny": {"quick": found}}) == (folder / "card.toml").read_text()

    acme(measured=(folder / "card.toml").read_text())
    assert find_card(host, "acme/tiny").measured == {"quick": found}
    assert f"quick: {found.mean:.2f}" in bnn("claims", "--of", "sgd").out

    again = bnn("reproduce", "acme/tiny", "--out", runs, "--seeds", "5,1")
    assert "1 of 3 runs left" in again.out
    assert tomli.loads((folder / "card.toml").read_text())["tiny"]["quick"]["seeds"] == [0, 1, 5]

    acme(CLAIM.replace("60.0", "0.1"))
    outside = bnn("reproduce", "acme/tiny", "--out", runs)
    assert (outside.code, "0 to 0.1: outside" in outside.out) == (1, True)
    acme(CLAIM.replace("short = true", "settings = { epochs = 3 }"))
    refused = bnn("reproduce", "acme/tiny", "--out", runs)
    assert refused.code == 2
    assert "runs with other settings than the claim has now (epochs is 1 and not 3)" in refused.err


@pytest.mark.usefixtures("here")
def test_the_full_budget_says_its_cost_before_and_the_verdict_after(
    acme: Acme, bnn: Bnn, runs: Path
) -> None:
    acme(CLAIM.replace("[tiny.full]", "[tiny.full]\nhours = 0.5"))
    answer = bnn("reproduce", "acme/tiny", "--budget", "full", "--out", runs)
    assert answer.code == 0
    assert "cost: about 0.5 hours per run on one core, 1 in all" in answer.out
    assert "verdict    short" in answer.out
    acme()
    again = bnn("reproduce", "acme/tiny", "--budget", "full", "--out", runs, "--seeds", "3")
    assert "cost: not known; to measure it: " in again.out
    assert "--cost" in again.out


@pytest.mark.usefixtures("here")
def test_a_run_that_fails_is_said_and_the_others_are_measured(
    acme: Acme, bnn: Bnn, runs: Path
) -> None:
    acme()
    taken = runs / "claims" / "acme-tiny-quick" / "cell" / "seed-1"
    assert bnn("reproduce", "acme/tiny", "--out", runs, "--seeds", "0,1").code == 0
    shutil.rmtree(taken)
    (taken / "mine").mkdir(parents=True)
    answer = bnn("reproduce", "acme/tiny", "--out", runs)
    assert answer.code == 1
    assert "acme/tiny, seed 1: " in answer.err
    assert "to continue: " in answer.err
    assert "reproduce acme/tiny --budget quick --out" in answer.err
    assert ", seed 0: one seed has no interval" in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("acme/tini",), "unknown claim 'acme/tini'. Did you mean 'acme/tiny'?"),
        (("acme/tiny", "--seeds", "x"), "--seeds 'x': write a number"),
        (("acme/tiny", "--budget", "big"), "'big' is not one of 'quick', 'full'"),
        (("acme/tiny", "--cost", "--seeds", "3"), "--cost writes nothing: leave out --seeds"),
    ],
)
def test_what_cannot_begin_is_refused(acme: Acme, bnn: Bnn, words: Any, said: str) -> None:
    acme()
    answer = bnn("reproduce", *words)
    assert answer.code == 2
    assert said in answer.err


def test_a_budget_that_a_claim_does_not_have_is_refused(acme: Acme) -> None:
    acme(CLAIM.partition("[tiny.quick]")[0])
    claim = find_card(PluginHost(), "acme/tiny").claim
    with pytest.raises(UsageError, match=r"no budget 'quick'\. It has: full"):
        plan_of(PluginHost(), claim, QUICK)
    assert plan_of(PluginHost(), claim, FULL).folder == Path("runs/claims/acme-tiny-full")


def test_a_study_that_is_there_keeps_its_seeds_and_its_engine(acme: Acme, runs: Path) -> None:
    acme()
    host = PluginHost()
    claim = find_card(host, "acme/tiny").claim
    with held(host, plan_of(host, claim, QUICK, runs, (4,), {"jobs": 2})):
        plan = plan_of(host, claim, QUICK, runs)
    assert (plan.seeds, plan.engine.options["jobs"]) == ((4, 0, 1), 2)
    assert plan_of(host, claim, QUICK, runs, (), {"jobs": 3}).engine.options["jobs"] == 3
    assert plan_of(host, claim, FULL, runs).seeds == (0, 1)


# ------------------------------------------------------------------------------- measuring


def run(seed: int, *last: float | None, protocol: str = "p", status: str = "complete") -> Record:
    result = {
        "accuracy": [[None, None], [*last]],
        "seed": seed,
        "protocol": protocol,
        "seconds": 90.0,
        "tasks": ["one", "two"],
    }
    return Record(f"seed-{seed}", None, status, {"seed": seed}, result)


def test_values_are_of_complete_runs_in_the_order_of_seeds(acme: Acme) -> None:
    acme()
    claim = find_card(PluginHost(), "acme/tiny").claim
    runs = [run(7, 0.5, 1.0), run(2, 0.25, 0.75), run(1, 1.0, 1.0, status="failed")]
    found = measured(Study(runs), claim, FULL)
    assert (found.values, found.seeds, found.minutes) == ((50.0, 75.0), (2, 7), 1.5)
    assert found.as_toml() == {
        "values": [50.0, 75.0],
        "seeds": [2, 7],
        "protocol": "p",
        "minutes": 1.5,
    }


def test_the_text_of_what_was_measured_says_it_again() -> None:
    environment = {"commit": 'a "quoted" \\ one', "processor": "é"}
    found = Measured((50.0, 75.25), (0, 3), "p", 1.5, environment, "2026-12-01")
    text = as_text({"b.c": {QUICK: found}, "a": {FULL: found, QUICK: found}})
    read = {key: measured_of(table) for key, table in tomli.loads(text).items()}
    assert read == {"a": {"full": found, "quick": found}, "b.c": {"quick": found}}
    assert "\nvalues = [50.0, 75.25]\nseeds = [0, 3]\n" in text


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([run(1, 0.5, 0.5, protocol="q")], "seed-0 has the protocol p, and seed-1 has q"),
        ([run(1, 0.5, None)], "seed-1: accuracy.-1.-2: was not measured"),
        ([run(0, 0.5, 0.5)], "two runs of one cell have the seed 0"),
    ],
)
def test_runs_that_make_no_card_are_refused(acme: Acme, others: list[Record], said: str) -> None:
    acme()
    claim = find_card(PluginHost(), "acme/tiny").claim
    with pytest.raises(UsageError, match=said):
        measured(Study([run(0, 0.5, 0.5), *others]), claim, FULL)
    with pytest.raises(UsageError, match="acme/tiny, full: no run is complete"):
        measured(Study([run(0, 0.5, 0.5, status="failed")]), claim, FULL)


# ------------------------------------------------------------------------------------- cost

SMALL: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "sgd",
    "stream": {"name": "permuted-digits", "tasks": 4},
    "model": {"name": "mlp", "hidden": [4]},
    "epochs": 2,
    "batch_size": 400,
    "device": "cpu",
    "out": None,
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"evaluate": "last:2"},
        {"evaluate": "every:3"},
        {"evaluate": "final", "steps": 3},
        {"uncertainty": True, "forward": False},
        {"stream": {"name": "permuted-digits", "tasks": 2, "validation": 0.2}, "epochs": [1, 2]},
        {"stream": {"name": "split-digits"}},
    ],
    ids=str,
)
def test_the_counted_work_is_what_a_complete_run_does(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    predicted, steps = [], []
    predict = Evaluator._predict

    def counting(self: Evaluator, tasks: Any, seen: Any) -> Any:
        predicted.extend(len(task.test) for task in tasks)
        return predict(self, tasks, seen)

    monkeypatch.setattr(Evaluator, "_predict", counting)
    host = PluginHost()
    experiment = prepare(host, resolve(host, [SMALL, more]))
    work = work_of(experiment.made, further_inputs(experiment.made, experiment.probes))
    experiment.run(lambda *at: steps.append(at))
    epochs = len({at[:2] for at in steps})
    assert work == Work(len(steps), epochs, len(predicted), sum(predicted))


def test_the_cost_is_time_times_number() -> None:
    cost = Cost(Work(7_200_000, 5, 10, 36_000), Piece(100, 0.002, 500, 0.1))
    assert (cost.training, cost.evaluation) == (pytest.approx(4.0), pytest.approx(1.0))
    assert cost.hours == pytest.approx(5.0)


def test_a_piece_is_timed_and_nothing_is_kept(
    acme: Acme, bnn: Bnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme()
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    answer = bnn("reproduce", "acme/tiny", "--cost")
    assert answer.code == 0, answer.err
    assert "acme/tiny, full, one seed on one core" in answer.out
    assert "hours per seed" in answer.out
    assert not [*folder.iterdir()]


@pytest.mark.parametrize(
    ("more", "steps"),
    [
        ({"batch_size": 400}, 6),  # four steps in each of two epochs; between them is no step
        ({"batch_size": 2000, "epochs": 3}, 2),  # one step in each epoch, the first is not timed
        ({"batch_size": 2000, "epochs": 1}, 1),
    ],
)
def test_the_first_step_is_not_timed_where_there_are_others(
    more: dict[str, Any], steps: int
) -> None:
    host = PluginHost()
    piece = cost_of(host, resolve(host, [SMALL, more])).piece
    assert piece.steps == steps
    assert min(piece.per_step, piece.per_example) > 0
