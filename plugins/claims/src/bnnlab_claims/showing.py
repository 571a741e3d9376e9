"""Cards as people and programs read them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bnnlab.cli.console import line, print_out, print_table
from bnnlab.errors import command
from bnnlab.settings.text import written
from bnnlab_claims.card import FULL, QUICK, Budget, Card, Claim, Measured, Verdict
from bnnlab_studies.record import leaves
from bnnlab_studies.tables import print_rows

COLOURS = {
    Verdict.MATCHED: "green",
    Verdict.EXCEEDED: "green",
    Verdict.SHORT: "red",
    Verdict.OTHER_DATA: "yellow",
}


def print_list(cards: Sequence[Card]) -> None:
    """Print a line or two for each card, those with a fault last; then how many have which."""
    rows = [_row(card) for card in cards if not card.fault]
    if rows:
        print_rows(("claim", "published", "ours", "seeds", "verdict"), rows)
    for card in cards:
        if card.fault:
            print_out(line((card.claim.name, "bold"), f" broken: {card.fault}"))
    verdicts = [card.verdict for card in cards if not card.fault]
    counts = [f"{verdicts.count(each)} {each}" for each in Verdict if each in verdicts]
    if len(rows) > 1:
        print_out(f"{len(rows)} claims: {', '.join(counts)}")


def _row(card: Card) -> tuple[str, ...]:
    full, quick = card.measured.get(FULL), card.measured.get(QUICK)
    ours = f"quick: {mean_of(quick)}" if quick and not full else mean_of(full)
    seeds = len(found.seeds) if (found := full or quick) else "-"
    return card.claim.name, published_of(card.claim), ours, str(seeds), str(card.verdict)


def published_of(claim: Claim) -> str:
    """Return the published figure, with what it may differ by; `-` if there is none."""
    if claim.published is None:
        return "-"
    return f"{claim.published:g}" + (f" +- {claim.spread:g}" if claim.spread else "")


def mean_of(found: Measured | None) -> str:
    """Return a mean with its interval, cut at what accuracies can be; `-` if there is none."""
    if found is None:
        return "-"
    its = found.summary
    if its.low is None or its.high is None:
        return f"{found.mean:.2f}"
    low = its.low if min(found.values) < 0 else max(its.low, 0)  # R2 may be negative
    return f"{found.mean:.2f} ({low:.2f} to {min(its.high, 100):.2f})"


def measured_of(found: Measured | None) -> str:
    """Return a mean with its interval, and its seeds."""
    if found is None:
        return "-"
    alone = ": one seed has no interval" if len(found.seeds) == 1 else ""
    return f"{mean_of(found)}, {seeds_of(found.seeds)}{alone}"


def runs_of(claim: Claim) -> str:
    """Return how many runs the published figure is the mean of, after a comma; empty if unsaid."""
    count = claim.published_seeds
    return f", {count} seed{'s' if count > 1 else ''}" if count else ""


def seeds_of(seeds: Sequence[int]) -> str:
    """Return seeds in words."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def expected_of(budget: Budget, found: Measured | None = None) -> str:
    """Return the expected interval in words, and whether what was measured is in it."""
    if budget.expect is None:
        return "not said"
    low, high = budget.expect
    judged = "" if not found else ": inside" if budget.takes(found.mean) else ": outside"
    return f"{low:g} to {high:g}{judged}"


def print_card(card: Card) -> None:
    """Print all that a card says."""
    claim = card.claim
    print_out(line((claim.name, "bold"), "  ", (card.verdict, COLOURS.get(card.verdict, ""))))
    print_out(claim.says, indent=4)
    rows = [
        ("published", published_of(claim) + runs_of(claim)),
        ("ours", measured_of(card.measured.get(FULL))),
        ("source", f"{claim.source}, {claim.place}"),
        ("of", ", ".join(claim.of)),
        ("measure", claim.measure),
        ("recipe", claim.recipe),
        ("other data", claim.other_data),
        ("why", claim.why),
    ]
    for which, budget in claim.budgets.items():
        found = card.measured.get(which)
        rows.append((which, _how(budget)))
        if which == QUICK:
            ours = f"{measured_of(found)}; " if found else ""
            rows.append(("", f"{ours}expected: {expected_of(budget, found)}"))
        if found:
            rows.append(("", _computed(found)))
        rows.append(("", command("reproduce", claim.name, "--budget", which)))
    print_table((), [(f"    {name:10}", text) for name, text in rows if text])


def _how(budget: Budget) -> str:
    """Return the settings of a budget, its seeds and its cost."""
    settings = [f"{name} = {written(value)}" for name, value in leaves(budget.settings)]
    said = ["the short form of the recipe"] * budget.short + settings
    hours = [] if budget.hours is None else [f"about {budget.hours:g} hours per seed on one core"]
    return "; ".join([", ".join(said) or "the recipe", seeds_of(budget.seeds), *hours])


def _computed(found: Measured) -> str:
    environment = [f"{name} {it}" for name, it in found.environment.items()]
    about = [f"protocol {found.protocol}", *environment, f"{found.minutes:g} minutes per seed"]
    return ", ".join([*about, *([found.date] if found.date else [])])


def as_dict(card: Card) -> dict[str, Any]:
    """Return a card as JSON shows it."""
    if card.fault:
        return {"name": card.claim.name, "fault": card.fault}
    return {
        **asdict(card.claim),
        "measured": {which: _figures(found) for which, found in card.measured.items()},
        "verdict": str(card.verdict),
        "fault": None,
    }


def _figures(found: Measured) -> Mapping[str, Any]:
    its = found.summary
    return {**found.as_toml(), "mean": found.mean, "low": its.low, "high": its.high}
