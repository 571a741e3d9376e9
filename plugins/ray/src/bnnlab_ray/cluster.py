"""The connection of this process to a Ray cluster."""

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bnnlab.errors import UsageError, first_line, program
from bnnlab.guards.threads import cores
from bnnlab.registry.requirements import unmet

PATIENCE = 10.0
"""Seconds until a cluster must answer."""
OBJECTS = 100 * 2**20
"""Bytes of a local cluster's object store; settings and outcomes are small."""
_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}


class Cluster:
    """A Ray cluster that this process connects to when it is needed.

    Args:
        address: As the option of the engine.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._is_ours = False

    def connect(self) -> None:
        """Connect, unless this process is connected: start the cluster, or reach the existing one.

        Raises:
            UsageError: If Ray is missing or too old, or the cluster cannot be reached.
        """
        ray = self._imported()
        if ray.is_initialized():
            if not self._is_ours and self._address is not None:
                raise UsageError(
                    "this process is connected to a Ray cluster already: leave out "
                    "engine.address to use it, or call ray.shutdown() first"
                )
            return
        with _sigterm_kept():
            if self._address is None:
                _start(ray)
            else:
                _join(ray, self._address)
        self._is_ours = True
        _silence(ray)

    def room_for(self, needs: Mapping[str, float]) -> int:
        """Return how many calls with these needs the machines have room for.

        Raises:
            UsageError: If there is none, or as from `connect`.
        """
        machines = self._machines(needs)
        room = sum(
            min(int(each.get(what, 0) / need + 1e-6) for what, need in needs.items() if need)
            for each in machines
        )
        if not room:
            self.leave()
            wanted = " and ".join(f"{need:g} {what}" for what, need in needs.items() if need)
            has = "; ".join(
                ", ".join(f"{each.get(what, 0):g} {what}" for what in needs) for each in machines
            )
            raise UsageError(
                f"no machine of the Ray cluster has the {wanted} that a run needs; they have: "
                f"{has}. Set engine.cpus and engine.gpus"
            )
        return room

    def _machines(self, needs: Mapping[str, float]) -> list[dict[str, float]]:
        """Return what each machine has; a cluster is not started to count the cores here."""
        ray = self._imported()
        if self._address is None and not needs["GPU"] and not ray.is_initialized():
            return [{"CPU": cores()}]
        self.connect()
        return [each["Resources"] for each in ray.nodes() if each["Alive"]]

    def _imported(self) -> Any:
        faults = [line for line in unmet("bnnlab-ray") if line.startswith("requires ray")]
        if faults:
            raise UsageError(f"bnnlab-ray {faults[0]}: `{program('pip')} install --upgrade ray`")
        if self._address is not None:  # one attempt of Ray's to connect, not twenty
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
        import ray

        return ray

    def leave(self) -> None:
        """Disconnect, and end a cluster that was started here. One of the user's own stays."""
        if self._is_ours:
            import ray

            self._is_ours = False
            with _sigterm_kept():
                ray.shutdown()


def _start(ray: Any) -> None:
    """Start a cluster on this machine: no dashboard, and nothing is sent to the makers of Ray.

    It asks for a token unless the user opted out. Without a token of the user's, it has one of its
    own, which only this process and its children know.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    known = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if not any(map(os.environ.get, known)) and not (Path.home() / ".ray/auth_token").exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        ray.init(
            "local",
            num_cpus=cores(),
            include_dashboard=False,
            object_store_memory=OBJECTS,
            **_QUIET,
        )
    except Exception as error:  # of many kinds: no room in /tmp, no process may start
        ray.shutdown()
        raise UsageError(f"no Ray cluster can be started here: {first_line(error)}") from error


def _join(ray: Any, address: str) -> None:
    if "://" in address:
        raise UsageError(
            f"engine.address {address!r}: Ray's client is not used here. Start the study on a "
            "machine of the cluster, with HOST:PORT or auto"
        )
    if address != "auto":
        _knock(address)
    try:
        ray.init(address, **_QUIET)
    except Exception as error:  # of many kinds: a wrong token, another version, no cluster
        ray.shutdown()
        raise UsageError(
            f"the Ray cluster {address} cannot be used: {first_line(error)} (Is it up, and is its "
            "token in ~/.ray/auth_token or RAY_AUTH_TOKEN?)"
        ) from error


def _knock(address: str) -> None:
    """See that something listens there: Ray would try for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"engine.address {address!r} is neither HOST:PORT nor auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address}: {first_line(error)}. `ray start --head` starts "
            "one; without engine.address, a cluster is started for this study"
        ) from error


def _silence(ray: Any) -> None:
    """Keep Ray from printing long lines about dead workers; the executor says it in one.

    Ray prints them to standard output, whatever `log_to_driver` is.
    """
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Put back what SIGTERM does here, which Ray changes."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
