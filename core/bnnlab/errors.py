"""The errors that people see: what was wrong, where, and what to do."""

import logging
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

NOTE = logging.INFO + 5
"""Level of a message that `bnn` shows though it is no warning: how it understands what is given."""
logging.addLevelName(NOTE, "note")


class BnnlabError(Exception):
    """Base of all errors that are shown without a traceback.

    Attributes:
        exit_code: What the `bnn` command exits with.
    """

    exit_code = 1


class UsageError(BnnlabError):
    """What was asked for cannot start: a name, an option, a folder is wrong. Exit code 2."""

    exit_code = 2


class DataError(UsageError):
    """A data set is missing or damaged. Exit code 2."""


class RunError(BnnlabError):
    """A run started and failed. Exit code 1."""


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {str(close[0])!r}?" if close else ""
