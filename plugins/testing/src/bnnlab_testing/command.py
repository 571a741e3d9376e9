"""`bnn test-plugin`: the contracts of what a plugin offers, without a test file of its own."""

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from bnnlab import __version__
from bnnlab.cli.console import print_file, print_out
from bnnlab.errors import UsageError
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab.storage.files import to_json, write_atomically
from bnnlab_testing.choosing import find, told
from bnnlab_testing.generated import Subject, source_of
from bnnlab_testing.printing import Tested, Tests, print_counts, print_summary
from bnnlab_testing.process import JUNIT, run
from bnnlab_testing.shipped import Offer, shipped


class Report(StrEnum):
    """What a report is written as."""

    JUNIT = "junit"
    JSON = "json"


Name = Annotated[
    str | None,
    typer.Argument(
        help="Name or distribution of an installed plugin. Not needed with --plugin FILE.",
        show_default=False,
    ),
]
Form = Annotated[
    Report | None,
    typer.Option("--report", help="Report each test: to standard output, or to --out FILE."),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="File to write the report to.", metavar="FILE")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="What a test class would say of a component, such as model.mine.classes=7; may be "
        "repeated.",
        metavar="KIND.NAME.ATTRIBUTE=VALUE",
    ),
]


def run_contracts(
    name: Name = None, report: Form = None, out: Out = None, set: Settings = None
) -> None:
    """Test a plugin by the contracts of what it offers, without a test file.

    The kit chooses what each component is tested with: a model that suits a rule, a rule that an
    optimizer requires. What it cannot see of a component, the plugin says by test classes in the
    module `contracts` of its package; the first class of each component is used.

    Exits with 1 if a test fails.

    Examples:
      bnn test-plugin bnnlab-backprop
      bnn --plugin my_rule.py test-plugin
      bnn test-plugin acme --report junit --out acme.xml
    """
    _check_file(out, report)
    plugins = find(PluginHost(with_broken=True), name)
    found = list[tuple[Plugin, Offer]]()
    for each in plugins:
        found += [(each, component) for component in each.components]
        found += [(each, command) for command in each.commands]
    its, attributes = shipped(found), told([offer for _, offer in found], set or ())
    subjects = [
        Subject(plugin, offer, its.first.get(number), attributes[number])
        for number, (plugin, offer) in enumerate(found)
    ]
    source, tested = source_of(subjects), list[Tested]()
    is_shown, width = bool(out) or not report, max(len(offer.name) for _, offer in found)
    with TemporaryDirectory(prefix="bnnlab-") as folder:
        for number, tests in _tests(source, Path(folder), its.modules):
            tested.append(Tested(subjects[number], tests))
            if is_shown:
                print_counts(tested[-1], width)
        junit = Path(folder, JUNIT).read_text(encoding="utf-8")
    if is_shown:
        print_summary(tested, its.others)
        if not report and any(each.failed for each in tested):
            print_out()
            print_out("For tracebacks, add --report junit --out FILE.")
    if report:
        _write(out, junit if report is Report.JUNIT else to_json(_document(plugins, tested)))
    if any(each.failed for each in tested):
        raise typer.Exit(1)


def _check_file(out: Path | None, report: Report | None) -> None:
    """Refuse what could not be written once all is tested."""
    if out and not report:
        raise UsageError("--out is for a report: add --report junit or --report json.")
    if out and not out.parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.parent}.")


def _tests(source: str, folder: Path, modules: Sequence[str]) -> Iterator[tuple[int, Tests]]:
    """Yield the number of each that was tested, with its tests."""
    for made, tests in groupby(run(source, folder, modules), key=lambda test: test["made"]):
        last = {test["test"]: test for test in tests}  # what fails once it is over is told later
        yield int(re.findall(r"\d+", made)[0]), [*last.values()]


def _write(out: Path | None, text: str) -> None:
    if out:
        write_atomically(out, text.encode())
    else:
        print_file(text)


def _document(plugins: Sequence[Plugin], tested: Sequence[Tested]) -> Any:
    """Return the report as docs/contracts/index.md describes it."""
    names = ("test", "outcome", "about", "message", "page", "seconds")
    return {
        "bnnlab": __version__,
        "plugins": [{"name": each.distribution, "version": each.version} for each in plugins],
        "tested": [
            {
                "kind": str(subject.offer.kind),
                "name": subject.offer.name,
                "class": subject.base,
                "said": subject.said,
                "tests": [{name: test[name] for name in names} for test in tests],
            }
            for subject, tests in tested
        ],
    }
