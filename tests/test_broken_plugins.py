"""Deliberately broken plugins, really installed, beside ours: each breaks itself alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hatchling.build import build_wheel

from bnnlab.cli import main

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "1.2"
[project.entry-points."bnnlab.{api}"]
{entry} = "{module}.plugin"
[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""


def hook(answer: str, more: str = "") -> str:
    return f"""
from bnnlab import Component, Kind, hookimpl

def component(kind, name, target, **more):
    return Component(Kind(kind), name, target, "A thing.", "Nobody, 2020", **more)

{more}

@hookimpl
def bnnlab_components():
    return {answer}
"""


FINE = hook("[component('rule', '{name}', 'acme_none:Thing')]")
WATCH = hook(
    "[]",
    "@hookimpl\ndef bnnlab_metrics_logged(metrics):\n    print('{'); raise OSError('disk full')",
)


class Case(NamedTuple):
    """A plugin: its source, and how its status and its error read."""

    source: str
    error: str | None
    api: str = "v1"


CASES = {
    "import-error": Case(
        "import acme_is_not_there", "ModuleNotFoundError: No module named 'acme_is_not_there'"
    ),
    "syntax-error": Case("def (:", "SyntaxError: invalid syntax"),
    "exits": Case("import sys; sys.exit('goodbye')", "SystemExit: goodbye"),
    "base-exception": Case(
        "class Odd(BaseException):\n    def __str__(self): raise KeyError\nraise Odd", "Odd"
    ),
    "prints": Case("import sys\nprint('hello'); sys.stdout.write('{')\n" + hook("[]"), None),
    "warns": Case("import warnings; warnings.warn('old', DeprecationWarning)\n" + hook("[]"), None),
    "next-api": Case(FINE, "made for plugin API v2; this core has v1", api="v2"),
    "answers-str": Case(
        hook("'dfa'"), "bnnlab_components must return a sequence of Component; it returned 'dfa'"
    ),
    "answers-dicts": Case(
        hook("[{'name': 'x'}]"), "a sequence of Component; it returned [{'name': 'x'}]"
    ),
    "answers-none": Case(hook("None"), "it returned None"),
    "raises": Case(hook("1 / 0"), "ZeroDivisionError: division by zero"),
    "misspelt-hook": Case(
        hook("[]", "@hookimpl\ndef bnnlab_run_begun(config): ..."),
        "unknown hook 'bnnlab_run_begun'",
    ),
    "misspelt-argument": Case(
        hook("[]", "@hookimpl\ndef bnnlab_run_started(settings): ..."), "bnnlab_run_started"
    ),
    "undecorated": Case(
        hook("[]", "def bnnlab_task_ended(task): ..."),
        "bnnlab_task_ended would never be called: decorate it with @bnnlab.hookimpl",
    ),
    "starred": Case(
        hook("[]", "@hookimpl\ndef bnnlab_task_ended(**rest): ..."),
        "bnnlab_task_ended would get nothing by * or **",
    ),
    "no-hook": Case("VALUE = 1", "implements no hook"),
    "unknown-capability": Case(
        hook("[component('rule', 'x', 'a:B', provides=frozenset({'magic'}))]"),
        "unknown capability 'magic'",
    ),
    "twice": Case(
        hook("[component('rule', 'x', 'a:B'), component('rule', 'x', 'a:C')]"),
        "offers rule:x twice",
    ),
    "no-target": Case(
        hook(
            "[component('rule', 'hollow', 'acme_none.here:Thing', "
            "provides=frozenset({'gradients'}))]"
        ),
        None,
    ),
    "watches": Case(WATCH, None),
}
NAMESAKE = Case(hook("[component('rule', 'dfa', 'acme_none:Thing')]"), None)


def install(cases: dict[str, Case], folder: Path) -> Path:
    """Build and install plugins called acme-..., without any index, into a folder of their own."""
    sources, wheels, target = (folder / name for name in ("sources", "wheels", "installed"))
    for short, case in cases.items():
        name, module = f"acme-{short}", f"acme_{short.replace('-', '_')}"
        package = sources / name / "src" / module
        package.mkdir(parents=True)
        (sources / name / "pyproject.toml").write_text(
            PROJECT.format(name=name, module=module, entry=short, api=case.api)
        )
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(case.source.replace("{name}", short))
        with chdir(sources / name):
            build_wheel(str(wheels))
    uv = [sys.executable, "-m", "uv"] if find_spec("uv") else [shutil.which("uv") or ""]
    pip = (
        [*uv, "pip", "install", "--quiet", "--python", sys.executable]
        if uv[0]
        else [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    )
    command = [*pip, "--no-deps", "--no-index", "--target", target, *wheels.iterdir()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output; anything beside it is an error."""
        return json.loads(self.out)


Bnn = Callable[..., Answer]


@pytest.fixture(scope="module")
def all_broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which all broken plugins are installed."""
    return install(CASES, tmp_path_factory.mktemp("broken"))


@pytest.fixture(scope="module")
def one_namesake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a plugin that offers a second rule called dfa."""
    return install({"namesake": NAMESAKE}, tmp_path_factory.mktemp("namesake"))


@pytest.fixture
def broken(all_broken: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process find the broken plugins."""
    monkeypatch.syspath_prepend(all_broken)
    yield
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


@pytest.fixture
def namesake(broken: None, one_namesake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find the namesake, too."""
    monkeypatch.syspath_prepend(one_namesake)


@pytest.fixture
def bnn(broken: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bnn:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> Answer:
        return Answer(main(words), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def listed(all_broken: Path) -> Answer:
    """Return what a process `bnn list-plugins --json` says with all broken plugins installed."""
    environment = {
        "PYTHONPATH": os.pathsep.join([str(all_broken), os.environ.get("PYTHONPATH", "")]),
        "XDG_CONFIG_HOME": str(all_broken / "nothing-here"),
        "BNNLAB_DISABLE": "",
    }
    done = subprocess.run(
        [sys.executable, "-m", "bnnlab.cli", "list-plugins", "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


RUN = [
    *("run", "--stream", "digits", "--set", "model.hidden=[16]", "--device", "cpu"),
    *("--epochs", "1", "--out", "none", "--optimizer", "adam", "--json"),
]


def test_listing_is_one_json_document_and_no_error(listed: Answer) -> None:
    assert listed.code == 0, listed.err
    assert {plugin["distribution"] for plugin in listed.document["plugins"]} >= {
        f"acme-{short}" for short in CASES
    }


@pytest.mark.parametrize("short", CASES)
def test_a_broken_plugin_is_listed_with_what_is_wrong(listed: Answer, short: str) -> None:
    (row,) = (p for p in listed.document["plugins"] if p["distribution"] == f"acme-{short}")
    expected = CASES[short].error
    assert row["status"] == ("ok" if expected is None else "broken"), row["error"]
    assert expected is None or expected in row["error"]
    assert row["version"] == "1.2"
    assert row["name"] == short


def test_all_plugins_of_this_repository_stay_whole(listed: Answer) -> None:
    ours = [p for p in listed.document["plugins"] if p["distribution"].startswith("bnnlab-")]
    assert len(ours) >= 5
    assert {plugin["status"] for plugin in ours} == {"ok"}


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["check", "--json"],
        ["matrix", "--json"],
        ["info", "rule", "dfa", "--json"],
        ["list-recipes", "--json"],
        ["list-plugins", "--all"],
    ],
    ids=" ".join,
)
def test_a_command_works_with_all_of_them_installed(bnn: Bnn, words: list[str]) -> None:
    answer = bnn(*words)
    assert answer.code == 0, answer.err
    assert answer.out
    assert "--json" not in words or answer.document


def test_a_run_completes_and_a_failing_observer_is_warned_about_once(bnn: Bnn) -> None:
    answer = bnn(*RUN, "--rule", "bp")
    assert answer.code == 0, answer.err
    assert answer.document["status"] == "complete"
    warning = "acme-watches/watches failed in bnnlab_metrics_logged and is switched off"
    assert answer.err.count(warning) == 1
    assert "disk full" in answer.err


def test_the_doctor_says_that_some_are_broken(bnn: Bnn) -> None:
    answer = bnn("doctor", "--json")
    assert answer.code == 1
    count = sum(case.error is not None for case in CASES.values())
    assert sum(p["status"] == "broken" for p in answer.document["plugins"]) == count


@pytest.mark.parametrize("short", ["import-error", "next-api"])
def test_a_component_of_a_broken_plugin_is_refused_with_the_reason(bnn: Bnn, short: str) -> None:
    answer = bnn(*RUN, "--rule", f"acme-{short}/{short}")
    assert (answer.code, answer.out) == (2, "")
    assert f"comes with acme-{short}, which is broken: {CASES[short].error}" in answer.err


def test_a_component_without_its_target_is_refused_and_names_the_plugin(bnn: Bnn) -> None:
    answer = bnn(*RUN, "--rule", "hollow")
    assert (answer.code, answer.out) == (2, "")
    assert "rule 'hollow' of acme-no-target 1.2 cannot be loaded" in answer.err
    assert "No module named 'acme_none'" in answer.err


@pytest.mark.usefixtures("namesake")
def test_a_namesake_is_refused_only_where_the_name_is_used(bnn: Bnn) -> None:
    for words in ([*RUN, "--rule", "dfa"], ["info", "rule", "dfa"], ["check", "--rule", "dfa"]):
        answer = bnn(*words)
        assert (answer.code, answer.out) == (2, "")
        assert "Choose one: acme-namesake/dfa or bnnlab-dfa/dfa." in answer.err
    qualified = bnn(*RUN, "--rule", "bnnlab-dfa/dfa")
    assert qualified.code == 0, qualified.err
    assert qualified.document["components"]["rule"]["distribution"] == "bnnlab-dfa"


@pytest.mark.usefixtures("namesake")
@pytest.mark.parametrize("words", [["matrix", "--json"], ["check", "--json"]], ids=" ".join)
def test_a_namesake_does_not_disturb_the_defaults(bnn: Bnn, words: list[str]) -> None:
    answer = bnn(*words)
    assert answer.code == 0, answer.err
    assert answer.document
