"""Code in a fresh interpreter, which finds what this one finds."""

import os
import subprocess
import sys
from typing import Any


def environment() -> dict[str, str]:
    """Return the environment of a process that finds the same modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(code: str, *arguments: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run code with arguments to its end, and return what it printed, as text."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
