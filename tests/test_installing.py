"""What `make` installs is enough for what it runs; a plugin that it leaves out is skipped aloud."""

import re
from pathlib import Path

import pytest

from bnnlab.cli import main

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_demo_installs_the_plugins_that_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    (names,) = re.findall(r"^DEMO := \$\(addprefix plugins/,(.*)\)$", MAKEFILE, re.MULTILINE)
    (words,) = re.findall(r"/bnn run (.*?)\n\n", MAKEFILE, re.DOTALL)
    monkeypatch.setenv("BNNLAB_ONLY", names.replace(" ", ","))
    said = words.replace("--epochs 20", "").replace("\\", "").split()
    assert main(["check", *said]) == 0


def test_the_tests_of_a_plugin_that_is_not_installed_are_skipped_with_what_installs_it(
    pytester: pytest.Pytester,
) -> None:
    plugins = pytester.mkdir("plugins")
    pytester.makeconftest((ROOT / "conftest.py").read_text())
    for folder, distribution in (("acme", "bnnlab-acme"), ("dfa", "bnnlab-dfa")):
        tests = plugins / folder / "tests"
        tests.mkdir(parents=True)
        project = f'[project]\nname = "{distribution}"\n'
        (plugins / folder / "pyproject.toml").write_text(project)
        (tests / "conftest.py").write_text(f"import bnnlab_{folder}")
        (tests / "test_it.py").write_text(f"import bnnlab_{folder}\ndef test_it(): ...")
    result = pytester.runpytest_inprocess("-rs", "--import-mode=importlib")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines("*bnnlab-acme is not installed: make test-acme*")
