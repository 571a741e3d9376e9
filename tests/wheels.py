"""Wheels for tests: those of this repository, and small ones of nobody's."""

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

_BUILD = """
import os, sys
from hatchling.build import build_wheel

for source in sys.argv[2:]:
    os.chdir(source)
    build_wheel(sys.argv[1])
"""
"""What pip does for each source, in one process for all."""


def build(sources: Iterable[Path], folder: Path) -> list[Path]:
    """Build the wheels of distributions into a folder, and return them."""
    subprocess.run([sys.executable, "-c", _BUILD, str(folder), *map(str, sources)], check=True)
    return sorted(folder.glob("*.whl"))


def write(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    needs: Iterable[str] = (),
    source: str = "",
    group: str = "bnnlab.v1",
    tag: str = "py3-none-any",
) -> Path:
    """Write the wheel of a plugin that is one module, with this source."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {each}\n" for each in needs)
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[{group}]\n{name.rpartition('-')[2]} = {module}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel
