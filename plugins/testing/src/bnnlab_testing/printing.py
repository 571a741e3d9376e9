"""What `bnn test-plugin` prints for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from bnnlab.cli.console import print_out
from bnnlab.errors import program
from bnnlab.registry.components import noun
from bnnlab_testing.generated import Subject
from bnnlab_testing.shipped import Contract, title

Tests = Sequence[Mapping[str, Any]]
"""How each test of one went: what `relaying` tells."""


class Tested(NamedTuple):
    """A component or a command, and how its tests went."""

    subject: Subject
    tests: Tests

    def __str__(self) -> str:
        offer = self.subject.offer
        return f"{noun(offer.kind)} {offer.name}"

    @property
    def failed(self) -> Tests:
        """Those that failed."""
        return [test for test in self.tests if test["outcome"] == "failed"]


def print_counts(tested: Tested, width: int) -> None:
    """Print how many tests of one went how; `width` is that of the names."""
    counts, its = Counter(test["outcome"] for test in tested.tests), tested.subject.offer
    order = ("failed", "passed", "skipped", "xfailed")
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome])
    print_out(f"{noun(its.kind):9} {its.name:{width}}  {said}")


def print_summary(tested: Sequence[Tested], others: Sequence[Contract]) -> None:
    """Print what the plugin says, which tests did not run, and what failed.

    Args:
        tested: All that was tested.
        others: Test classes of the plugin that were not used.
    """
    _print_said(tested, others)
    _print_missing(tested)
    _print_failures(tested)


def _print_said(tested: Sequence[Tested], others: Sequence[Contract]) -> None:
    """Print what the plugin's own classes say, and how the others of them are run."""
    for each in tested:
        contract, said = each.subject.shipped, each.subject.said
        if contract and said:
            print_out()
            print_out(f"{title(contract)} says of the {each}:", soft_wrap=True)
            for line in said:
                print_out(f"  {line}", soft_wrap=True)
    for module, classes in groupby(others, key=lambda contract: contract.__module__):
        print_out()
        names = ", ".join(contract.__name__ for contract in classes)
        words = program("python"), "-m", "pytest", "--pyargs", module
        print_out(f"`{' '.join(words)}` runs more classes: {names}", soft_wrap=True)


def _print_missing(tested: Sequence[Tested]) -> None:
    """Print why no test of a component ran; once, where several say the same."""
    missing = dict[str, list[str]]()
    for each in tested:
        if {test["outcome"] for test in each.tests} == {"skipped"}:
            missing.setdefault(each.tests[0]["message"], []).append(str(each))
    for why, names in missing.items():
        print_out()
        print_out(f"No test ran of {', '.join(names)}: {why}", soft_wrap=True)


def _print_failures(tested: Sequence[Tested]) -> None:
    """Print what failed; once, where several tests of one component say the same."""
    for each in tested:
        alike = dict[str, list[Any]]()
        for test in each.failed:
            alike.setdefault(test["message"], []).append(test)
        if chosen := next((test["chosen"] for test in each.failed if test["chosen"]), ""):
            print_out()
            print_out(f"{each} is tested with {chosen}", soft_wrap=True)
        for message, tests in alike.items():
            print_out()
            print_out(f"{each}: {', '.join(test['test'] for test in tests)}", soft_wrap=True)
            advice = tests[0]["advice"].splitlines()
            for said in filter(None, (tests[0]["about"], *message.splitlines(), *advice)):
                print_out(f"  {said}", soft_wrap=True)
