"""What a plugin adds to the `bnn` command, as plain data. Nothing here imports what it names."""

from dataclasses import dataclass
from typing import ClassVar

from bnnlab.registry.components import NAME, TARGET


@dataclass(frozen=True)
class Command:
    """A command that a plugin adds: `bnn NAME ...`.

    Attributes:
        name: Lower case, as typed after `bnn`.
        target: `package.module:attribute`, imported when the command is called: a function whose
            parameters typer understands, or a `typer.Typer` for a command with commands below it.
        summary: One line, for `bnn --help`.

    Raises:
        ValueError: On a malformed name or target.
    """

    name: str
    target: str
    summary: str
    kind: ClassVar[str] = "command"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"command name {self.name!r}: use a-z, 0-9, '.', '_' and '-'")
        if not TARGET.fullmatch(self.target):
            raise ValueError(f"{self}: target {self.target!r} is not 'package.module:attribute'")

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"
