"""The tests that `bnn test-plugin` makes run in a process of their own, which may die of them."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

from bnnlab.errors import RunError

log = logging.getLogger("bnnlab.testing")

MARK = "\x1e"
"""Begins each line of `relaying`: a record separator, then JSON."""
JUNIT = "junit.xml"
SLOW = 20.0
"""Seconds without the end of a test, after which it is said that the first tests take long."""
_INI = "[pytest]\n"  # of no other folder
_OWN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
"""What else pytest would load has no part in the tests."""


def run(source: str, folder: Path, modules: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Run a test file, and yield what `relaying` tells of each test.

    Args:
        source: Of the test file.
        folder: For the test file, and for pytest's report `JUNIT`.
        modules: Whose fixtures the tests use, and whose assertions show what they compared.

    Raises:
        RunError: If the tests cannot be collected, or their process ends before they do.
    """
    file, ini = folder / "test_contracts.py", folder / "pytest.ini"
    file.write_text(source, encoding="utf-8")
    ini.write_text(_INI, encoding="utf-8")
    quiet = "-qq", "--no-header", "--no-summary", "-p", "no:cacheprovider"
    loaded = ("bnnlab_testing.pytest_plugin", "bnnlab_testing.relaying", *modules)
    plugins = [word for module in loaded for word in ("-p", module)]
    own = "-c", str(ini), f"--rootdir={folder}", f"--junitxml={folder / JUNIT}", str(file)
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *quiet, *plugins, *own],
        stdout=subprocess.PIPE,
        env={**os.environ, **_OWN, "PYTHONPATH": path},
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout
        last: dict[str, Any] = {}
        waiting = Timer(SLOW, lambda: log.warning("%s", _slow(last)))
        waiting.start()
        try:
            for line in filter(lambda line: line.startswith(MARK), process.stdout):
                last |= json.loads(line.removeprefix(MARK))
                if "test" in last:
                    waiting.cancel()
                    yield last
                    last = {}
        except BaseException as error:  # nobody hears of the other tests
            process.kill()
            if isinstance(error, KeyboardInterrupt):
                log.warning("interrupted in %s", _begun(last))
            raise
        finally:
            waiting.cancel()
    if "fault" in last:
        raise RunError(f"the tests cannot be collected: {last['fault']}")
    if "done" not in last or process.returncode not in (0, 1):
        where, code = _begun(last), f"with exit code {process.returncode}"
        raise RunError(f"the process of the tests ended before them: in {where}, {code}")


def _begun(last: Mapping[str, Any]) -> str:
    return str(last.get("begins", "the imports before the first test"))


def _slow(last: Mapping[str, Any]) -> str:
    return (
        f"{_begun(last)}: not over after {SLOW:g} seconds. The import of the plugin's modules may "
        "take long, or never end; Ctrl-C ends the tests."
    )
