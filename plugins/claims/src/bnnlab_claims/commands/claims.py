"""The command `claims`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from bnnlab.cli.console import Json, print_json, print_out, report_note
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.host import PluginHost
from bnnlab_claims.card import Card, Verdict
from bnnlab_claims.finding import find_card, find_cards
from bnnlab_claims.showing import as_dict, print_card, print_list


def claims(
    name: Annotated[
        str | None, typer.Argument(help="One claim, as PLUGIN/KEY: its card is shown whole.")
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--of", help="Those of a method, as mesu or optimizer:mesu.", metavar="NAME"),
    ] = None,
    verdict: Annotated[
        Verdict | None, typer.Option("--verdict", help="Those with this verdict.")
    ] = None,
    json: Json = False,
) -> None:
    """List published figures of methods, each with ours and a verdict.

    All figures are in %. A verdict is of the full protocol alone. In brackets:
    95 % interval of the mean over the seeds.

    Examples:
      bnn claims --verdict short
      bnn claims --of bayesbinn --json
      bnn claims mesu/online-200
    """
    host = PluginHost()
    if name is not None:
        if of or verdict:
            raise UsageError("name a claim, or choose by --of and --verdict")
        card = find_card(host, name)
        print_json(as_dict(card)) if json else print_card(card)
        return
    cards = find_cards(host)
    chosen = cards if of is None else _of(cards, of)
    if verdict:
        chosen = [card for card in chosen if card.verdict is verdict and not card.fault]
    if lost := len([card for card in cards if card.fault and card not in chosen]):
        report_note(f"{lost} broken, which may be such, too: `bnn claims` names each")
    if json:
        print_json({"claims": [as_dict(card) for card in chosen]})
    elif chosen:
        print_list(chosen)
    else:
        print_out(f"No claim is {verdict}." if cards else "No installed plugin has a claim.")


def _of(cards: Sequence[Card], method: str) -> list[Card]:
    """Return the cards of a method, which may be written without its kind."""
    names = {card.claim.name: _names(card) for card in cards}
    known = set().union(*names.values())
    if method not in known:
        near = did_you_mean(method, known)
        raise UsageError(f"--of {method}: no claim is of a method of this name.{near}")
    return [card for card in cards if method in names[card.claim.name]]


def _names(card: Card) -> set[str]:
    return {name for method in card.claim.of for name in (method, method.partition(":")[2])}
