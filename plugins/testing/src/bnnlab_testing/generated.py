"""The test file that `bnn test-plugin` makes: a test class for each component of a plugin."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.discovery import Plugin

CONTRACTS: Mapping[Kind, str] = {
    Kind.RULE: "LearningRuleContract",
    Kind.OPTIMIZER: "OptimizerContract",
    Kind.MODEL: "ModelContract",
    Kind.STREAM: "StreamContract",
    Kind.PROBE: "ProbeContract",
    Kind.TRACKER: "TrackerContract",
    Kind.ENGINE: "EngineContract",
}
"""The contract of each kind."""
_READ = """
    def read(self, folder):
        pytest.skip("write read(folder) in a test file: it says how to read what arrived")
"""


def source_of(offers: Sequence[tuple[Plugin, Component]], told: Sequence[Mapping[str, Any]]) -> str:
    """Return the file's source.

    Args:
        offers: The components with their plugins. Their classes are called `Test0_...`, `Test1_...`
        told: Attributes of each one's class, by name.
    """
    names = ", ".join(sorted({CONTRACTS[component.kind] for _, component in offers}))
    parts = [f"import pytest\n\nfrom bnnlab_testing import {names}\n"]
    for number, ((plugin, component), its) in enumerate(zip(offers, told, strict=True)):
        attributes = {"name": f"{plugin.distribution}/{component.name}", **its}
        made = re.sub(r"\W", "_", f"Test{number}_{component.kind}_{component.name}")
        lines = [f"class {made}({CONTRACTS[component.kind]}):"]
        lines += [f"    {name} = {value!r}" for name, value in attributes.items()]
        parts.append("\n".join(lines) + "\n" + (_READ if component.kind is Kind.TRACKER else ""))
    return "\n\n".join(parts)
