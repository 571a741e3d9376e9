"""What a later release removes is said once, with its replacement, to who can change it."""

import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version

import bnnlab
from bnnlab.deprecation import Deprecated, warn_of_name, warn_of_setting
from bnnlab.moved import REMOVED
from bnnlab_testing.pytest_plugin import MakePlugin

SAID = "bnnlab_acme.old, which bnnlab-acme 0.3 removes: import bnnlab_acme.new"


@pytest.fixture(autouse=True)
def unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was said before a test."""
    monkeypatch.setattr("bnnlab.deprecation._said", set())


def old() -> None:
    warn_of_name("bnnlab_acme.old", "import bnnlab_acme.new", "bnnlab-acme 0.3")


def call_from(file: Path, module: str, lines: int = 1) -> None:
    """Call `old` from a module of this name."""
    code = compile("\nold()" * lines, str(file), "exec")
    exec(code, {"old": old, "__name__": module})


def test_a_name_is_said_once_to_each_module_that_uses_it(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for module in ("acme_one.rule", "acme_two", "acme_one.rule"):
            call_from(tmp_path / f"{module}.py", module, lines=2)
    assert [(str(each.message), Path(each.filename).name, each.lineno) for each in said] == [
        (f"{module} uses {SAID}", f"{module}.py", 2) for module in ("acme_one.rule", "acme_two")
    ]


def test_python_shows_it_by_itself(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.resetwarnings()
        for each in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
            warnings.simplefilter("ignore", each)  # as Python begins
        call_from(tmp_path / "acme.py", "acme")
    assert [each.category for each in said] == [Deprecated]


def test_where_it_is_an_error_it_is_one_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Deprecated, match=f"acme uses {SAID}"):
            call_from(tmp_path / "acme.py", "acme")


def test_the_core_is_no_user_of_what_it_passes_on() -> None:
    part = next(iter(bnnlab.create("stream", "digits"))).train
    for call in (part.batch, lambda at, draws: next(part.batches(2, at, draws=draws))):
        with pytest.warns(
            Deprecated, match=r"draws=\), which bnnlab 0.4 removes: write gen"
        ) as said:
            call(torch.arange(2), draws=torch.Generator())
        assert said[0].filename == __file__
        bnnlab.deprecation._said.clear()


def test_a_setting_is_said_once_by_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        warn_of_setting("rule.size", "set rule.count=3", "bnnlab-acme 0.3")
    (said,) = caplog.records
    assert (said.levelno, said.name.partition(".")[0]) == (logging.WARNING, "bnnlab")
    assert said.message == (
        "rule.size is deprecated, and bnnlab-acme 0.3 removes it: set rule.count=3"
    )


def test_the_command_line_tells_of_a_plugin_with_earlier_names(
    make_plugin: MakePlugin, bnn: Callable[..., Any]
) -> None:
    source = "from bnnlab.hookspecs import hookimpl\n@hookimpl\ndef bnnlab_components(): return []"
    make_plugin("acme-old", source)
    said = "acme_old uses bnnlab.hookspecs.hookimpl, which bnnlab 0.4 removes: import hookimpl from"
    for times in (1, 0):
        answer = bnn("list-plugins", "--json")
        assert answer.code == 0
        assert answer.err.count(said) == times


def test_the_code_of_the_page_says_its_own(caplog: pytest.LogCaptureFixture) -> None:
    page = Path(__file__).parents[1] / "docs" / "compatibility.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    scope: dict[str, Any] = {"__name__": "bnnlab_acme"}
    exec(code, scope)
    said = "uses bnnlab_acme.smooth, which bnnlab-acme 0.5 removes: call bnnlab_acme.blur"
    with pytest.warns(Deprecated, match=said):
        assert scope["smooth"](6) == 2
    assert scope["Blurred"](size=5).width == 5
    assert (
        "rule.size is deprecated, and bnnlab-acme 0.5 removes it: set rule.width=5" in caplog.text
    )


def test_what_is_said_to_go_has_not_stayed_beyond_its_release() -> None:
    name, removed = REMOVED.split()
    assert name == "bnnlab"
    assert Version(bnnlab.__version__) < Version(removed)
