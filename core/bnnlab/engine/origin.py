"""What a run's figures come from."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """What a run's figures come from; a resumed run keeps it.

    Attributes:
        run_id: Sixteen hexadecimal digits of this run alone.
        protocol: What is learned from, in which order, how it is split and scored.
        identity: What a checkpoint must agree on with the run that continues it.
        versions: All that parts of the run are made with, by distribution.
        files: Digests of what the run reads besides its stream, by option.
        device: The kind of device.
        components: Per kind: name, distribution and version.
    """

    run_id: str
    protocol: dict[str, Any]
    identity: dict[str, Any]
    versions: dict[str, list[str]]
    files: dict[str, str]
    device: str
    components: dict[str, dict[str, str]]
