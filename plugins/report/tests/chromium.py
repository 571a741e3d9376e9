"""Chromium without a window, driven through two pipes: enough of its protocol to test a page."""

import fcntl
import json
import os
import select
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
"""The browser; None if there is none."""
PATIENCE = 60
"""Seconds that an answer may take."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


class Page:
    """A tab. `events` has all that the browser said of it."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for part in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{part}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol, and return its result."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._reader], [], [], PATIENCE)[0], "the browser is silent"
            part = os.read(self._reader, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def seen(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of a kind so far."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def wait(self, method: str, **wanted: Any) -> dict[str, Any]:
        """Return the first event of a kind whose parameters are these, once it is there."""
        while True:
            for params in self.seen(method):
                if wanted.items() <= params.items():
                    return params
            self.events.append(self._read())

    def open(self, file: Path, width: int = 1280, theme: str = "light") -> None:
        """Show a file, to eyes of a width and with a preference."""
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        self.wait("Page.loadEventFired")

    def js(self, code: str) -> Any:
        """Return what an expression is in the page."""
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start the browser with a profile of its own, and end it."""
    assert PROGRAM
    (reads, writer), (reader, writes) = os.pipe(), os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    high = [
        fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in (nowhere, nowhere, reads, writes)
    ]
    ends = zip(high, (1, 2, 3, 4), strict=True)  # from 3 it reads calls, to 4 it writes answers
    actions = [(os.POSIX_SPAWN_DUP2, ours, its) for ours, its in ends]
    words = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = os.posix_spawn(PROGRAM, words, os.environ, file_actions=actions)
    for each in (*high, nowhere, reads, writes):
        os.close(each)
    try:
        page = Page(reader, writer)
        yield page
        page.call("Browser.close")
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(process, 0)
