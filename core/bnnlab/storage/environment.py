"""Where a run is computed: the content of its environment.json."""

import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from bnnlab.errors import PLUGINS


def environment(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what environment.json holds: versions, machine, threads, and what is told of."""
    import torch

    return {
        "bnnlab": version("bnnlab"),
        "commit": _commit(),
        **told,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


@cache  # what this process has imported stays as it is
def _commit() -> str | None:
    """Return the commit of the checkout, with `-dirty` if files differ; None without one."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        words = [*command, "--exclude=*"]
        done = subprocess.run(words, cwd=PLUGINS, capture_output=True, encoding="utf-8")
    except OSError:  # no checkout, or no git
        return None
    return done.stdout.strip() or None
