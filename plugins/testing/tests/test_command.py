"""`bnn test-plugin`."""

import copy
import json
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import pytest
from broken import rules
from broken.kit import declaration_of, source_of

from bnnlab.cli import main
from bnnlab.errors import RunError
from bnnlab_testing import command, process
from bnnlab_testing.pages import entry_of
from bnnlab_testing.pytest_plugin import MakePlugin

TESTS = '''
import json
from types import SimpleNamespace
from bnnlab.errors import UsageError
import pytest

class Test0_rule_loud:
    plugin = SimpleNamespace(package=__name__)

    def test_that_passes(self):
        """Nothing is wrong. No more of this."""

    def test_that_fails(self):
        """What is asked is not so."""
        found = 3
        assert found == 4, f"it is {found}, " + 20 * "and so on "

    def test_that_fails_alike(self):
        assert False, "it is 3, " + 20 * "and so on "

    def test_that_is_skipped(self):
        pytest.skip("nothing to see")

    def test_that_crashes(self, capfd):
        print("noise", flush=True)
        {}["key"]

    def test_that_crashes_elsewhere(self):
        json.loads("{")

    def test_that_tells_of_a_crash(self):
        try:
            json.loads("{")
        except ValueError as error:
            raise AssertionError("with a text, it crashes") from error

class Test1_probe_quiet:
    @property
    def plugin(self):
        raise UsageError("it cannot be loaded")

    def test_the_same_seed_gives_the_same(self):
        assert False, "two uses with the same seed differ"

    @pytest.fixture
    def broken(self):
        yield
        raise ValueError("not put back")

    def test_that_fails_afterwards(self, broken):
        pass

    @pytest.mark.xfail(reason="known", strict=True)
    def test_that_is_known_to_fail(self):
        assert False
'''


@cache
def ran() -> tuple[list[dict[str, Any]], bytes]:
    """Return what `TESTS` tell, and their report: a process takes seconds."""
    with TemporaryDirectory() as folder:
        tests = [*process.run(TESTS, Path(folder))]
        return tests, Path(folder, process.JUNIT).read_bytes()


def run_once(source: str, folder: Path, modules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Do as `process.run` does, for all tests here in one process."""
    assert (source, [*modules]) == (TESTS, [])
    tests, report = ran()
    (folder / process.JUNIT).write_bytes(report)
    yield from copy.deepcopy(tests)


@pytest.fixture
def acme(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin of two components, whose tests are `TESTS`."""
    monkeypatch.setenv("COLUMNS", "80")
    loud = declaration_of(rules.Fine, "loud")
    quiet = declaration_of(rules.Fine, "quiet", kind="probe")
    make_plugin("acme-horn", source_of(loud, quiet))
    monkeypatch.setattr(command, "source_of", lambda *_: TESTS)
    monkeypatch.setattr(command, "run", run_once)


@pytest.mark.usefixtures("acme")
def test_counts_and_failures_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-plugin", "acme-horn"]) == 1
    counts, *failures = capsys.readouterr().out.split("\n\n")
    assert counts == (
        "rule      loud   5 failed, 1 passed, 1 skipped\nprobe     quiet  2 failed, 1 xfailed"
    )
    assert failures[0] == (  # for a file, in lines as long as they are
        "rule loud: test_that_fails, test_that_fails_alike\n"
        "  What is asked is not so.\n"
        f"  it is 3, {20 * 'and so on '}"
    )
    assert re.search(r"KeyError: 'key' \(at .*test_contracts.py:\d+\)", failures[1])
    assert re.search(r" \(at .*/test_contracts.py:\d+, in json/decoder.py:\d+\)", failures[2])
    assert re.search(r"it crashes \(at .*/test_contracts.py:\d+, in json/decoder", failures[3])
    assert "two uses with the same seed differ" in failures[4]
    assert "gives_the_same fails, too: mend that first" in failures[5]
    assert "ValueError: not put back" in failures[5]
    assert failures[6] == "For tracebacks, add --report junit --out FILE.\n"
    assert len(failures) == 7


@pytest.mark.usefixtures("acme")
def test_a_report_has_every_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-plugin", "acme_horn", "--report", "json"]) == 1
    document: Any = json.loads(capsys.readouterr().out)
    assert document["plugins"] == [{"name": "acme-horn", "version": "1.0"}]
    loud, quiet = document["tested"]
    assert (loud["kind"], loud["name"]) == ("rule", "loud")
    tests = {test["test"]: test for test in loud["tests"] + quiet["tests"]}
    assert {name: test["outcome"] for name, test in tests.items()} == {
        "test_that_passes": "passed",
        "test_that_fails": "failed",
        "test_that_fails_alike": "failed",
        "test_that_is_skipped": "skipped",
        "test_that_crashes": "failed",
        "test_that_crashes_elsewhere": "failed",
        "test_that_tells_of_a_crash": "failed",
        "test_the_same_seed_gives_the_same": "failed",
        "test_that_fails_afterwards": "failed",
        "test_that_is_known_to_fail": "xfailed",
    }
    assert tests["test_that_passes"]["about"] == "Nothing is wrong."
    assert tests["test_that_is_skipped"]["message"] == "nothing to see"

    file = tmp_path / "acme.xml"
    assert main(["test-plugin", "acme-horn", "--report", "junit", "--out", str(file)]) == 1
    assert capsys.readouterr().out.startswith("rule      loud")
    assert len([*ElementTree.parse(file).iter("testcase")]) >= len(tests)


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("acme-hron", "no plugin 'acme-hron' is installed. Did you mean 'acme-horn'?"),
        ("nothing-like-it", "no plugin 'nothing-like-it' is installed. `bnn list-plugins` lists"),
        ("", "name a plugin, as `bnn list-plugins` does, or give --plugin FILE"),
        ("bnnlab-tracking", "bnnlab-tracking offers nothing that could be tested"),
        ("acme-horn --out x.xml", "--out is for a report: add --report junit"),
        ("acme-horn --report json --out no/x.json", "--out: there is no folder no"),
        ("acme-horn --set rule.loud=3", "write KIND.NAME.ATTRIBUTE=VALUE, as rule.loud.waits=1"),
        (
            "acme-horn --set rule.loud.wait=1",
            "the contract has no 'wait'. Did you mean 'waits'?",
        ),
    ],
)
def test_wrong_use_is_refused(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test-plugin", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_broken_plugin_is_refused_with_the_reason(
    make_plugin: MakePlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    make_plugin("acme-horn", "import acme_not_there")
    assert main(["test-plugin", "acme-horn"]) == 2
    assert "acme-horn is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "why"),
    [("broken.rules:Fnie", "has no attribute 'Fnie'"), ("acme_bad:It", "SyntaxError")],
)
def test_a_class_that_is_not_there_is_refused_with_the_reason(
    make_plugin: MakePlugin, capsys: pytest.CaptureFixture[str], target: str, why: str
) -> None:
    source = source_of(declaration_of(rules.Fine, "loud", target=target, options=None))
    make_plugin("acme-horn", source, modules={"acme_bad": "class It(:"})
    assert main(["test-plugin", "acme-horn"]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.slow
def test_what_ends_the_process_is_told(tmp_path: Path) -> None:
    source = "import os\nclass Test0_rule_loud:\n    def test_that_ends(self): os._exit(0)\n"
    with pytest.raises(RunError, match="Test0_rule_loud::test_that_ends, with exit code 0"):
        [*process.run(source, tmp_path)]


@pytest.mark.usefixtures("heard")
@pytest.mark.skipif(sys.platform == "win32", reason="it sends a signal of POSIX")
@pytest.mark.slow
def test_what_takes_long_is_told_and_what_is_interrupted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SLOW", 0.01)
    source = """
import os, signal, time

class Test0_rule_loud:
    def test_that_waits(self):
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(1000)
"""
    with pytest.raises(KeyboardInterrupt):
        [*process.run(source, tmp_path)]
    assert "the imports before the first test: not over after 0.01 seconds" in caplog.text
    assert "interrupted in Test0_rule_loud::test_that_waits" in caplog.text


@pytest.mark.parametrize("name", ["quiet", "probe:quiet"])
@pytest.mark.usefixtures("acme")
def test_what_a_plugin_offers_is_answered_with_its_plugin(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test-plugin", name]) == 2
    assert f"{name!r} is no plugin, but in one. To test that: `" in capsys.readouterr().err


@pytest.mark.slow  # two processes that import torch
def test_a_file_is_tested_by_the_contracts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "acme_loud.py"
    file.write_text(
        '''
from bnnlab import Component, LearningRule, hookimpl


@hookimpl
def bnnlab_components():
    told = {"summary": "A thing.", "source": "Nobody", "provides": frozenset({"gradients"})}
    return [Component("rule", "loud", "acme_loud:Loud", **told)]


class Loud(LearningRule):
    """Gives gradients of the sum."""

    def differentiate(self, model, batch):
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        (len(logits) * loss).backward()
        return loss.detach(), logits.detach()
'''
    )
    assert main(["--plugin", str(file), "test-plugin"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"rule      loud  \d+ failed, \d\d passed, \d+ skipped", out)
    assert "\nrule loud is tested with toy conv\n" in out
    assert "rule loud: test_gradients_are_those_of_the_batch_mean" in out
    advice = entry_of("docs/contracts/rule.md#test_gradients_are_those_of_the_batch_mean")
    assert advice.splitlines()[-1] in out
