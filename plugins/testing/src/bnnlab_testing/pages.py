"""Where docs/contracts explains a test of the kit."""

from typing import Any

from bnnlab.registry.components import noun

COMMON = ("ComponentContract", "DeclarationChecks", "DeviceChecks")
"""Classes with the tests of every component, which have a page of their own."""


def page_of(contract: Any, test: str) -> str | None:
    """Return `docs/contracts/rule.md#test_name`; None if it is no test of the kit."""
    homes = [
        each
        for each in getattr(contract, "__mro__", ())
        if test in vars(each) and each.__module__.startswith("bnnlab_testing.")
    ]
    if not homes:
        return None
    kind = noun(getattr(contract, "kind", "objective"))
    return f"docs/contracts/{'component' if homes[0].__name__ in COMMON else kind}.md#{test}"
