"""The errors that people see: what was wrong, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {str(close[0])!r}?" if close else ""
