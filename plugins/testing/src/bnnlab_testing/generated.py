"""The test file that `bnn test-plugin` makes: a test class for all that a plugin offers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bnnlab.registry.components import Command, Component, Kind
from bnnlab.registry.discovery import Plugin

Offer = Component | Command
"""What a plugin offers."""
CONTRACTS: Mapping[str, str] = {
    Kind.RULE: "LearningRuleContract",
    Kind.OPTIMIZER: "OptimizerContract",
    Kind.MODEL: "ModelContract",
    Kind.STREAM: "StreamContract",
    Kind.PROBE: "ProbeContract",
    Kind.TRACKER: "TrackerContract",
    Kind.ENGINE: "EngineContract",
    Command.kind: "CommandContract",
}
"""The contract of each kind."""
_READ = """
    def read(self, folder):
        pytest.skip("write read(folder) in a test file: it says how to read what arrived")
"""


def source_of(offers: Sequence[tuple[Plugin, Offer]], told: Sequence[Mapping[str, Any]]) -> str:
    """Return the file's source.

    Args:
        offers: With their plugins. Their classes are called `Test0_...`, `Test1_...`, in order.
        told: Attributes of each one's class, by name.
    """
    names = ", ".join(sorted({CONTRACTS[offer.kind] for _, offer in offers}))
    parts = [f"import pytest\n\nfrom bnnlab_testing import {names}\n"]
    for number, ((plugin, offer), its) in enumerate(zip(offers, told, strict=True)):
        attributes = {"name": f"{plugin.distribution}/{offer.name}", **its}
        made = re.sub(r"\W", "_", f"Test{number}_{offer.kind}_{offer.name}")
        lines = [f"class {made}({CONTRACTS[offer.kind]}):"]
        lines += [f"    {name} = {value!r}" for name, value in attributes.items()]
        parts.append("\n".join(lines) + "\n" + (_READ if offer.kind == Kind.TRACKER else ""))
    return "\n\n".join(parts)
