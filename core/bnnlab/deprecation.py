"""What a later release removes: said once, with what takes its place. Plugins may say theirs, too.

A name in code is a Python warning, for those who can change the code. A setting of a run is a
message of a logger, which `bnn` shows and log.txt keeps, for those who set it.
"""

import logging
import sys
import warnings
from types import FrameType

log = logging.getLogger(__name__)

_said: set[tuple[str, str]] = set()
"""What was said in this process, and to whom."""


class Deprecated(FutureWarning):
    """A later release removes what is used. Python shows it, as it does no DeprecationWarning."""


def warn_of_name(what: str, instead: str, removed: str) -> None:
    """Warn of a function, an argument or a module; once in a process, per module that uses it.

    It is the first caller outside of the core and of the package that warns.

    Args:
        what: The name, as it is written: `bnnlab.run(probes=)`.
        instead: What to do about it: `write probe=`.
        removed: The release that removes it: `bnnlab 0.4`.
    """
    frame = _user(sys._getframe(1))
    who = str(frame.f_globals.get("__name__"))
    if (what, who) in _said:
        return
    message = f"{who} uses {what}, which {removed} removes: {instead}"
    warnings.warn_explicit(message, Deprecated, frame.f_code.co_filename, frame.f_lineno, who)
    _said.add((what, who))  # not before: where the warning is an error, it is one each time


def warn_of_setting(what: str, instead: str, removed: str) -> None:
    """Warn of an option or another setting of a run; once in a process.

    Args:
        what: The setting, as it is written: `optimizer.base_options`.
        instead: What to do about it: `set optimizer.base.beta1=0.5`.
        removed: The release that removes it: `bnnlab-consolidation 0.4`.
    """
    if (what, "") not in _said:
        _said.add((what, ""))
        log.warning("%s is deprecated, and %s removes it: %s", what, removed, instead)


def _user(frame: FrameType) -> FrameType:
    """Return the first frame outside of the core, of Python's import and of its own package."""
    passed = {"bnnlab", "importlib", _package(frame)}
    while _package(frame) in passed and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]
