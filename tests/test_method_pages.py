"""What the documents owe each method: its README's sections, and a row on the page of parity."""

import re
from pathlib import Path

import pytest

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.host import PluginHost

ROOT = Path(__file__).parents[1]
PARITY = (ROOT / "docs" / "results" / "parity.md").read_text()
METHODS = [
    component
    for kind in (Kind.RULE, Kind.OPTIMIZER)
    for _, component in PluginHost().components(kind)
    if component.target.startswith("bnnlab_")
]


def sections(component: Component) -> dict[str, str]:
    """Return the parts of the README of a component's plugin, by their headings."""
    folder = component.target.partition(".")[0].removeprefix("bnnlab_")
    text = (ROOT / "plugins" / folder / "README.md").read_text()
    parts = re.split(r"^#{2,3} (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_says_when_to_use_it_what_it_costs_and_what_differs(method):
    said = sections(method)
    for heading in ("When to use it", "Cost", "Differences from the published code"):
        assert said.get(heading, "").strip(), heading


@pytest.mark.parametrize(
    "optimizer",
    [method for method in METHODS if method.state_bytes is not None],
    ids=lambda optimizer: optimizer.name,
)
def test_the_cost_of_an_optimizer_names_its_bytes_per_weight(optimizer):
    """The kit measures that they are so."""
    numbers = re.findall(r"\d+", sections(optimizer)["Cost"])
    assert str(optimizer.state_bytes) in numbers


def test_each_method_has_a_row_of_parity_and_each_test_named_there_exists():
    rows = [line for line in PARITY.splitlines() if line.startswith("|") and "test_" in line]
    compared = set(re.findall(r"`([\w-]+)`", " ".join(row.split("|")[1] for row in rows)))
    assert {method.name for method in METHODS} <= compared
    for path, test in re.findall(r"`(plugins/\S+\.py)` `(test_\w+)`", PARITY):
        assert f"def {test}(" in (ROOT / path).read_text(), test
    assert len(rows) == len(re.findall(r"`test_\w+` \|$", PARITY, re.MULTILINE))
