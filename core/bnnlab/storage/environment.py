"""Where a run is computed: the content of its environment.json."""

import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any


def environment(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what environment.json holds: versions, machine, threads, and what is told of."""
    import torch

    return {
        "bnnlab": version("bnnlab"),
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
