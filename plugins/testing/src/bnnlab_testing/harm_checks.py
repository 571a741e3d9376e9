"""What a tracker owes to the training process, which imports its module and asks `check`."""

import socket
from typing import Any
from unittest.mock import patch

import pytest

from bnnlab_testing import fresh
from bnnlab_testing.declaration_checks import DeclarationChecks
from bnnlab_testing.engine_calls import alarm

LONG = 120.0
"""Seconds that a busy machine may take."""
ANSWER = 5.0
"""Seconds within which a run has what it asks a tracker for."""
MANY = 300
"""Modules that the import of a small package does not exceed."""
_IMPORT = """
import atexit, signal, sys, threading
from bnnlab.guards import ambient
__import__("bnnlab_tracking.tracker")

def look():
    handlers = {f"the handler of {each.name}": signal.getsignal(each) for each in signal.Signals}
    return {
        "threads": threading.active_count(), "what is called at exit": atexit._ncallbacks(),
        "sys.excepthook": sys.excepthook, "sys.stdout": sys.stdout, "sys.stderr": sys.stderr,
        **handlers,
    }

before, modules, state = look(), len(sys.modules), ambient.look()
__import__(sys.argv[1])
after = look()
changed = [*ambient.differing(state), *(name for name in before if before[name] != after[name])]
print(len(sys.modules) - modules, "; ".join(changed), sep="|")
"""


class HarmChecks(DeclarationChecks):
    """The part of `TrackerContract` that is about the training process."""

    def test_its_module_imports_little(self) -> None:
        """The training process imports its module, which must not load a service's whole client.

        Import large packages in `start`, which only the tracker's own process calls.
        """
        module = self.component.target.partition(":")[0]
        count = int(self._imported()[0])
        assert count <= MANY, f"{module} imports {count} modules: import the large ones in start()"

    def test_its_module_changes_nothing(self) -> None:
        """The import leaves threads, signals, `atexit` and what a process shares as they are.

        The training process imports it: a handler of signals would take Ctrl-C from the run, and
        what is called at exit may keep it from ending. Do all that in `start`.
        """
        changed = self._imported()[1]
        assert not changed, f"the import of its module changes {changed}: do it in start()"

    def test_a_run_does_not_wait_for_its_server(self) -> None:
        """`check` and the constructor end soon where every server takes a connection and is silent.

        `check` is called before a run begins, which would hang. Look at options and environment
        there, and connect in `start`, which may wait.
        """
        connect = socket.socket.connect

        def late(*_: object) -> None:
            pytest.fail(f"it waits for a server, for more than {ANSWER:g} s: connect in start()")

        with socket.create_server(("127.0.0.1", 0)) as silent:
            here = silent.getsockname()

            def reach(own: socket.socket, address: Any) -> None:
                connect(own, here if own.family == socket.AF_INET else address)

            names = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", here)]
            with (
                patch.object(socket.socket, "connect", reach),
                patch("socket.getaddrinfo", lambda *_, **__: names),
                alarm(ANSWER, late),
            ):
                self.make()

    def _imported(self) -> list[str]:
        """Return how many modules the import of its module adds, and what it changes."""
        module = self.component.target.partition(":")[0]
        done = fresh.run(_IMPORT, module, timeout=LONG)
        assert done.returncode == 0, f"{module} cannot be imported: {done.stderr}"
        return done.stdout.splitlines()[-1].split("|")
