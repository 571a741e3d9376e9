"""A plugin whose import ends or holds up the process is named by another process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnnlab.errors import RunError, UsageError
from bnnlab.registry.trial import tried
from bnnlab_testing.pytest_plugin import MakePlugin

FINE = "import bnnlab\n\n@bnnlab.hookimpl\ndef bnnlab_components():\n    return []\n"
BESIDE = "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
"""What would keep a process from its end."""


def test_those_that_end_or_hold_up_the_process_are_told_from_others(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("acme-a-exits", "import os, sys; print('Timeout'); os._exit(3)")
    make_plugin("acme-b-raises", "raise SystemExit(4)")
    make_plugin("acme-c-waits", "import time; time.sleep(1000)")
    make_plugin("acme-d-fine", FINE)
    make_plugin("acme-e-beside", f"import threading, time\n{BESIDE}{FINE}")
    names = ("a-exits", "b-raises", "c-waits", "d-fine", "e-beside")
    before = {*sys.modules}
    found = tried([f"acme-{name}" for name in names], limit=4)
    assert found.fatal == {
        "acme-a-exits": "its import ends the process, with exit code 3",
        "acme-c-waits": "its import did not end within 4 seconds",
    }
    assert found.broken == {"acme-b-raises": "SystemExit: 4"}
    assert not [name for name in {*sys.modules} - before if name.startswith("acme_")]


@pytest.mark.skipif(sys.platform == "win32", reason="it is a signal of POSIX")
def test_a_crash_is_told_by_its_signal(make_plugin: MakePlugin) -> None:
    make_plugin("acme-crash", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    why = "its import ends the process, with SIGSEGV"
    assert tried(["acme-crash"]).fatal == {"acme-crash": why}


def test_what_a_host_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNLAB_ONLY", "acme-nowhere")
    with pytest.raises(UsageError, match="names plugin 'acme-nowhere', which is not installed"):
        tried()


@pytest.mark.skipif(sys.platform == "win32", reason="the script is of a POSIX shell")
def test_a_process_that_cannot_begin_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RunError, match="cannot go on: its import ends the process, with exit code"):
        tried()


@pytest.mark.slow
def test_the_doctor_names_it_and_goes_on_without_it(
    make_plugin: MakePlugin, bnn: Callable[..., Any], own_folder: None
) -> None:
    make_plugin("acme-exits", "import os; os._exit(0)")
    answer = bnn("doctor")
    assert answer.code == 1
    assert "its import ends the process, with exit code 0" in answer.out
    said = " ".join(answer.out.split())
    assert "Broken plugins: acme-exits. Other commands need BNNLAB_DISABLE=acme-exits" in said
    assert "uninstall NAME`." in said
    rows = json.loads(bnn("doctor", "--json").out)["plugins"]
    status = {each["distribution"]: each["status"] for each in rows}
    assert (status["acme-exits"], status["bnnlab-dfa"]) == ("broken", "ok")
