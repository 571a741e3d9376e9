"""The tables of claim cards, by their verdicts."""

from collections.abc import Iterator, Sequence

from bnnlab_claims.card import FULL, QUICK, Card, Verdict
from bnnlab_claims.showing import expected_of, measured_of, published_of, runs_of
from generated.rendering import lines

HEADINGS = ("claim", "what is measured", "published", "ours", "quick", "hours per seed", "why")
ENOUGH = 3
"""Seeds, from which on a mean has an interval that says something."""


def claims(cards: Sequence[Card]) -> Iterator[str]:
    """Yield how many cards have which verdict, and a table of those of each."""
    verdicts = [card.verdict for card in cards]
    counts = ", ".join(f"{verdicts.count(each)} {each}" for each in Verdict if each in verdicts)
    full = [card.measured[FULL] for card in cards if FULL in card.measured]
    many = sum(len(found.seeds) >= ENOUGH for found in full)
    yield f"{len(cards)} claims: {counts}. {many} have values of {ENOUGH} or more seeds."
    yield ""
    for verdict in Verdict:
        if rows := [_row(card) for card in cards if card.verdict is verdict]:
            yield f"**{verdict.capitalize()}**"
            yield ""
            yield from lines(HEADINGS, rows)
            yield ""


def _row(card: Card) -> list[str]:
    claim, full, quick = card.claim, card.claim.budgets[FULL], card.claim.budgets.get(QUICK)
    short = card.measured.get(QUICK)
    expected = f"expected {expected_of(quick, short)}" if quick and quick.expect else ""
    quickly = [measured_of(short)] * bool(short) + [expected] * bool(expected)
    row = [
        f"`{claim.name}`",
        f"{claim.says} {claim.source}, {claim.place}",
        published_of(claim) + runs_of(claim),
        measured_of(card.measured.get(FULL)),
        "; ".join(quickly),
        "" if full.hours is None else f"{full.hours:g}",
        claim.other_data or claim.why,
    ]
    return [entry.replace("|", "\\|") for entry in row]
