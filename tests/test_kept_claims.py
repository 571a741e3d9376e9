"""The kept results of claims, what they say in measured.toml, and the tables of cards."""

from dataclasses import replace
from pathlib import Path

import pytest
import tomli
import tomli_w
from scripts import script

from bnnlab import PluginHost, UsageError
from bnnlab.registry.components import Kind
from bnnlab_claims.card import FULL, Budget, Card, Claim, Measured
from bnnlab_claims.finding import MEASURED
from bnnlab_claims.study import plan_of
from bnnlab_studies.job import perform

claims_script, kept = map(script, ("claims", "generated.measured"))
cards, studies = map(script, ("generated.claims", "generated.studies"))
SETTINGS = {"stream": {"tasks": 2}, "model": {"hidden": [16]}, "epochs": 1}
TINY = Claim(
    "demo/tiny",
    of=("optimizer:adam",),
    says="What is measured.",
    source="A paper",
    place="Table 1",
    recipe="demo/bp-adam",
    measure="average_accuracy",
    published=90.0,
    published_seeds=5,
    why="A | B",
    budgets={FULL: Budget((0, 1), SETTINGS)},
)


# ------------------------------------------------------------------------- the committed files


def test_each_measured_file_is_what_the_kept_results_give() -> None:
    """If this fails: python benchmarks/claims.py."""
    files = kept.measured_files(PluginHost())
    assert len(files) > 1
    said = {file: file.read_text(encoding="utf-8") if file.exists() else "" for file in files}
    assert said == files


def test_every_rule_and_optimizer_has_a_card() -> None:
    host = PluginHost()
    shipped = {str(it) for kind in (Kind.RULE, Kind.OPTIMIZER) for _, it in host.components(kind)}
    claimed = {method for card in kept.cards_of(host) for method in card.claim.of}
    assert len(shipped) > 20
    assert shipped - claimed == set()


# ------------------------------------------------------------------------------------ keeping


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginHost:
    """Return the plugins; their only card is of the tiny claim, and nothing is kept yet."""
    monkeypatch.setattr(kept, "HOME", tmp_path / "kept")
    say(monkeypatch, TINY)
    return PluginHost()


def say(monkeypatch: pytest.MonkeyPatch, claim: Claim) -> None:
    monkeypatch.setattr(kept, "find_cards", lambda _: [Card(claim)])


def carry_out(host: PluginHost, out: Path, claim: Claim = TINY) -> Path:
    """Make the runs of a claim; return the folder `claims`."""
    plan = plan_of(host, claim, FULL, out)
    plan.folder.mkdir(parents=True)
    for job in plan.jobs(threads=1):
        assert perform(job).status == "complete"
    return plan.folder.parent


def other(**settings: object) -> Claim:
    budget = TINY.budgets[FULL]
    return replace(TINY, budgets={FULL: replace(budget, settings={**budget.settings, **settings})})


def test_kept_results_say_what_the_runs_said_without_places_of_the_machine(
    host: PluginHost, tmp_path: Path
) -> None:
    made = carry_out(host, tmp_path / "runs")
    (made / "demo-tiny-full" / "cell" / "seed-1" / "result.json").unlink()  # not complete
    (folder,) = kept.keep(host, made)
    assert folder == tmp_path / "kept" / "claims" / "demo-tiny-full" / "cell" / "seed-0"
    assert sorted(it.name for it in folder.iterdir()) == [
        *("environment.json", "result.json", "run.toml")
    ]
    assert str(tmp_path) not in "".join(it.read_text() for it in folder.iterdir())
    ((file, text),) = kept.measured_files(host).items()
    assert file.name == MEASURED
    assert file.parent.name == "bnnlab_demo"
    full = tomli.loads(text)["tiny"]["full"]
    assert (len(full["values"]), full["seeds"]) == (1, [0])
    assert {"torch", "python", "bnnlab", "date"} <= full.keys()


def test_a_study_shows_the_runs_of_a_claim_with_the_settings_of_its_cell(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.keep(host, carry_out(host, tmp_path / "runs"))
    monkeypatch.setattr(studies, "HOME", tmp_path / "kept")
    same = {"name": "same", "recipe": TINY.recipe, **SETTINGS}
    cells = [same, {**same, "name": "other", "epochs": 2}]
    file = tmp_path / "kept" / "both" / "study.toml"
    file.parent.mkdir()
    file.write_text(tomli_w.dumps({"sweep": {"seeds": [1, 2], "cell": cells}}))
    _, runs = studies.kept("both")
    assert {name: [run["seed"] for run in its] for name, its in runs.items()} == {
        "same": [1],
        "other": [],
    }


def test_without_kept_results_nothing_is_measured(host: PluginHost) -> None:
    assert [*kept.measured_files(host).values()] == [""]


def test_results_of_other_settings_than_the_cards_are_refused(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = carry_out(host, tmp_path / "runs")
    say(monkeypatch, other(epochs=2))
    with pytest.raises(UsageError, match="has other settings than its card: epochs is 1 and not 2"):
        kept.keep(host, made)
    say(monkeypatch, TINY)
    kept.keep(host, made)
    say(monkeypatch, other(epochs=2))  # the card has changed since
    with pytest.raises(UsageError, match="has other settings than its card: epochs is 1 and not 2"):
        kept.measured_files(host)
    say(monkeypatch, replace(TINY, name="demo/other"))
    with pytest.raises(UsageError, match=r"demo-tiny-full is of no card"):
        kept.measured_files(host)


def test_a_broken_card_is_named(host: PluginHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "find_cards", lambda _: [Card(TINY, fault="says is missing.")])
    with pytest.raises(UsageError, match=r"claim 'demo/tiny' is broken: says is missing\."):
        kept.measured_files(host)


def test_the_script_writes_and_deletes(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale, fresh = tmp_path / "stale.toml", tmp_path / "fresh.toml"
    stale.touch()
    monkeypatch.setattr(claims_script, "measured_files", lambda _: {stale: "", fresh: "text"})
    monkeypatch.setattr("sys.argv", ["claims.py"])
    claims_script.main()
    assert not stale.exists()
    assert fresh.read_text() == "text"
    monkeypatch.setattr("sys.argv", ["claims.py", "--keep"])
    with pytest.raises(SystemExit):
        claims_script.main()


# --------------------------------------------------------------------------------- the tables


def test_cards_stand_in_a_table_by_their_verdicts() -> None:
    found = Measured((90.0, 92.0, 94.0), (0, 1, 2), "p", 3.0)
    shown = [*cards.claims([Card(TINY), Card(replace(TINY, name="demo/b"), {FULL: found})])]
    assert shown[0] == "2 claims: 1 matched, 1 not yet run. 1 have values of 3 or more seeds."
    matched, not_yet = shown[shown.index("**Matched**") :], shown[shown.index("**Not yet run**") :]
    assert matched[4] == (
        "| `demo/b` | What is measured. A paper, Table 1 | 90, 5 seeds | "
        "92.00 (87.03 to 96.97), seeds 0, 1, 2 |  |  | A \\| B |"
    )
    assert not_yet[4].startswith("| `demo/tiny` | ")
