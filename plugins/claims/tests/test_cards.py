"""Cards: what files say, read strictly; and the verdict."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from claim_files import CLAIM, MEASURED
from scipy import stats

from bnnlab import PluginHost, UsageError
from bnnlab_claims.card import FULL, QUICK, Claim, Measured, Verdict, verdict
from bnnlab_claims.checking import faults_of
from bnnlab_claims.finding import find_card, find_cards
from bnnlab_claims.reading import measured_of

Acme = Callable[..., Path]
Bnn = Callable[..., Any]


def renamed(name: str) -> str:
    """Return a second claim of the same recipe."""
    return CLAIM.replace("tiny", name).replace("says", "recipe = 'acme/tiny'\nsays")


def fault(name: str = "acme/tiny") -> str:
    (card,) = (card for card in find_cards(PluginHost()) if card.claim.name == name)
    return str(card.fault)


def test_a_card_says_what_its_files_say(acme: Acme) -> None:
    acme(measured=MEASURED)
    card = find_card(PluginHost(), "acme/tiny")
    claim, full = card.claim, card.measured[FULL]
    assert (claim.of, claim.recipe, claim.place) == (("optimizer:sgd",), "acme/tiny", "Table 2")
    assert (claim.published, claim.spread, claim.published_seeds) == (90.0, 0.5, 5)
    assert claim.budgets[QUICK].short
    assert (claim.budgets[FULL].seeds, claim.budgets[QUICK].expect) == ((0, 1), (0.0, 60.0))
    assert (full.values, full.seeds, full.environment) == ((91.0, 92.0), (0, 1), {"commit": "abc"})
    assert measured_of({"full": full.as_toml()}) == {"full": full}


FULL_TABLE = "[tiny.full]\nseeds = [0, 1]"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("source =", "sorce =", r"sorce: no such entry\. Did you mean 'source'\?"),
        ('source = "Doe and Roe 2020"', "", "source is missing"),
        ("published = 90.0", "published = 'x'", r"published: 'x' is not a float\."),
        ("published = 90.0", "published = 101", "published: 101 must be at most 100"),
        ('place = "Table 2"', "place = 2", r"place: 2 is not a str\.$"),
        ('place = "Table 2"', 'place = ""', "place: the text is empty"),
        ('["optimizer:sgd"]', "[]", "of: the list is empty"),
        (
            '["optimizer:sgd"]',
            '["optimizer:sgt"]',
            "offers 'optimizer:sgt'. Did you mean",
        ),
        ('["optimizer:sgd"]', '["sgd"]', "of: 'sgd' is no KIND:NAME"),
        ("says =", "recipe = 'acme/tinny'\nsays =", "unknown recipe 'acme/tinny'. Did you mean"),
        ('"accuracy.-1.-2:"', '"accuracy..1"', "measure: 'accuracy..1' is no path"),
        ('"accuracy.-1.-2:"', '"acuracy"', "no result has 'acuracy'. Did you mean 'accuracy'"),
        ('"accuracy.-1.-2:"', '"seconds"', "seconds is no share from 0 to 1"),
        ('"accuracy.-1.-2:"', '"forgetting"', "forgetting is no share from 0 to 1"),
        (FULL_TABLE, "[tiny.full]\nsettings.seed = 1\nseeds = 1", "full.settings: seed is none"),
        ("expect = [0.0, 60.0]", "expect = [60.0, 0.0]", "quick.expect: .* Write .low, high"),
        ("expect = [0.0, 60.0]", "expect = [60.0]", "quick.expect: .* Write .low, high"),
        ("expect = [0.0, 60.0]", "hours = 1.0", "quick.hours: no such entry"),
        (
            "[tiny.full]\nseeds = [0, 1]",
            "[tiny.full]\nshort = true\nseeds = 1",
            "full.short: no such",
        ),
        (FULL_TABLE, "", "full is missing"),
        (FULL_TABLE, "[tiny.full]\nseeds = [0, 0]", "full.seeds: .0, 0."),
        (
            "[tiny.full]\nseeds = [0, 1]",
            "[tiny.full]\nsettings = 3\nseeds = 1",
            "full.settings: 3 is",
        ),
        (FULL_TABLE, "full = 3", "3 is not a table"),
    ],
)
def test_a_wrong_entry_is_said_and_hides_no_other_card(
    acme: Acme, old: str, new: str, said: str
) -> None:
    assert old in CLAIM
    acme(renamed("fine") + CLAIM.replace(old, new))
    cards = {card.claim.name: card.fault for card in find_cards(PluginHost())}
    assert cards["acme/fine"] is None
    with pytest.raises(UsageError, match=f"claim 'acme/tiny' is broken: .*{said}"):
        find_card(PluginHost(), "acme/tiny")


def test_a_file_that_cannot_be_read_is_named(acme: Acme) -> None:
    package = acme("[tiny")
    assert "claims.toml is not valid TOML" in fault("acme/claims.toml")
    acme(CLAIM, "values = = 1")
    assert "measured.toml is not valid TOML" in fault()  # it is not called `not yet run`
    acme(CLAIM, MEASURED.replace("tiny", "tony"))
    assert "claims.toml no such claim. Did you mean 'tiny'?" in fault("acme/tony")
    acme(CLAIM, MEASURED.replace("[91.0, 92.0]", "[91.0]"))
    assert "measured.toml: full: it must have one value per seed" in fault()
    acme(CLAIM, MEASURED.replace("[0, 1]", "[0, 0]"))
    assert "measured.toml: full: it must have one value per seed" in fault()
    acme(CLAIM, MEASURED.replace("minutes", "minuts"))
    assert "full.minuts: no such entry. Did you mean 'minutes'?" in fault()
    (package / "claims.toml").unlink()
    assert "claims.toml: No such file" in fault("acme/claims.toml")


def test_an_unknown_claim_is_answered_with_the_nearest(acme: Acme) -> None:
    acme()
    with pytest.raises(UsageError, match=r"unknown claim 'acme/tine'\. Did you mean 'acme/tiny'"):
        find_card(PluginHost(), "acme/tine")


def of(*values: float) -> Measured:
    return Measured(values, tuple(range(len(values))), "p", 1.0)


@pytest.mark.parametrize(
    ("published", "spread", "values", "said"),
    [
        (90.0, 0.0, [], Verdict.NOT_YET_RUN),
        (90.0, 0.0, [89.99], Verdict.SHORT),
        (90.0, 0.0, [90.0], Verdict.MATCHED),
        (90.0, 0.0, [90.01], Verdict.EXCEEDED),
        (90.0, 0.5, [89.5], Verdict.MATCHED),
        (90.0, 0.5, [90.5], Verdict.MATCHED),
        (91.4, 0.1, [91.3], Verdict.MATCHED),  # 91.4 - 0.1 is above 91.3, in floats
        (90.0, 0.5, [89.0, 89.4, 90.0], Verdict.SHORT),  # the mean counts, not the interval's end
        (90.0, 0.5, [85.0, 99.0], Verdict.MATCHED),  # a wide interval
        (90.0, 0.5, [91.0, 91.1, 91.2], Verdict.EXCEEDED),
        (90.0, 0.5, [90.4, 90.7, 91.0], Verdict.MATCHED),
        (None, 0.0, [90.0], Verdict.NO_FIGURE),
    ],
)
def test_the_verdict_is_that_of_the_page(
    published: float | None, spread: float, values: list[float], said: Verdict
) -> None:
    claim = Claim("a/b", published=published, spread=spread)
    assert verdict(claim, of(*values) if values else None) is said
    other = Claim("a/b", published=published, spread=spread, other_data="a copy")
    expected = Verdict.OTHER_DATA if values else Verdict.NOT_YET_RUN
    assert verdict(other, of(*values) if values else None) is expected


def test_the_interval_is_students() -> None:
    found = of(91.0, 91.1, 91.5).summary
    low, high = stats.t.interval(0.95, 2, 91.2, stats.sem([91.0, 91.1, 91.5]))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (of(91.0).summary.low, of(91.0).mean) == (None, 91.0)


def test_the_check_of_a_plugin_finds_settings_that_a_budget_cannot_have(acme: Acme) -> None:
    acme()
    assert not faults_of(PluginHost(), "acme")
    acme(CLAIM.replace("short = true", "settings = { epoch = 1 }"))
    (found,) = faults_of(PluginHost(), "acme")
    assert "acme/tiny, quick: epoch: no such setting. Did you mean 'epochs'?" in found
    assert "the quick budget of claim acme/tiny" in found
    acme(CLAIM.replace("says", "say"))
    assert "acme/tiny: say: no such entry" in faults_of(PluginHost(), "acme")[0]


def test_the_claims_of_all_plugins_can_be_measured() -> None:
    host = PluginHost()
    cards = [card for card in find_cards(host) if not card.fault]
    assert {"mesu/online-200", "bayesbinn/fig1-two-moons"} <= {card.claim.name for card in cards}
    plugins = dict.fromkeys(card.claim.name.partition("/")[0] for card in find_cards(host))
    assert not [fault for plugin in plugins for fault in faults_of(host, plugin)]


def narrow(out: str) -> bool:
    return max(map(len, out.splitlines())) <= 80


def test_the_list_fits_eighty_columns(acme: Acme, bnn: Bnn) -> None:
    long = "appendix-activation-bayesbinn-gate-published"
    broken = CLAIM.replace("tiny", "bad").replace("says", "say")
    acme(CLAIM + renamed(long) + broken, MEASURED)
    answer = bnn("claims", "--of", "sgd")
    assert answer.code == 0
    assert narrow(answer.out)
    lines = answer.out.splitlines()
    mine = lines[lines.index("acme/tiny") + 1].split()  # the names have lines of their own
    assert mine == ["90", "+-", "0.5", "91.50", "(85.15", "to", "97.85)", "2", "matched"]
    assert any(line.startswith("acme/bad broken: ") for line in bnn("claims").out.splitlines())
    assert "acme/tiny" not in bnn("claims", "--verdict", "short").out
    assert "tiny" in bnn("claims", "--of", "optimizer:sgd", "--verdict", "matched").out
    assert narrow(bnn("claims", "acme/tiny").out)
    assert "1 broken, which may be such, too" in bnn("claims", "--of", "sgd").err


def test_a_card_is_shown_whole(acme: Acme, bnn: Any, document: Any) -> None:
    acme(measured=MEASURED)
    shown = bnn("claims", "acme/tiny").out
    for part in ("matched", "Doe and Roe 2020, Table 2", "5 seeds", "seeds 0, 1", "commit abc"):
        assert part in shown
    assert "reproduce acme/tiny --budget full" in shown
    found = document("claims", "acme/tiny")
    assert (found["verdict"], found["measured"]["full"]["mean"]) == ("matched", 91.5)
    every = {each["name"]: each for each in document("claims")["claims"]}
    assert every["acme/tiny"] == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--of", "sdg"), "--of sdg: no claim is of a method of this name. Did you mean 'sgd'?"),
        (("acme/tiny", "--of", "sgd"), "name a claim, or choose by --of and --verdict"),
        (("--verdict", "fine"), "'fine' is not one of 'matched'"),
    ],
)
def test_what_cannot_be_listed_is_refused(acme: Acme, bnn: Any, words: Any, said: str) -> None:
    acme()
    answer = bnn("claims", *words)
    assert answer.code == 2
    assert said in answer.err


def test_a_plugin_that_is_one_file_has_no_claims(make_plugin: Any, tmp_path: Path) -> None:
    (tmp_path / "site-packages" / "claims.toml").write_text(CLAIM)  # nobody's
    make_plugin("acme", "")
    assert not [card for card in find_cards(PluginHost()) if card.claim.name.startswith("acme/")]
