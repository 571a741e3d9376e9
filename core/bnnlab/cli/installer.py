"""uv or pip, whichever this Python has, and what it is told."""

import logging
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bnnlab.cli.console import print_file
from bnnlab.errors import RunError, UsageError

log = logging.getLogger(__name__)


def install(wanted: Collection[str], words: Sequence[str], dry_run: bool) -> None:
    """Install packages. All else that is installed keeps its version.

    Args:
        wanted: Distributions of which another version may be installed.
        words: What uv and pip are given: packages, and options that both have.
        dry_run: Print the command. Its file of constraints stays, so that it can be called.

    Raises:
        UsageError: If there is neither uv nor pip.
        RunError: If it fails. What it had already added is removed.
    """
    from bnnlab.registry.requirements import installed

    before, begin = installed(), _begin("install")
    with tempfile.NamedTemporaryFile("w", prefix="bnnlab-", suffix=".txt", delete=False) as file:
        file.writelines(f"{pin}\n" for pin in _pins(wanted))
    command = [*begin, "--constraint", file.name, *words]
    try:
        _call(command, dry_run)
    except RunError as error:
        _undo(before)
        raise RunError(f"{error} Nothing was installed.") from error
    except KeyboardInterrupt:
        _undo(before)
        raise
    finally:
        if not dry_run:
            Path(file.name).unlink()


def _undo(before: Mapping[str, object]) -> None:
    from bnnlab.registry.requirements import installed

    added = sorted(installed().keys() - before.keys())
    if added:
        uninstall(added)


def uninstall(names: Sequence[str], dry_run: bool = False) -> None:
    """Remove distributions, or print the command.

    Raises:
        UsageError: If there is neither uv nor pip.
        RunError: If it fails.
    """
    _call([*_begin("uninstall"), *names], dry_run)


def _begin(action: str) -> list[str]:
    """Return how the command begins; with uv, if there is one."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        # The sources that a checkout names are for its own tools: they would bring the core again.
        own = ["--no-sources"] if action == "install" else []
        return [uv, "pip", action, "--python", sys.executable, *own]
    from bnnlab.registry.requirements import installed

    if "pip" in installed():
        own = ["--disable-pip-version-check"] if action == "install" else ["--yes"]
        return [sys.executable, "-m", "pip", action, *own]
    raise UsageError(
        f"there is neither uv nor pip for {sys.executable}. Install uv; or get pip: "
        f"`{shlex.quote(sys.executable)} -m ensurepip`"
    )


def _pins(wanted: Collection[str]) -> list[str]:
    """Return what is installed as constraints, without what is wanted."""
    from packaging.requirements import InvalidRequirement, Requirement

    from bnnlab.registry.requirements import installed

    pins = []
    for name, about in sorted(installed().items()):
        try:
            pin = Requirement(f"{name}=={about['Version']}")
        except InvalidRequirement:  # uv and pip could not read it, either
            continue
        if name not in wanted:
            pins.append(str(pin))
    return pins


def _call(command: Sequence[str], dry_run: bool) -> None:
    """Call a program, which says on standard error what it does; or print the command.

    Raises:
        RunError: If its exit code is not 0.
    """
    if dry_run:
        print_file(shlex.join(command) + "\n")
        return
    log.debug("%s", shlex.join(command))
    code = subprocess.run(command, stdout=2, check=False).returncode
    if code:
        tool = "uv" if command[1] == "pip" else "pip"
        raise RunError(f"{tool} failed with exit code {code}; its last words are above.")
