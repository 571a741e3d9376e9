"""The default tests with every Python and every torch that bnnlab supports, one after another.

    python benchmarks/matrix.py [--python VERSION|PATH ...] [--torch VERSION ...] [--folder FOLDER]
        [--jobs N] [pytest arguments]

A cell is an environment of its own in FOLDER (by default .cache/matrix): the core, the light
plugins and the development tools, by uv. Packages come from a cache, so the second cell of a torch
installs in seconds. A cell that was tested at this commit is not tested again. Printed: a row per
cell, and the tests that failed in it; all that pytest said is in FOLDER/CELL/tests.log. A Python
that this machine has not got is left out.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.12", "3.11", "3.13", "3.14")
VISION = {"newest": "", "2.6": "0.21"}
"""The torchvision that goes with a torch."""
WITHOUT_WHEELS = {("3.14", "2.6")}
"""The Pythons that a torch has no wheels for."""
HEAVY = re.findall(r"^HEAVY := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()


def install(home: Path, interpreter: str, torch: str) -> None:
    """Make an environment, or bring it up to date: the constraints of CI, and this torch."""
    if not (home / "bin" / "python").exists():
        subprocess.run(
            [program("uv"), "venv", "-q", "--seed", "-p", interpreter, str(home)], check=True
        )
    limits = (ROOT / "constraints.txt").read_text().splitlines()
    limits = [line for line in limits if not line.startswith(("torch==", "torchvision=="))]
    if vision := VISION[torch]:
        limits += [f"torch=={torch}.*", f"torchvision=={vision}.*"]
    (home / "constraints.txt").write_text("\n".join(limits))
    plugins = [each.parent for each in sorted(ROOT.glob("plugins/*/pyproject.toml"))]
    packages = [ROOT, ROOT / "runtime", *(each for each in plugins if each.name not in HEAVY)]
    words = [
        program("uv"),
        "pip",
        "install",
        "-q",
        "--python",
        str(home / "bin" / "python"),
        "--group",
        "dev",
    ]
    words += [word for each in packages for word in ("-e", str(each))]
    subprocess.run([*words, "-c", str(home / "constraints.txt")], cwd=ROOT, check=True)


def test(home: Path, jobs: int, words: list[str]) -> dict[str, Any]:
    """Run the tests in an environment; return what is told of them."""
    chosen = [] if "-m" in words else ["-m", "not slow"]
    workers = ["-n", str(jobs), "--dist", "loadfile"] if jobs > 1 else []
    pytest = [str(home / "bin" / "python"), "-m", "pytest", "-q", "-rfE", *workers, *chosen, *words]
    other = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    own = {name: value for name, value in os.environ.items() if name not in other}
    start = time.monotonic()
    with (home / "tests.log").open("w") as log:
        done = subprocess.run(
            pytest, cwd=ROOT, env={**own, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log
        )
    lines = (home / "tests.log").read_text(errors="replace").splitlines() or ["nothing was said"]
    return {
        "passed": done.returncode == 0,
        "said": lines[-1].strip("= ").partition(" in ")[0],
        "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
        "seconds": round(time.monotonic() - start),
    }


def tested(home: Path, interpreter: str, torch: str, jobs: int, words: list[str]) -> dict[str, Any]:
    """Return what the tests of a cell said at this commit, now or before."""
    file, about = home / "result.json", {"commit": commit(), "words": words}
    if file.exists() and "dirty" not in about["commit"]:
        known: dict[str, Any] = json.loads(file.read_text())
        if about.items() <= known.items():
            return known
    try:
        install(home, interpreter, torch)
    except subprocess.CalledProcessError:
        return {"passed": False, "said": "cannot be installed", "failed": [], "seconds": ""}
    found = {**about, **test(home, jobs, words)}
    file.write_text(json.dumps(found, indent=2))
    return found


def commit() -> str:
    """Return the commit, with a mark if files differ from it."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.check_output(words, cwd=ROOT, text=True).strip()


def program(name: str) -> str:
    """Return the path of a program beside this Python, or of one that the shell finds."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which(name, path=places) or sys.exit(f"{name} is missing: install it")


def find(said: str) -> str | None:
    """Return the path of a Python by its version or path; None if there is none."""
    installed = sorted(Path.home().glob(f".pyenv/versions/{said}.*/bin/python"))
    for path in filter(None, (shutil.which(said), shutil.which(f"python{said}"), *installed)):
        asked = subprocess.run([path, "-c", ""], capture_output=True)
        if asked.returncode == 0:  # else it stands for a version that is not chosen
            return str(path)
    return None


def main() -> int:
    """Test every cell and print the table; 1 if a test failed anywhere."""
    asking = argparse.ArgumentParser(description="Run the default tests in many environments.")
    asking.add_argument("--python", nargs="+", default=PYTHONS)
    asking.add_argument("--torch", nargs="+", default=[*VISION], choices=[*VISION])
    asking.add_argument("--folder", type=Path, default=ROOT / ".cache" / "matrix")
    asking.add_argument("--jobs", type=int, default=1, help="pytest's workers")
    asked, words = asking.parse_known_args()
    os.nice(10)  # what else runs on this machine comes first
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it after `&`
    broken = False
    print(f"{commit()}\n\n| Python | torch | tests | s |\n|---|---|---|---|", flush=True)
    for torch in asked.torch:
        for said in asked.python:
            path = find(said)
            if path is None or (said, torch) in WITHOUT_WHEELS:
                why = "not on this machine" if path is None else "it has no wheels of this torch"
                print(f"| {said} | {torch} | {why} | |", flush=True)
                continue
            home = asked.folder.resolve() / f"python{said.replace('/', '-')}-torch{torch}"
            row = tested(home, path, torch, asked.jobs, words)
            print(f"| {said} | {torch} | {row['said']} | {row['seconds']} |", flush=True)
            print("".join(f"{line}\n" for line in row["failed"]), end="", flush=True)
            broken = broken or not row["passed"]
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
