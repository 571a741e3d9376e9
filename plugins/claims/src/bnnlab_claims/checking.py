"""What is wrong with the cards of a plugin, beyond what reading them finds."""

from bnnlab.errors import NotInstalledError, UsageError
from bnnlab.registry.host import PluginHost
from bnnlab_claims.finding import find_cards
from bnnlab_claims.study import config_of


def faults_of(host: PluginHost, plugin: str) -> list[str]:
    """Return what is wrong with the cards of a plugin, and with the settings of their budgets.

    Settings that need a plugin that is not installed are not looked at.
    """
    own = [card for card in find_cards(host) if card.claim.name.startswith(f"{plugin}/")]
    faults = [f"{card.claim.name}: {card.fault}" for card in own if card.fault]
    for card in own:
        for which in card.claim.budgets:
            try:
                config_of(host, card.claim, which)
            except NotInstalledError:
                continue
            except UsageError as error:
                faults.append(f"{card.claim.name}, {which}: {error}")
    return faults
