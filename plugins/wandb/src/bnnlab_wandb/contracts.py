"""What the contracts of the test kit are told of what this plugin offers.

W&B's own file of a run is read with the protobufs that wandb ships.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from bnnlab_testing import TrackerContract

BLOCK, HEAD = 32768, 7
"""Bytes of a block of the file, and of the head of a piece in it (as in the logs of LevelDB)."""


@pytest.mark.slow
class TestOffline(TrackerContract):
    name = "bnnlab-wandb/wandb"
    options = {"mode": "offline"}

    def read(self, folder: Path) -> list[Any]:
        (place,) = offline(folder)
        return [line_of(each) for each in read(place).history if "event" in each]


def offline(run: Path) -> list[Path]:
    """Return the folders of the offline runs that a run's folder has."""
    return [*(run / "track" / "wandb").glob("offline-run-*")]


@dataclass
class Read:
    """What a file says of a run.

    Attributes:
        history: Its records, in order.
        config: What was sent as settings.
        summary: The last value of each.
        run: Project, group, tags and so on.
        kinds: How many records there are of each kind.
        exit_code: None if the run has not ended.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    run: Any = None
    kinds: dict[str, int] = field(default_factory=dict)
    exit_code: int | None = None


def read(place: Path) -> Read:
    """Read the file in the folder of an offline run."""
    (file,) = place.glob("*.wandb")
    found = Read()
    for content in _pieces(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        found.kinds[kind] = found.kinds.get(kind, 0) + 1
        match kind:
            case "history":
                found.history.append(_nested(record.history.item))
            case "run":
                found.run = record.run
                found.config |= _nested(record.run.config.update)
            case "summary":
                found.summary |= _nested(record.summary.update)
            case "exit":
                found.exit_code = record.exit.exit_code
    return found


def _pieces(content: bytes) -> Iterator[bytes]:
    at, part = HEAD, b""
    while at + HEAD <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEAD:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + HEAD])
        part += content[at + HEAD : at + HEAD + size]
        at += HEAD + size
        if kind in (1, 4):  # whole, or the last of several
            yield part
            part = b""


def _nested(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *path, last = item.nested_key or [item.key]
        inner = found
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = json.loads(item.value_json)
    return found


def line_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of metrics.jsonl that a record of the history was made of."""
    event = record["event"]
    own = {k: v for k, v in record.items() if k.startswith(f"{event}/")}
    return {"event": event, **{key.removeprefix(f"{event}/"): it for key, it in own.items()}}
