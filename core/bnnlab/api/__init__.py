"""The Python API: `create` for single components, `run` for a whole run."""

from bnnlab.api.creating import create as create
from bnnlab.api.running import run as run
