"""Where data of the user's own lie."""

from os.path import exists
from pathlib import Path
from shlex import quote

from bnnlab.engine.building import expand
from bnnlab.errors import UsageError


def placed(data: Path, option: str, said: str) -> Path:
    """Return a path that an option says, absolute or in the data folder.

    Raises:
        UsageError: If there is nothing, but there is in the working folder.
    """
    path, here = (data / expand(said)).absolute(), Path(said).absolute()
    if exists(here) and not exists(path):  # noqa: PTH110 - Path.exists fails on a name too long
        raise UsageError(
            f"{option}: {path} does not exist, but {here} does. If you mean that one: "
            f'--set {quote(f"stream.{option}={here}")}; in Python, "{option}": {str(here)!r}'
        )
    return path
