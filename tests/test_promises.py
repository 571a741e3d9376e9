"""What docs/compatibility.md promises is written down in promised.txt: no change goes unseen.

`python tests/test_promises.py` writes the file anew.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from difflib import unified_diff
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import bnnlab
from bnnlab.engine.result import ABOUT, MEASURES
from bnnlab.registry import hookspecs
from bnnlab.registry.components import CAPABILITIES, Kind
from bnnlab.settings.run import RUN_OPTIONS
from bnnlab.storage import checkpoint, folder
from bnnlab_scaffold import package as scaffold
from bnnlab_scaffold.writing import files

ROOT = Path(__file__).parents[1]
OURS = re.compile(r"bnnlab(\.|$|_studies|_tracking)")
FILE = Path(__file__).with_name("promised.txt")
FILES = (
    *(folder.CONFIG, folder.ENVIRONMENT, folder.LOG, folder.METRICS, folder.RESULT),
    *(checkpoint.CHECKPOINT.as_posix(), checkpoint.PREVIOUS.as_posix()),
)
SPECIAL = {"__init__", "__call__", "__getitem__", "__iter__", "__len__"}
BELOW = {
    "bnnlab.cli": "main",
    "bnnlab.cli.console": "Json line print_json print_out print_table report_note stoppable",
    "bnnlab.deprecation": "Deprecated warn_of_name warn_of_setting",
    "bnnlab.engine.differences": "in_words",
    "bnnlab.engine.interruption": "stop_all",
    "bnnlab.errors": "NOTE",
    "bnnlab.families.chain": "Chain Layers",
    "bnnlab.families.draws": "backpropagate plain_attention",
    "bnnlab.families.local": "output_shapes",
    "bnnlab.guards.modes": "in_mode",
    "bnnlab.guards.threads": "wait_briefly",
    "bnnlab.interfaces.batch": "TaskLoss chosen joined",
    "bnnlab.interfaces.examples": "StoredImages",
    "bnnlab.interfaces.gradients": "gradient_at send_back",
    "bnnlab.interfaces.optimizer": "Group",
    "bnnlab.interfaces.prediction": "Predicted Prediction RealPrediction",
    "bnnlab.interfaces.probe": "Control Moment Run",
    "bnnlab.interfaces.signs": "random_signs sign",
    "bnnlab.nn.activations": "make_activation",
    "bnnlab.nn.dropout": "Dropout drawing_state",
    "bnnlab.nn.initialisation": "initialise",
    "bnnlab.nn.layers": "WEIGHT_LAYERS",
    "bnnlab.nn.normalization": "frozen_statistics make_norm",
    "bnnlab.registry.chains": "CHAIN",
    "bnnlab.registry.options": "per_layer",
    "bnnlab.seeds": "child_seed generator permutation",
    "bnnlab.storage.cache": "Content find keep",
    "bnnlab.storage.rows": "unpacked",
    "bnnlab_studies.engine": "Engine RepeatingExecutor WorkerDied",
    "bnnlab_studies.worker": "begin call",
    "bnnlab_tracking.tracker": "Tracked Tracker",
}
"""Per module, the names that the guides give to authors beside those of `bnnlab` itself."""


def promised() -> Iterator[tuple[str, Any]]:
    """Yield each promised name with what it is."""
    for name in sorted(bnnlab.__all__):
        if name != "__version__":  # not by getattr, which may find a module of before
            yield f"bnnlab.{name}", bnnlab.__getattr__(name)
    for module, names in BELOW.items():
        for name in names.split():
            yield f"{module}.{name}", getattr(import_module(module), name)


def listing() -> str:
    """Return all that is promised, in lines."""
    parts: dict[str, list[str]] = {
        "entry points": [hookspecs.ENTRY_POINT_GROUP],
        "hooks": [
            f"{name}({', '.join(inspect.signature(hook).parameters)})"
            for name, hook in sorted(vars(hookspecs).items())
            if name.startswith("bnnlab_")
        ],
        "kinds": sorted(Kind),
        "capabilities": sorted(CAPABILITIES),
        "settings of a run": sorted(option.name for option in RUN_OPTIONS),
        "files of a run": sorted(map(str, FILES)),
        "keys of result.json": sorted({*ABOUT, *MEASURES}),
        f"checkpoint, format {checkpoint.VERSION.decode().strip()}": sorted(checkpoint.KEYS),
        "Python": [line for name, it in promised() for line in said(name, it)],
    }
    return "".join(
        f"[{head}]\n" + "".join(f"{line}\n" for line in lines) + "\n"
        for head, lines in parts.items()
    )


def said(name: str, it: Any) -> Iterator[str]:
    """Yield lines on a class, with its members; on a function, with its arguments; or a name."""
    if inspect.isfunction(it):
        yield signature(parsed(it), name)
    elif not inspect.isclass(it):
        yield name
    else:
        bases = ", ".join(map(ast.unparse, parsed(it).bases))
        yield f"{name}({bases})"
        found: dict[str, str] = {}
        for each in it.__mro__:
            if each.__module__.partition(".")[0].startswith("bnnlab"):
                found = {**members(parsed(each)), **found}
        yield from (f"    {line}" for _, line in sorted(found.items()))


def parsed(it: Any) -> Any:
    return ast.parse(dedent(inspect.getsource(it))).body[0]


def members(of: Any) -> dict[str, str]:
    """Return a line on each public member of a class; none on those that a base passes on."""
    found = {}
    for node in of.body:
        if isinstance(node, ast.FunctionDef) and not is_setter(node):
            name, line = node.name, signature(node, node.name)
        elif isinstance(node, ast.AnnAssign):
            name, line = ast.unparse(node.target), ast.unparse(node)
        elif isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call):
            name, line = ast.unparse(node.targets[0]), ast.unparse(node)
        else:
            continue
        if name in SPECIAL or not name.startswith("_"):
            found[name] = line
    return found


def is_setter(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(each).endswith(".setter") for each in node.decorator_list)


def signature(node: Any, name: str) -> str:
    marks = [ast.unparse(each) for each in node.decorator_list]
    marks = [each for each in marks if each in ("abstractmethod", "classmethod", "property")]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{' '.join([*marks, name])}({ast.unparse(node.args)}){returns}"


def test_what_is_promised_is_as_it_is_written_down() -> None:
    written, now = (text.splitlines() for text in (FILE.read_text(encoding="utf-8"), listing()))
    changed = "\n".join(unified_diff(written, now, FILE.name, "now", lineterm="", n=0))
    assert not changed, (
        "the promised interface changed. What goes, or is called otherwise, is deprecated first: "
        f"docs/compatibility.md. For the rest: python tests/test_promises.py\n{changed}"
    )


def test_guides_and_new_plugins_import_promised_names_alone() -> None:
    known = {name for name, _ in promised()} | {"bnnlab.seeds", "bnnlab_studies.worker"}
    guides = [ROOT / "README.md", ROOT / "docs/own.md", *ROOT.glob("docs/plugins/*.md")]
    code = {guide: python_blocks(guide.read_text(encoding="utf-8")) for guide in guides}
    for kind in scaffold.Kind:
        texts = files(scaffold.Package("sparrow", kind))
        code |= {ROOT / kind / at: [text] for at, text in texts.items() if at.endswith(".py")}
    for place, blocks in code.items():
        for node in (each for block in blocks for each in ast.walk(ast.parse(block))):
            if isinstance(node, ast.ImportFrom) and OURS.match(str(node.module)):
                for alias in node.names:
                    assert f"{node.module}.{alias.name}" in known, place


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_page_has_the_names_below_bnnlab() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(bnnlab[\w.]+)` \| (.*?) \|$", page, re.MULTILINE)
    assert {module: " ".join(re.findall(r"`(\w+)`", names)) for module, names in rows} == BELOW


if __name__ == "__main__":
    FILE.write_text(listing(), encoding="utf-8")
