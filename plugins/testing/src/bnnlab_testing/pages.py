"""Where docs/contracts explains a test of the kit, and what it says there."""

import re
from pathlib import Path
from typing import Any

from bnnlab.registry.components import noun

COMMON = ("ComponentContract", "DeclarationChecks", "DeviceChecks")
"""Classes with the tests of every component, which have a page of their own."""

_HERE = Path(__file__).parent
_FOLDERS = _HERE / "contracts", _HERE.parents[3] / "docs" / "contracts"
"""Where the pages are in a wheel, and in a checkout."""


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


def entry_of(page: str) -> str:
    """Return the entry of a page as plain text, a paragraph a line; `page` is as above."""
    file, _, test = page.partition("#")
    folder = next(each for each in _FOLDERS if each.is_dir())
    text = (folder / Path(file).name).read_text(encoding="utf-8")
    found = re.search(rf"^### `{test}`\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", found[1].strip() if found else "")
    return "\n".join(" ".join(each.split()) for each in plain.split("\n\n"))
