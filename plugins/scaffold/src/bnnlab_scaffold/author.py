"""Who writes a new plugin, as git is configured."""

import re
import subprocess

from bnnlab_scaffold.package import Author

_ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+\.\w+")
"""An e-mail address that a package index takes; not git's own guesses, such as `me@host`."""


def author() -> Author | None:
    """Return the author that `git config` knows in this folder; None without a name."""
    name, email = _configured("user.name"), _configured("user.email")
    return Author(name, email if _ADDRESS.fullmatch(email) else "") if name else None


def _configured(key: str) -> str:
    """Return a setting of git on one line; empty if it is not set, or there is no git."""
    command = ["git", "config", "--get", key]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in done.stdout).split())
