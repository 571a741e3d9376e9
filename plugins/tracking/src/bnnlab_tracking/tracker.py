"""What a tracker is. No torch is imported here."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from bnnlab.markers import AtLeast
from bnnlab.storage.folder import ENVIRONMENT

Status = Literal["complete", "stopped", "failed", "interrupted", "crashed"]
"""How a run ended. crashed: its process did, and nothing of the run said so."""
ENDED = ("complete", "stopped")
"""Of a run all of whose lines are to be delivered."""
Line = Mapping[str, Any]
"""A line of metrics.jsonl."""
PLACES = ("data", "out", "track")
"""Settings that say where a run lies and is shown, and tell no runs apart."""
PLACE = "track"
"""The folder, in that of a run, of what belongs to its trackers."""


def own_file(folder: Path | str, name: str, ending: str) -> Path:
    """Return a file of a tracker, by its `distribution/name`, whatever others a run has."""
    return Path(folder, PLACE, f"{name}.{ending}")


def without_paths(value: Any) -> Any:
    """Return settings in which each path is its last name, also in lists and tables.

    What is an absolute path is one; bnnlab makes the value of a `FilePath` absolute.
    """
    if isinstance(value, Mapping):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    is_path = isinstance(value, str) and PurePath(value).is_absolute()
    return PurePath(value).name if is_path else value


def count_lines(metrics: Path) -> int:
    """Return how many whole lines there are in metrics.jsonl."""
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


@dataclass(frozen=True)
class Tracked:
    """A run that is shown elsewhere.

    Attributes:
        folder: Of the run.
        run_id: Sixteen hexadecimal digits; a resumed run keeps them.
        name: For people: the name of the folder, within a study with that of the cell.
        group: Name of the study that the run lies in; empty if it lies in none.
        settings: All settings, as run.toml has them.
        protocol: What the protocol hash covers.
        protocol_hash: The hash.
        resumed: Whether the run goes on from a checkpoint.
        delivered: How many lines of metrics.jsonl were delivered before, to the same destination.
            None: this tracker never came to begin with this run there.
        is_ended: Whether `finish` has returned there for the complete run.
    """

    folder: Path
    run_id: str
    name: str
    group: str
    settings: Mapping[str, Any]
    protocol: Mapping[str, Any]
    protocol_hash: str
    resumed: bool
    delivered: int | None
    is_ended: bool = False

    @property
    def portable(self) -> dict[str, Any]:
        """The settings without those that say where the run lies and is shown, `without_paths`."""
        own = {key: it for key, it in self.settings.items() if key not in PLACES}
        found: dict[str, Any] = without_paths(own)
        return found

    @property
    def place(self) -> Path:
        """The folder for files of trackers; it exists."""
        return self.folder / PLACE

    @property
    def environment(self) -> dict[str, Any]:
        """What environment.json says: versions and machine."""
        found: dict[str, Any] = json.loads((self.folder / ENVIRONMENT).read_text("utf-8"))
        return found


class Tracker(ABC):
    """Shows a run elsewhere. The constructor's keywords are its options.

    It lives in a process of its own, which makes it, calls `start`, `log` for each line in order,
    and `finish`. It may wait, print and raise: training goes on. The training process imports its
    module, too, and calls `check` alone: import packages that are large or may be missing in
    `start`.

    Args:
        patience: Seconds that the end of a run waits for the tracker.
    """

    def __init__(self, patience: Annotated[float, AtLeast(0)] = 60.0) -> None:
        self.patience = patience

    @classmethod  # noqa: B027  # some have nothing to refuse
    def check(cls, options: Mapping[str, Any]) -> None:
        """Refuse what cannot work, as options or in the environment, before a run begins.

        Args:
            options: As the constructor gets them.

        Raises:
            UsageError: With what is wrong, and where it was said.
        """

    def destination(self) -> Any:
        """Return what says where runs are shown, as JSON; None: all options but `patience`.

        If it is another than before, nothing of the run is taken for delivered there.
        """
        return None

    @abstractmethod
    def start(self, run: Tracked) -> int | None:
        """Begin to show a run, or go on with it.

        Returns:
            How many lines are there already: `log` gets those after them. None: it does not know,
            and as many are taken for delivered as `log` returned for (`run.delivered`).
        """

    @abstractmethod
    def log(self, index: int, line: Line) -> None:
        """Show a line of metrics.jsonl; `index` counts them from 0."""

    def finish(  # noqa: B027  # some have nothing to end
        self, status: Status, result: Mapping[str, Any] | None
    ) -> None:
        """End; `result` is what result.json holds, None if the run did not come to write it.

        All that was logged must be delivered when this returns.
        """

    def offline(self, run: Tracked) -> "Tracker | None":  # noqa: ARG002
        """Return a tracker that writes what can be uploaded later; None if that is not possible.

        It is asked for after this one failed twice, and gets the run from its first line.
        """
        return None

    def later(self) -> str:
        """Return the command that uploads what was written, after `finish`; empty if none must."""
        return ""
