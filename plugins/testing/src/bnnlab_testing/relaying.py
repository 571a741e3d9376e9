"""A pytest plugin that tells `bnn test-plugin` of each test, by lines on the standard output."""

import inspect
import json
import re
import sys
import traceback
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bnnlab.errors import UsageError, place
from bnnlab_testing.chosen import chosen
from bnnlab_testing.pages import entry_of, page_of
from bnnlab_testing.process import MARK
from bnnlab_testing.pytest_plugin import FIRST

_IN_WORDS = AssertionError, pytest.fail.Exception, pytest.skip.Exception
"""Errors whose text is for people."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell how a test went; what is set up and put back for it is told of only if that fails."""
    report = yield
    if report.when == "call" or report.outcome != "passed":
        reason = getattr(report, "wasxfail", None)
        about, page = _first_sentence(item.function), page_of(item.cls, item.originalname)
        first = [text for name, text in report.sections if name == FIRST]
        said = _message(report, call, item.instance) if reason is None else reason
        _tell(
            made=item.cls.__name__,
            test=item.name,
            outcome=report.outcome if reason is None else "xfailed",
            about=about,
            message="\n".join([*first, said]),
            page=page,
            advice=entry_of(page).removeprefix(about).strip() if page and report.failed else "",
            chosen=_chosen(item.instance) if report.failed else "",
            seconds=round(call.duration, 3),
        )
    return report


def pytest_runtest_logstart(nodeid: str) -> None:
    """Tell which test begins: it is the last one, if the process dies."""
    _tell(begins=nodeid.partition("::")[2])


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell why there are no tests."""
    if report.failed:
        _tell(fault=report.longreprtext)


def pytest_sessionfinish() -> None:
    """Tell that nothing is missing."""
    _tell(done=True)


def _tell(**what: Any) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(what)}\n")
    sys.stdout.flush()


def _first_sentence(function: Any) -> str:
    paragraph = (inspect.getdoc(function) or "").partition("\n\n")[0]
    return re.split(r"(?<=[.?!]) ", " ".join(paragraph.split()), maxsplit=1)[0]


def _chosen(contract: Any) -> str:
    """Return what a component is tested with; nothing where the choice itself fails, as told."""
    try:
        return chosen(contract)
    except Exception:  # a component may raise any
        return ""


def _message(report: pytest.TestReport, call: pytest.CallInfo[None], contract: Any) -> str:
    """Return what a test says, without the values that pytest adds; with the place of a crash."""
    if call.excinfo is None:
        return report.longreprtext
    error = call.excinfo.value
    said = re.split(r"\n\n|\nassert ", str(error), maxsplit=1)[0]
    if isinstance(error, _IN_WORDS):
        crash = error.__cause__
        return f"{said} (at {_places(crash, contract)})" if crash else said
    return f"{type(error).__name__}: {said} (at {_places(error, contract)})"


def _places(error: BaseException, contract: Any) -> str:
    """Return the last place in the plugin's own files that an error came through, and its last."""
    packages = set[str | None]()
    with suppress(UsageError):  # what cannot be loaded says so itself
        packages.add(getattr(getattr(contract, "plugin", None), "package", None))
        if component := getattr(contract, "component", None):
            packages.add(component.target.partition(":")[0].partition(".")[0])
    files = (getattr(sys.modules.get(each or ""), "__file__", None) for each in packages)
    roots = {_root(Path(file)) for file in files if file}
    own = ""
    cause: BaseException | None = error
    while cause is not None:
        for frame in traceback.extract_tb(cause.__traceback__):
            path = Path(frame.filename)
            if roots & {path, *path.parents}:
                own = f"{path.parent.name}/{path.name}:{frame.lineno}"
        cause = cause.__cause__ or cause.__context__
    return ", in ".join(dict.fromkeys(filter(None, (own, place(error)))))


def _root(file: Path) -> Path:
    """Return the folder of a package, or the file of a module."""
    return file.parent if file.stem == "__init__" else file
