"""A W&B server on this machine: it keeps what it is sent, and answers as far as runs need it."""

import gzip
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789" * 4
"""What a client shows; any text of forty characters is taken."""
ENTITY = "me"


@dataclass
class Kept:
    """What the server knows of one run.

    Attributes:
        variables: Of the last mutation that made or changed it: project, group, tags and so on.
        history: Its lines by their numbers, as text.
        summary: The last one.
        config: As it was sent, without the wrapping of each value.
        files: What was uploaded, by name.
        artifacts: Names of the collections that were added to; their files are not kept.
        exit_code: Of a run that has ended.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    history: dict[int, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The history, in its order."""
        return [json.loads(self.history[number]) for number in sorted(self.history)]

    @property
    def state(self) -> dict[str, Any]:
        """What a client that resumes the run is told."""
        last = [self.history[max(self.history)]] if self.history else []
        return {
            "id": "1",
            "name": self.variables.get("name"),
            "displayName": self.variables.get("displayName") or self.variables.get("name"),
            "summaryMetrics": json.dumps(self.summary),
            "config": json.dumps({key: {"value": value} for key, value in self.config.items()}),
            "historyLineCount": len(self.history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps(last),
            "eventsTail": "[]",
            "tags": self.variables.get("tags") or [],
            "wandbConfig": json.dumps({"t": {}}),
            "sweepName": None,
            "project": {
                "id": "2",
                "name": self.variables.get("project"),
                "entity": {"id": "3", "name": ENTITY},
            },
        }


class Server(ThreadingHTTPServer):
    """Answers on a free port of the loopback interface.

    Attributes:
        runs: By their ids.
        asked: Names of the GraphQL operations and paths, in order.
        delay: Seconds before each answer.
        spoil: Called with the name of an operation and its answer; returns what is sent instead.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, Kept] = {}
        self.asked: list[str] = []
        self.delay = 0.0
        self.spoil: Callable[[str, Any], Any] = lambda _, answer: answer

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def run_of(self, name: str) -> Kept:
        """Return a run, which may be new."""
        return self.runs.setdefault(name, Kept())


@contextmanager
def serving() -> Iterator[Server]:
    """Serve in a thread while the block runs."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _content(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return (
            gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content
        )

    def _answer(self, name: str, answer: Any) -> None:
        self.server.asked.append(name)
        time.sleep(self.server.delay)
        content = json.dumps(self.server.spoil(name, answer)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._answer(self.path, {})

    def do_PUT(self) -> None:
        _, _, run, *name = self.path.split("/")
        self.server.run_of(run).files["/".join(name)] = self._content()
        self._answer("PUT", {})

    def do_POST(self) -> None:
        sent = self._content()
        if "graphql" not in self.path and "file_stream" not in self.path:
            self._answer(self.path, {})  # such as the report of a crash
            return
        content = json.loads(sent)
        if "graphql" in self.path:
            found = re.search(r"(?:query|mutation)\s+(\w+)", content["query"])
            name = found[1] if found else ""
            self._answer(name, {"data": self._graphql(name, content.get("variables") or {})})
            return
        run = self.server.run_of(self.path.split("/")[-2])
        for name, piece in content.get("files", {}).items():
            _keep(run, name, piece)
        if content.get("complete"):
            run.exit_code = content.get("exitcode")
        self._answer("file_stream", {"exitcode": None, "limits": {}})

    def _graphql(self, name: str, said: dict[str, Any]) -> Any:
        match name:
            case "UpsertBucket":
                is_new = said["name"] not in self.server.runs
                run = self.server.run_of(said["name"])
                run.variables |= {key: it for key, it in said.items() if it is not None}
                for key, value in json.loads(said.get("config") or "{}").items():
                    run.config[key] = value["value"]
                return {"upsertBucket": {"bucket": run.state, "inserted": is_new}}
            case "RunResumeStatus":
                run = self.server.runs.get(said["name"])
                state = run.state if run else None
                return {"model": {"id": "2", "name": "bnnlab", "bucket": state}}
            case "Viewer":
                teams = {"edges": []}
                return {
                    "viewer": {
                        "id": "1",
                        "entity": ENTITY,
                        "username": ENTITY,
                        "flags": "{}",
                        "teams": teams,
                    }
                }
            case "CreateRunFiles":
                run = said.get("run") or said.get("runName")
                files = [
                    {"name": each, "uploadUrl": f"{self.server.url}/up/{run}/{each}"}
                    for each in said["files"]
                ]
                return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
            case "ArtifactType":  # there is none yet of that name
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                asked = said["input"]
                run = self.server.run_of(asked["runName"])
                run.artifacts.append(asked["artifactCollectionName"])
                # It is there already, so its files are not asked for.
                made = {"id": "4", "state": "COMMITTED", "artifactSequence": {"id": "5"}}
                return {"createArtifact": {"artifact": made}}
            case _ if "Server" in name:
                info = {"max_cli_version": "9.0.0"}
                return {"serverInfo": {"features": [], "cliVersionInfo": info}}
        return {}


def _keep(run: Kept, name: str, piece: dict[str, Any]) -> None:
    if name == "wandb-history.jsonl":
        for number, line in enumerate(piece["content"], piece["offset"]):
            run.history[number] = line
    elif name == "wandb-summary.json":
        for line in piece["content"]:
            run.summary = json.loads(line)
