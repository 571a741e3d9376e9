"""What a new plugin package is told: its names, its kind, its licence and its author."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

PREFIX = "bnnlab-"
"""What the name of a new distribution begins with."""


class Kind(StrEnum):
    """What a new plugin offers."""

    RULE = "rule"
    OPTIMIZER = "optimizer"
    MODEL = "model"
    STREAM = "stream"
    PROBE = "probe"
    COMMAND = "command"


class License(StrEnum):
    """The licences that there are texts of, by their SPDX names."""

    MIT = "MIT"
    APACHE = "Apache-2.0"
    BSD = "BSD-3-Clause"


class Author(NamedTuple):
    """Who writes the plugin; the address may be empty."""

    name: str
    email: str = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.email else self.name


@dataclass(frozen=True)
class Package:
    """A new package.

    Attributes:
        name: Of the component or the command: lower-case words, joined by `-`.
        kind: What it offers.
        license: Its licence.
        author: None if nobody is known: then these are "The NAME authors".
    """

    name: str
    kind: Kind
    license: License = License.MIT
    author: Author | None = None

    @property
    def distribution(self) -> str:
        """Name of the distribution, such as `bnnlab-sparrow`."""
        return PREFIX + self.name

    @property
    def word(self) -> str:
        """The name as a word of Python, such as `my_rule`."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """Name of the importable package, such as `bnnlab_sparrow`."""
        return f"bnnlab_{self.word}"

    @property
    def class_name(self) -> str:
        """Name of the component's class, such as `Sparrow`."""
        return "".join(word.capitalize() for word in self.name.split("-"))

    @property
    def contract(self) -> str:
        """Name of the class of the kit that tests what it offers."""
        return f"{'LearningRule' if self.kind is Kind.RULE else self.kind.capitalize()}Contract"

    @property
    def authors(self) -> Author:
        """The author who is named in the files."""
        return self.author or Author(f"The {self.distribution} authors")
