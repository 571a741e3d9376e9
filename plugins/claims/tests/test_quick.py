"""The quickest budgets of the cards, on real data: their means are in the expected intervals."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnnlab import PluginHost
from bnnlab_claims.card import QUICK, Card
from bnnlab_claims.finding import find_cards

DATA = os.environ.get("BNNLAB_DATA", "")
MOST = 6
"""How many are carried out."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.rounding,  # authors say intervals that are wide enough for other processors
    pytest.mark.skipif(
        not (Path(DATA) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file(),
        reason="real MNIST is needed: set BNNLAB_DATA to a folder with MNIST/raw",
    ),
]


def minutes(card: Card) -> float:
    found = card.measured[QUICK]
    return found.minutes * len(found.seeds)


MEASURED = [card for card in find_cards(PluginHost()) if QUICK in card.measured]


@pytest.mark.parametrize(
    "name", [card.claim.name for card in sorted(MEASURED, key=minutes)[:MOST] if minutes(card) < 2]
)
def test_a_quick_budget_is_as_expected(name: str, bnn: Callable[..., Any], tmp_path: Path) -> None:
    answer = bnn("reproduce", name, "--out", tmp_path)
    assert answer.code == 0, f"{answer.out}{answer.err}"
    assert ": inside" in answer.out
