"""What a plugin owes of its claims: that each can be measured."""

from functools import lru_cache

import pytest

from bnnlab.errors import NotInstalledError
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost


def assert_claims_can_be_measured(host: PluginHost, plugin: Plugin) -> None:
    """Check the cards in a plugin's claims.toml, where it has one."""
    if plugin.data is None or not (plugin.data / "claims.toml").is_file():
        pytest.skip("its plugin has no claims.toml")
    try:
        found = _faults(host, plugin.name)
    except NotInstalledError as error:
        pytest.skip(str(error))
    assert not found, "\n".join(found)


@lru_cache(maxsize=1)  # each component of the plugin asks
def _faults(host: PluginHost, plugin: str) -> list[str]:
    """Return what is wrong with the cards of a plugin.

    Raises:
        NotInstalledError: If what reads them is not installed.
    """
    faults: list[str] = host.library("bnnlab-claims", "bnnlab_claims.checking:faults_of")(
        host, plugin
    )
    return faults
