"""The tracker: a run becomes event files. tensorboard is imported by `start`."""

import io
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bnnlab.markers import FilePath
from bnnlab.storage.folder import METRICS
from bnnlab_tracking.showing import draw_all, heat_map
from bnnlab_tracking.tracker import Line, Status, Tracked, Tracker, count_lines

VERSION = "brain.Event:2"
"""The first record of an event file."""


class TensorBoard(Tracker):
    """TensorBoard.

    Args:
        folder: Folder in which each run gets one. none: `tensorboard` in the run's own folder.
        pictures: Show the pictures of bnnlab-plots at the end, if it is installed.
        **options: Of every tracker.
    """

    def __init__(
        self, *, folder: FilePath | None = None, pictures: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        self._folder, self._pictures = folder, pictures

    def start(self, run: Tracked) -> int:
        """Read what the files have; a new file takes the rest."""
        self._run = run
        files = f"*tfevents*.{run.run_id}.*"
        place = run.folder / "tensorboard"
        if self._folder:
            place = _own(Path(self._folder, run.group, run.name), run.run_id, files)
        place.mkdir(parents=True, exist_ok=True)
        mine = f"{run.run_id}.{os.getpid()}"
        there, self._step, self._is_ended = _read(place.glob(files))
        self._file = (place / f"events.out.tfevents.{time.time():.0f}.{mine}").open("wb", 0)
        self._write(_event(file_version=VERSION, wall_time=time.time()))
        self._next = there
        return there

    def log(self, index: int, line: Line) -> None:
        """Write a line: numbers over the optimizer's steps, and the line itself as text."""
        from bnnlab_tensorboard import values

        self._step = int(line.get("step", self._step))
        time_of = {"wall_time": float(line["time"])}
        shown = _event(list(values.of_line(line)), step=self._step, **time_of)
        itself = _event([values.text(values.TEXT, json.dumps(line))], step=index, **time_of)
        self._write(shown, itself)
        self._next = index + 1

    def finish(self, status: Status, result: Mapping[str, Any] | None) -> None:
        """Write what a complete run has found, unless it is there."""
        from bnnlab_tensorboard import values

        lines = count_lines(self._run.folder / METRICS)
        if result and status == "complete" and self._next == lines and not self._is_ended:
            settings = {**self._run.portable, "protocol": self._run.protocol_hash}
            figures = {key: it for key, it in result.items() if isinstance(it, int | float)}
            end = [
                values.image("matrix", heat_map(result["accuracy"])),
                *(values.scalar(f"result/{key}", it) for key, it in values.numbers(figures)),
                *self._draw(),
                *values.session(settings, self._run.name),
            ]
            self._write(_event(end, step=self._step, wall_time=time.time()))
        self._file.close()

    def _draw(self) -> list[Any]:
        from bnnlab_tensorboard import values

        with TemporaryDirectory() as folder:
            files = draw_all(self._run.folder, Path(folder)) if self._pictures else []
            return [values.image(f"pictures/{each.stem}", each.read_bytes()) for each in files]

    def _write(self, *events: Any) -> None:
        """Write events at once, so that all of them are there or none is read."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        written = io.BytesIO()
        for event in events:
            RecordWriter(written).write(event.SerializeToString())
        content = written.getvalue()
        if self._file.write(content) != len(content):
            raise OSError(28, "the disk is full", self._file.name)


def _own(named: Path, run_id: str, files: str) -> Path:
    """Return the folder called like a run, or one with its id, too, if the first is of another."""
    own = named.with_name(f"{named.name}-{run_id}")
    if own.exists():
        return own
    try:
        named.mkdir(parents=True)  # of runs that begin together, one makes it
    except FileExistsError:
        return named if any(named.glob(files)) else own
    return named


def _event(values: Iterable[Any] | None = None, **about: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Event(summary=None if values is None else Summary(value=values), **about)


def _read(files: Iterable[Path]) -> tuple[int, int, bool]:
    """Return how many lines event files have, their last optimizer step, and whether they end."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG

    from bnnlab_tensorboard.values import TEXT

    lines, last, is_ended = 0, 0, False
    for file in sorted(files):
        for content in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(content)
            tags = {value.tag for value in event.summary.value}
            is_ended |= SESSION_END_INFO_TAG in tags
            if TEXT in tags:
                lines = max(lines, event.step + 1)
            elif tags:
                last = max(last, event.step)
    return lines, last, is_ended
