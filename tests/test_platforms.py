"""What Windows and macOS lack is used only where the code has asked for it. Linux has it all."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LACKING = {
    "os": "fork forkpty getgid getpgid getuid geteuid killpg mkfifo nice register_at_fork "
    "sched_getaffinity sched_setaffinity set_blocking setpgid setsid statvfs sync uname",
    "select": "epoll kqueue poll",
    "signal": "ITIMER_REAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGQUIT SIGSTOP SIGTSTP SIGUSR1 "
    "SIGUSR2 SIG_BLOCK SIG_SETMASK SIG_UNBLOCK alarm pause pthread_kill pthread_sigmask setitimer "
    "sigwait",
}
"""Per module, what Windows lacks in some version of Python; macOS lacks less."""
MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
"""What it lacks as a whole."""
IMPORTED = re.compile(rf"^\s*(?:import|from) (?:{'|'.join([*LACKING, *MODULES])})\b", re.MULTILINE)
ASKS = {
    "studies/local.py": ("studies/local.py", 'hasattr(signal, "pthread_sigmask")'),
    "studies/worker.py": ("studies/worker.py", 'hasattr(signal, "pthread_sigmask")'),
    "testing/engine_calls.py": ("testing/engine_contract.py", 'hasattr(os, "killpg")'),
    "testing/engine_contract.py": ("testing/engine_contract.py", 'hasattr(os, "killpg")'),
    "testing/tracker_contract.py": ("testing/tracker_contract.py", 'hasattr(os, "killpg")'),
    **dict.fromkeys(
        ("tracking/child.py", "tracking/delivery.py", "tracking/printed.py"),
        ("tracking/checking.py", 'hasattr(os, "killpg")'),  # before a tracker begins
    ),
}
"""Per module that uses some of it: which module asks for it before, and how."""


def sources() -> dict[str, Path]:
    """Return the files of the core, of all plugins and of the runtime, by short names."""
    core = {each.relative_to(ROOT).as_posix(): each for each in (ROOT / "core").rglob("*.py")}
    found = [(each, each.relative_to(ROOT).parts) for each in ROOT.glob("plugins/*/src/*/**/*.py")]
    plugins = {"/".join((place[1], *place[4:])): each for each, place in found}
    runtime = {f"runtime/{each.name}": each for each in (ROOT / "runtime" / "src").rglob("*.py")}
    return core | plugins | runtime


def lacking(file: Path) -> set[str]:
    """Return what a file uses of what Windows lacks."""
    every = {f"{module}.{name}" for module, names in LACKING.items() for name in names.split()}
    text, used = file.read_text(encoding="utf-8"), set[str]()
    if not IMPORTED.search(text):
        return used
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return used & (every | MODULES)


def test_what_windows_lacks_is_asked_for_before_it_is_used() -> None:
    files = sources()
    used = {name: found for name, file in files.items() if (found := lacking(file))}
    assert used.keys() == ASKS.keys(), used
    for name, (asking, how) in ASKS.items():
        assert how in files[asking].read_text(encoding="utf-8"), name


WITHOUT = f"""
import os, select, signal, sys
import filelock, platformdirs, sklearn.datasets, torch, typer  # they ask for the platform

for module, names in {LACKING}.items():
    for name in names.split():
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
sys.modules |= dict.fromkeys({sorted(MODULES)})

import pkgutil
from importlib import import_module
import bnnlab
from bnnlab.cli import main
from bnnlab.engine.interruption import SIGNALS
from bnnlab.registry.host import PluginHost

for each in pkgutil.walk_packages(bnnlab.__path__, "bnnlab."):
    if not each.name.endswith("__main__"):
        import_module(each.name)
host = PluginHost()
assert {{plugin.status for plugin in host.plugins}} == {{"ok"}}, host.plugins
for plugin, component in host.components():
    host.load(plugin, component)
assert SIGNALS == (signal.SIGINT, signal.SIGTERM)

small = {{"name": "permuted-digits", "tasks": 2}}
small = {{"model": {{"hidden": [8]}}, "stream": small, "epochs": 1}}
result = bnnlab.run(small, out="runs", name="one", host=host)
again = bnnlab.run(resume="runs/one", host=host)
assert result.status == again.status == "complete"
assert result.accuracy == again.accuracy
assert main(["check"]) == 0
"""


@pytest.mark.slow  # a process that imports torch, and what all plugins import
def test_all_modules_and_a_run_work_without_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
