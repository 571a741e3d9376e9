"""The test file that `bnn test-plugin` makes: a test class for all that a plugin offers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bnnlab.registry.components import Command, Kind
from bnnlab.registry.discovery import Plugin
from bnnlab_testing.shipped import Contract, Offer, lines_of, said_by, title

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
        pytest.skip("write read(folder) in a test class: it says how to read what arrived")
"""


class Subject(NamedTuple):
    """What is tested, and what is said of it.

    Attributes:
        plugin: That offers it.
        offer: A component or a command.
        shipped: The test class that the plugin has for it.
        told: Attributes that are not as in that class, or in the contract, by name.
    """

    plugin: Plugin
    offer: Offer
    shipped: Contract | None
    told: Mapping[str, Any]

    @property
    def base(self) -> str:
        """The class that its tests are in."""
        contract = f"bnnlab_testing.{CONTRACTS[self.offer.kind]}"
        return title(self.shipped) if self.shipped else contract

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that are told; a table has the other entries of that in the class."""
        own = said_by(self.shipped) if self.shipped else {}
        return {
            name: {**own.get(name, {}), **value} if isinstance(value, Mapping) else value
            for name, value in self.told.items()
        }

    @property
    def said(self) -> list[str]:
        """What is said of it, as text."""
        own = said_by(self.shipped) if self.shipped else {}
        return [*lines_of({**own, **self.attributes})]


def source_of(subjects: Sequence[Subject]) -> str:
    """Return the file's source. The classes are called `Test0_...`, `Test1_...`, in order."""
    modules = sorted({each.base.rpartition(".")[0] for each in subjects})
    parts = ["\n".join(f"import {module}" for module in ("pytest", *modules)) + "\n"]
    for number, subject in enumerate(subjects):
        plugin, offer = subject.plugin, subject.offer
        attributes = {"name": f"{plugin.distribution}/{offer.name}", **subject.attributes}
        made = re.sub(r"\W", "_", f"Test{number}_{offer.kind}_{offer.name}")
        lines = [f"class {made}({subject.base}):"]
        lines += [f"    {name} = {value!r}" for name, value in attributes.items()]
        is_unread = offer.kind == Kind.TRACKER and not subject.shipped
        parts.append("\n".join(lines) + "\n" + (_READ if is_unread else ""))
    return "\n\n".join(parts)
