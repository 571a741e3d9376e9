"""docs/contracts has an entry for each test of the kit, which begins as the test's docstring."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bnnlab_testing
from bnnlab_testing.pages import entry_of, page_of

ROOT = Path(__file__).parents[3]


def explained() -> dict[str, dict[str, str]]:
    """Return what each page must have: the docstring of each of its tests."""
    found: dict[str, dict[str, str]] = {}
    for name in bnnlab_testing.__all__:
        contract = getattr(bnnlab_testing, name)
        for test in [each for each in dir(contract) if each.startswith("test_")]:
            page = page_of(contract, test)
            assert page is not None, test
            said = " ".join((inspect.getdoc(getattr(contract, test)) or "").split())
            found.setdefault(page.partition("#")[0], {})[test] = said
    return found


def entries(page: str) -> dict[str, str]:
    """Return the entries of a page, by the names of tests."""
    text = (ROOT / page).read_text() if (ROOT / page).exists() else ""
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {title.strip("`"): " ".join(text.split()) for title, text in pairs if "test_" in title}


def lacking() -> Iterator[str]:
    """Yield what is not in a page, as it may be written there."""
    for page, tests in explained().items():
        written = entries(page)
        for test, said in tests.items():
            if not written.get(test, "").startswith(said):
                yield f"{page} lacks, or says otherwise:\n\n### `{test}`\n{said}\n"
        for gone in written.keys() - tests.keys():
            yield f"{page} explains {gone}, which is no test"


def test_every_test_is_explained() -> None:
    assert not [*lacking()], "\n".join(lacking())


def test_a_failure_says_what_its_entry_says(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from bnnlab_testing import LearningRuleContract

        class TestBackpropagation(LearningRuleContract):
            name = "bnnlab-backprop/bp"

            def make(self, *_):
                raise ValueError("on purpose")
        """
    )
    result = pytester.runpytest_inprocess("-k", "no_hook")
    page = "docs/contracts/rule.md#test_no_hook_is_left_behind"
    said = entry_of(page).splitlines()
    assert len(said) > 1
    result.stdout.fnmatch_lines([*said, f"({page})"])
