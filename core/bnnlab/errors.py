"""Errors for people: what is wrong, where, and what to do."""

import logging
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

PLUGINS = Path(__file__).parents[2] / "plugins"
"""Where the plugins are in a checkout; elsewhere there is no such folder."""
has_source = False
"""Whether registry.toml says where plugins come from, as it was when it was read last."""

_LONGEST_NAME = 100

NOTE = logging.INFO + 5
"""Level of a message that `bnn` shows without being a warning, for example how it read the data."""
logging.addLevelName(NOTE, "note")


class BnnlabError(Exception):
    """Base of all errors that are shown without a traceback.

    Attributes:
        exit_code: What the `bnn` command exits with.
        again: The command that goes on, which ends the message; empty if there is none. A study
            says its own in its place.
    """

    exit_code = 1
    again = ""

    def __init__(self, *about: object, again: str = "") -> None:
        super().__init__(*about)
        self.again = again

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text.rstrip('.')}; to continue: {self.again}" if self.again else text


class UsageError(BnnlabError):
    """The command cannot start: a name, an option or a folder is wrong. Exit code 2."""

    exit_code = 2


class NotInstalledError(UsageError):
    """What is asked for comes with plugins that are not installed.

    Attributes:
        needs: The distribution of each thing that is lacking, as {"rule 'dfa'": "bnnlab-dfa"}.
    """

    def __init__(self, needs: Mapping[str, str]) -> None:
        self.needs = dict(needs)
        (what, home), *others = self.needs.items()
        said = "".join(f", {its} with {distribution}" for its, distribution in others)
        are, them = ("are", "them") if others else ("is", "it")
        command = install_command(*self.needs.values())
        super().__init__(
            f"{what} comes with {home}{said}, which {are} not installed. "
            f"To install {them}: {command}."
        )


def refuse(
    faults: Sequence[str], needs: Mapping[str, str], cause: BaseException | None = None
) -> None:
    """Raise one error with all faults and all that is not installed, if there is any.

    Raises:
        NotInstalledError: If there is nothing but `needs`, which it has.
        UsageError: If there are faults.
    """
    if faults:
        lacking = [str(NotInstalledError(needs))] if needs else []
        raise UsageError(" ".join([*faults, *lacking])) from cause
    if needs:
        raise NotInstalledError(needs)


class DataError(UsageError):
    """A data set is missing or damaged. Exit code 2."""


class DownloadError(DataError):
    """A data set cannot be downloaded, although the command is right. Exit code 1."""

    exit_code = 1


class RunError(BnnlabError):
    """A run started and failed. Exit code 1."""


class StoppedError(SystemExit):
    """A signal stopped the run.

    Attributes:
        signal: Its name.
        exit_code: What the process exits with: 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        self.signal, self.exit_code = signal.Signals(number).name, 128 + number
        super().__init__(self.exit_code)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 300 characters of it."""
    try:
        text = str(error).strip().partition("\n")[0][:300]
    except Exception:  # an exception class of a plugin's own may fail at this
        text = ""
    return text or type(error).__name__


def explain(error: BaseException) -> str:
    """Return `Type: first line` of an error."""
    kind, text = type(error).__name__, first_line(error)
    return kind if text == kind else f"{kind}: {text}"


def kind_of(tensor: Any, *shape: Any) -> str:
    """Return the dtype and the shape of a tensor; another shape, if one is given."""
    sizes = (*map(str, shape or tensor.shape),)
    comma = "," if len(sizes) == 1 else ""
    return f"{tensor.dtype} of shape ({', '.join(sizes)}{comma})"


def place(error: BaseException) -> str:
    """Return `folder/file.py:line` of where an error arose, outside torch; empty if unknown."""
    frames = traceback.extract_tb(error.__traceback__)
    paths = [(Path(frame.filename), frame.lineno) for frame in frames]
    own = [
        f"{path.parent.name}/{path.name}:{line}"
        for path, line in paths
        if "torch" not in path.parts
    ]
    return own[-1] if own else ""


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or an empty string."""
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        return ""
    names = list(known)
    swapped = [each for each in names if sorted(each) == sorted(name)]  # 'rl' for 'lr'
    close = swapped or get_close_matches(name, names, n=1)
    return f" Did you mean {str(close[0])!r}?" if close else ""


def install_command(*distributions: str) -> str:
    """Return the command, in backticks, that installs plugins of bnnlab's own.

    Outside a checkout it needs a folder of wheels, unless registry.toml has a source: such a folder
    or the package index.
    """
    names = (each.removeprefix("bnnlab-") for each in dict.fromkeys(distributions))
    words = command("install", *names)
    if PLUGINS.is_dir() or has_source:
        return f"`{words}`"
    return f"`{words} --find-links DIR` (DIR: the folder of bnnlab's wheels)"


def program(name: str) -> str:
    """Return how to call a program that is installed beside this Python, such as `pip`.

    In a virtual environment that is not active, another one or none would be called by the name.
    """
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not beside.exists() or (found and Path(found).resolve() == beside.resolve()):
        return name
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))


def command(*words: object) -> str:
    """Return a command of `bnn` that can be copied, such as `bnn run --resume 'my run'`."""
    return f"{program('bnn')} {shlex.join(map(str, words))}"


def printable(text: str) -> str:
    r"""Return text in which control characters are written out, as `\n` and `\x1b`.

    Names and messages of users and plugins may hold any; raw, they would move the cursor, colour
    the terminal, or look like a line of ours. A byte of a file's name that is no UTF-8 is `\xff`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    is_byte = 0xDC80 <= code <= 0xDCFF  # how Python reads what it cannot decode
    return f"\\x{code - 0xDC00:x}" if is_byte else character.encode("unicode_escape").decode()


class LogFormatter(logging.Formatter):
    """Formats records so that each message is one line of printable text."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: D102, N802
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: D102, N802
        return "\n".join(map(printable, super().formatException(ei).split("\n")))
