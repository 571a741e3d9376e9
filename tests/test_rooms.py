"""The picture of rooms in docs/architecture.md is what the imports are."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import tomli

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core" / "bnnlab"
RUNTIME = ROOT / "runtime" / "src"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
GROUND = {"deprecation", "errors", "seeds", "markers", "moved"}
LIGHT = ("registry", "settings", "storage")


def stands_on() -> dict[str, set[str]]:
    """Return what each room stands on by the page, itself and all below included."""
    table = PAGE[PAGE.index("| room | stands on |") : PAGE.index("| in `")]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    below = {room: {room, *GROUND} for room in GROUND}
    for room, named in rows:
        under = re.findall(r"`(\w+)`", named)
        below[room] = {room, *GROUND}.union(*(below[each] for each in under))
    return below


def imports(file: Path, package: str) -> set[str]:
    """Return the dotted names in a package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        found |= {name for name in names if name.partition(".")[0] == package}
    return found


def modules() -> dict[str, Path]:
    """Return the modules of the core by their dotted names, and its packages by theirs."""
    files = {file: file.relative_to(CORE).with_suffix("").parts for file in CORE.rglob("*.py")}
    names = {file: ".".join(part for part in p if part != "__init__") for file, p in files.items()}
    return {name: file for file, name in names.items() if name}


def imported(name: str, known: dict[str, Path]) -> set[str]:
    """Return the modules of the core that one imports; for what `bnnlab` offers, its home."""
    import bnnlab

    found = set()
    for each in imports(known[name], "bnnlab"):
        inner = each.removeprefix("bnnlab.")
        inner = f"{bnnlab._HOME_OF[inner]}.{inner}" if inner in bnnlab._HOME_OF else inner
        while inner and inner not in known:
            inner = inner.rpartition(".")[0]
        found.add(inner)
    return found - {"", name}


def test_every_room_imports_only_from_those_it_stands_on() -> None:
    below, known = stands_on(), modules()
    assert {name.partition(".")[0] for name in known} == {*below}
    upwards = [
        f"{name} imports {other}"
        for name in known
        for other in imported(name, known)
        if other.partition(".")[0] not in below[name.partition(".")[0]]
    ]
    assert not upwards


def test_no_module_imports_itself_by_a_circle() -> None:
    known = modules()
    TopologicalSorter({name: imported(name, known) for name in known}).prepare()


def test_the_page_names_every_module_in_its_room() -> None:
    rooms = re.split(r"^\| in `(\w+)` \|", PAGE, flags=re.MULTILINE)[1:]
    named = {
        f"{room}.{module}"
        for room, table in zip(rooms[::2], rooms[1::2], strict=True)
        for module in re.findall(r"^\| `(\w+)` \|", table.partition("\n\n")[0], re.MULTILINE)
    }
    inner = {name for name in modules() if "." in name}
    assert named == inner


@pytest.mark.slow  # a process that imports much
def test_the_light_rooms_import_no_torch() -> None:
    names = [f"bnnlab.{name}" for name in modules() if name.partition(".")[0] in LIGHT]
    code = f"import sys, bnnlab.cli, {', '.join(names)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_plugins_import_the_core_and_what_they_declare() -> None:
    """The module of their test classes imports the kit, too: nobody else imports it."""
    for project in ROOT.glob("plugins/*/pyproject.toml"):
        about = tomli.loads(project.read_text())["project"]
        declared = [about["dependencies"], *about.get("optional-dependencies", {}).values()]
        needed = [re.split(r"[^\w-]", each)[0] for some in declared for each in some]
        allowed = {name.replace("-", "_") for name in [*needed, about["name"]]}
        for file in (project.parent / "src").rglob("*.py"):
            pattern = r"^\s*(?:from|import) (bnnlab\w*)"
            text = file.read_text()
            used = {*re.findall(pattern, text, re.MULTILINE)}
            kit = {"bnnlab_testing"} if file.name == "contracts.py" else set()
            assert used <= allowed | kit, f"{file} imports {used - allowed}"
            assert not re.search(r"\bcontracts import|import .*\bcontracts\b", text), file


def test_the_commands_know_no_plugin_by_name() -> None:
    for file in (CORE / "cli").glob("*.py"):
        assert not re.findall(r"bnnlab-\w+", file.read_text()), file


def test_the_core_imports_no_plugin() -> None:
    for file in CORE.rglob("*.py"):
        named = {*re.findall(r"(?:from|import) (bnnlab_\w+)", file.read_text())}
        assert not named, f"{file} imports {named}"


def test_the_runtime_stands_alone() -> None:
    """It predicts where neither torch nor bnnlab is; only what numba compiles needs numba."""
    compiled = {"kernels.py": {"numba"}, "vectors.py": {"numba", "llvmlite"}}
    for file in RUNTIME.rglob("*.py"):
        named = {*re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), re.MULTILINE)}
        others = named - sys.stdlib_module_names - {"bnnlab_runtime", "numpy"}
        assert others == compiled.get(file.name, set()), file


def too_long(file: Path) -> Iterator[str]:
    """Yield a file, and the classes and functions in it, that do not fit the limits below.

    A function's signature and docstring do not count: they grow with what it takes and explains.
    """
    name, text = file.relative_to(ROOT), file.read_text()
    if text.count("\n") >= 300:
        yield f"{name}"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = node.end_lineno - node.lineno + 1
        if isinstance(node, ast.ClassDef):
            limit = 150
        else:
            limit = 55
            lines = node.end_lineno - node.body[0].lineno + 1
            lines -= len((ast.get_docstring(node, clean=False) or "").splitlines())
        if lines >= limit:
            yield f"{name} {node.name}"


def test_files_classes_and_functions_are_short() -> None:
    files = [*CORE.rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py"), *RUNTIME.rglob("*.py")]
    assert not [each for file in files for each in too_long(file)]
